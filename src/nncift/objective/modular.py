"""Objectives in which every candidate has a worth of its own: the ranking is a sort."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from nncift.kernel.lines import MASKED
from nncift.objective.base import Kernels
from nncift.objective.problem import CoverageProblem
from nncift.objective.survey import at_once


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
        return CoverageProblem.of_scores(kernels.means)


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
        return CoverageProblem.of_scores(_max_over_tasks(kernels))


def _max_over_tasks(kernels: Kernels) -> Float64[ndarray, " n"]:
    """The best mean over a task of each candidate; one without an unmasked pair gets the lowest of the others."""
    if kernels.groups is None:
        scores = kernels.of_target.best.astype(np.float64)
    else:
        order = np.argsort(kernels.groups, kind="stable")
        starts = np.flatnonzero(np.diff(kernels.groups[order], prepend=-1))
        n, step = kernels.target.shape[0], at_once(len(order))
        scores = np.empty(n)
        for first in range(0, n, step):
            which = np.arange(first, min(first + step, n))
            lines = kernels.target.take(which)[:, order]
            counted = lines != MASKED
            sums = np.add.reduceat(np.where(counted, lines, 0.0).astype(np.float64), starts, axis=1)
            counts = np.add.reduceat(counted, starts, axis=1, dtype=np.int64)
            with np.errstate(divide="ignore", invalid="ignore"):
                scores[which] = np.where(counts > 0, sums / counts, -np.inf).max(axis=1)
    some = np.isfinite(scores)
    scores[~some] = scores[some].min() if some.any() else 0.0
    return scores
