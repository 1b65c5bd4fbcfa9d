"""What a selection from predictions is worth: its objective on the exact influences, between random and exact greedy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from numpy import ndarray

from nncift.estimator.dense import Figures
from nncift.objective.base import Kernels
from nncift.objective.coverage import FacilityLocation
from nncift.objective.greedy import greedy
from nncift.objective.problem import CoverageProblem
from nncift.objective.ranking import Ranking
from nncift.rehearsal.matrix import Matrix
from nncift.seeds import generator

BUDGETS = {"1%": 0.01, "5%": 0.05, "10%": 0.1, "30%": 0.3}
"""Shares of the candidates that are chosen, by the words that they are reported under."""

DRAWS = 200
"""Random subsets of each size."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Facility location on the exact matrix, and what random subsets and exact greedy reach of it.

    Attributes:
        problem: the exact one; the floor of a row is its smallest known influence.
        masked: pairs (i, j) that count for nothing.
        sizes: how many candidates each of `BUDGETS` is.
        random: mean value of random subsets of these sizes.
        best: value of the exact greedy choice of these sizes.
    """

    problem: CoverageProblem
    masked: Int[ndarray, "p 2"]
    sizes: tuple[int, ...]
    random: Float64[ndarray, " v"]
    best: Float64[ndarray, " v"]

    @classmethod
    def of(cls, matrix: Matrix, *, seed: int) -> Yardstick:
        """Measures the exact matrix.

        *Cost*: one greedy selection of 30 % of the candidates, and a pass over 200 times as many rows.
        """
        candidates = matrix.candidates
        sizes = tuple(max(1, round(share * len(candidates))) for share in BUDGETS.values())
        problem, order = _greedy(matrix.values, matrix.masked, max(sizes))
        rng = generator(seed, "fidelity/random subsets")
        draws = [rng.permutation(candidates)[: max(sizes)] for _ in range(DRAWS)]
        random = np.mean([_values(problem, draw, sizes) for draw in draws], axis=0)
        return cls(problem, matrix.masked, sizes, random, _values(problem, order, sizes))

    def gains(self, predicted: Float[ndarray, "m n"]) -> Figures:
        """Of the greedy choice on predictions, by budget: 0 is random, 1 is exact greedy; None where these are equal.

        Predictions that are all the same order nothing: a choice by id would be one random subset, so they count as random.
        """
        above = np.zeros(len(self.sizes))
        if np.ptp(predicted) > 0:
            _, order = _greedy(predicted, self.masked, max(self.sizes))
            above = _values(self.problem, order, self.sizes) - self.random
        reach = self.best - self.random
        return {
            name: float(gained / most) if most > 0 else None
            for name, gained, most in zip(BUDGETS, above, reach, strict=True)
        }


def chosen(predicted: Float[ndarray, "m n"], masked: Int[ndarray, "p 2"], budget: int) -> Ranking:
    """What facility location chooses from predictions, as `select` does."""
    kernels = Kernels.dense(np.array(predicted.T, dtype=np.float32, order="C"), masked=masked)
    return greedy(FacilityLocation().problem(kernels), budget, rest=kernels.means)


def _greedy(
    values: Float[ndarray, "m n"], masked: Int[ndarray, "p 2"], budget: int
) -> tuple[CoverageProblem, Int[ndarray, " k"]]:
    """Facility location of a matrix, and its greedy choice as `select` makes it."""
    kernels = Kernels.dense(
        np.array(values.T, dtype=np.float32, order="C"), masked=masked
    )  # a copy: masked pairs are written
    problem = FacilityLocation().problem(kernels)
    return problem, greedy(problem, budget, rest=kernels.means).order


def _values(problem: CoverageProblem, order: Int[ndarray, " k"], sizes: tuple[int, ...]) -> Float64[ndarray, " v"]:
    """The objective of the first so many candidates of an order."""
    covered: Float32[ndarray, "k m"] = np.maximum.accumulate(problem.lines.take(order), axis=0)
    at = covered[np.array(sizes) - 1].astype(np.float64)
    return (np.maximum(at, problem.start) - problem.start).sum(axis=1)
