"""Objectives in which every candidate has a worth of its own: the ranking is a sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from nncift.objective.base import Kernels
from nncift.objective.problem import CoverageProblem


class TopMean:
    """f(A) = Σ_{j∈A} mean_i K[i, j]: the candidates that help the targets most on average.

    Use it for pointwise influences, or for LESS-like rankings; it does not mind choosing the same thing twice. Masked
    pairs are left out of the mean, and a candidate that has no others gets the lowest mean.

    *Cost*: no kernel beside target × pool, one pass over it.
    *Reference*: LESS, arXiv 2402.04333 (one subtask).
    """

    name: ClassVar[str] = "top-mean"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return _sorted_by(mean_influence(kernels))


class TopMax:
    """f(A) = Σ_{j∈A} max_i K[i, j]: the candidates that help some target most.

    Use it where the targets are few and unlike each other. Masked pairs are left out of the maximum, and a candidate
    that has no others gets the lowest maximum.

    *Cost*: no kernel beside target × pool, one pass over it.
    *Reference*: LESS, arXiv 2402.04333 (maximum over subtasks).
    """

    name: ClassVar[str] = "top-max"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return _sorted_by(_unmasked(kernels, lambda values, axis: values.max(axis=axis).astype(np.float64)))


def mean_influence(kernels: Kernels) -> Float64[ndarray, "n"]:
    """The mean influence of every candidate on the target rows, masked pairs left out: the usual `rest` of `greedy`."""
    return _unmasked(kernels, lambda values, axis: values.mean(axis=axis, dtype=np.float64))


def _unmasked(kernels: Kernels, summary: Callable[[ndarray, int], ndarray]) -> Float64[ndarray, "n"]:
    """A summary of each candidate's unmasked entries; the lowest of all where a candidate has none."""
    scores = summary(kernels.target, 1)
    if not len(kernels.masked):
        return scores
    rows, candidates = kernels.masked[:, 0], kernels.masked[:, 1]
    by_candidate = np.argsort(candidates, kind="stable")
    which, first = np.unique(candidates[by_candidate], return_index=True)
    empty: list[int] = []
    for j, group in zip(which.tolist(), np.split(by_candidate, first[1:]), strict=True):
        kept = np.delete(kernels.target[j], rows[group])
        if len(kept):
            scores[j] = summary(kept, 0)
        else:
            empty.append(j)
    if empty:
        others = np.delete(scores, empty)
        scores[empty] = others.min() if len(others) else 0.0
    return scores


def _sorted_by(scores: Float64[ndarray, "n"]) -> CoverageProblem:
    return CoverageProblem(np.empty((len(scores), 0), dtype=np.float32), np.empty(0), modular=scores)
