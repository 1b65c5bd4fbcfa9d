"""Objectives in which every candidate has a worth of its own: the ranking is a sort."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int
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
    pointwise: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return _sorted_by(mean_influence(kernels))


class TopMax:
    """f(A) = Σ_{j∈A} max_t mean_{i∈t} K[i, j]: the candidates that help some task of the target most.

    Use it where the targets are few and unlike each other. Where the target has no tasks every row is its own, and the
    worth is max_i K[i, j]. Masked pairs are left out of the means, and a task without any other pair out of the maximum;
    a candidate that has no others at all gets the lowest maximum.

    *Cost*: no kernel beside target × pool, one pass over it.
    *Reference*: LESS, arXiv 2402.04333 (maximum over subtasks).
    """

    name: ClassVar[str] = "top-max"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return _sorted_by(_max_over_tasks(kernels))


def mean_influence(kernels: Kernels) -> Float64[ndarray, "n"]:
    """The mean influence of every candidate on the target rows, masked pairs left out: the usual `rest` of `greedy`."""
    return _lowest_for_none(_unmasked(kernels.target, kernels.masked, _mean))


def _max_over_tasks(kernels: Kernels) -> Float64[ndarray, "n"]:
    if kernels.groups is None:
        scores = _unmasked(
            kernels.target, kernels.masked, lambda values, axis: values.max(axis=axis).astype(np.float64)
        )
        return _lowest_for_none(scores)
    best = np.full(len(kernels.target), -np.inf)
    place = np.empty(len(kernels.groups), dtype=np.int64)
    for task in np.unique(kernels.groups):
        rows = np.flatnonzero(kernels.groups == task)
        place[rows] = np.arange(len(rows))
        masked = kernels.masked[kernels.groups[kernels.masked[:, 0]] == task]
        inside = np.stack([place[masked[:, 0]], masked[:, 1]], axis=1)
        np.maximum(best, _unmasked(kernels.target[:, rows], inside, _mean), out=best)
    return _lowest_for_none(best)


def _mean(values: ndarray, axis: int) -> ndarray:
    return values.mean(axis=axis, dtype=np.float64)


def _unmasked(
    values: Float32[ndarray, "n r"], masked: Int[ndarray, "p 2"], summary: Callable[[ndarray, int], ndarray]
) -> Float64[ndarray, "n"]:
    """A summary of each candidate's unmasked entries; minus infinity where a candidate has none."""
    scores = summary(values, 1)
    if not len(masked):
        return scores
    rows, candidates = masked[:, 0], masked[:, 1]
    by_candidate = np.argsort(candidates, kind="stable")
    which, first = np.unique(candidates[by_candidate], return_index=True)
    for j, group in zip(which.tolist(), np.split(by_candidate, first[1:]), strict=True):
        kept = np.delete(values[j], rows[group])
        scores[j] = summary(kept, 0) if len(kept) else -np.inf
    return scores


def _lowest_for_none(scores: Float64[ndarray, "n"]) -> Float64[ndarray, "n"]:
    """Candidates without an unmasked entry get the lowest score of the others, 0 where there are none."""
    some = np.isfinite(scores)
    scores[~some] = scores[some].min() if some.any() else 0.0
    return scores


def _sorted_by(scores: Float64[ndarray, "n"]) -> CoverageProblem:
    return CoverageProblem(np.empty((len(scores), 0), dtype=np.float32), np.empty(0), modular=scores)
