"""Disparity: picks that lie far from each other, whatever they do for the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.objective.alike import Alike
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking


@dataclass(frozen=True, slots=True)
class DisparitySum:
    """f(A) = Σ of d[j, k] over the pairs of A: candidates as unlike each other as can be, on the whole.

    Use it for variety alone: the target plays no part. d[j, k] = the largest likeness − P[j, k], so that what has the same
    text lies at distance 0. f is supermodular: greedy is a heuristic, at least half of the optimum where d is a metric.
    The first pick is the lowest id, since one candidate alone is at no distance from anything.

    Attributes:
        symmetrise: take (P + Pᵀ) / 2 for P, where an influence has a direction.

    *Cost*: one more kernel, pool × pool: n² predictions and, stored, 4 n² bytes. A pick takes one line of it.
    *Reference*: Ravi, Rosenkrantz and Tayi 1994, Heuristic and Special Case Algorithms for Dispersion Problems.
    """

    name: ClassVar[str] = "disparity-sum"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    symmetrise: bool = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> DisparityFunction:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return DisparityFunction(Alike.of(kernels, self.name, symmetrise=self.symmetrise), smallest=False)


@dataclass(frozen=True, slots=True)
class DisparityMin:
    """f(A) = the smallest d[j, k] of A, 0 for one candidate: no two picks near each other.

    Use it to spread picks over the whole pool, outliers first: the target plays no part. Distances and the first pick are
    those of `disparity-sum`. f is neither submodular nor monotone; taking what is farthest from all picks reaches at least
    half of the optimum where d is a metric, and every pick makes f smaller or keeps it.

    Attributes:
        symmetrise: take (P + Pᵀ) / 2 for P, where an influence has a direction.

    *Cost*: as `disparity-sum`.
    *Reference*: Gonzalez 1985, Clustering to Minimize the Maximum Intercluster Distance; Ravi et al. 1994.
    """

    name: ClassVar[str] = "disparity-min"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    symmetrise: bool = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> DisparityFunction:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        return DisparityFunction(Alike.of(kernels, self.name, symmetrise=self.symmetrise), smallest=True)


@dataclass(frozen=True, slots=True)
class DisparityFunction:
    """The distances among the chosen, d = same − s: their sum or the smallest.

    Attributes:
        alike: s.
        smallest: whether the smallest counts, not the sum.
    """

    submodular: ClassVar[bool] = False
    exhaustible: ClassVar[bool] = False

    alike: Alike
    smallest: bool

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.alike.size

    def begin(self, threads: int = 0) -> _Sum | _Smallest:
        """Nothing is chosen yet; a gain is looked up, too short for `threads` to matter."""
        return _Smallest(self.alike) if self.smallest else _Sum(self.alike)

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition."""
        if len(chosen) < 2:
            return 0.0
        pairs = (self.alike.same - self.alike.among(chosen))[np.triu_indices(len(chosen), k=1)]
        return float(pairs.min() if self.smallest else pairs.sum())

    def sentences(self, ranking: Ranking, rows: Sequence[str]) -> list[str]:
        """See `Explained.sentences`.

        *Cost*: a line of the kernel for each pick, and k² / 2 comparisons.
        """
        last = ranking.kept + ranking.positive
        nearest, likeness = self.alike.nearest_before(ranking.order[:last])
        return [
            f"lies {self.alike.same - likeness[place]:.4g} from the nearest pick before it, {rows[nearest[place]]!r}"
            if nearest[place] >= 0
            else "comes first: all others are told by their distance from it"
            for place in range(ranking.kept, last)
        ]


class _Sum:
    """The sum of the distances of every candidate from the chosen ones."""

    def __init__(self, alike: Alike) -> None:
        self._alike = alike
        self._far = np.zeros(alike.size)

    @property
    def size(self) -> int:
        return self._alike.size

    @property
    def batch(self) -> int:
        return self.size

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        return self._far[which]

    def add(self, candidate: int) -> None:
        self._far += self._alike.same - self._alike.to(np.array([candidate]))[0]


class _Smallest:
    """How far every candidate is from the nearest chosen one, and the smallest distance among those."""

    def __init__(self, alike: Alike) -> None:
        self._alike = alike
        self._near = np.full(alike.size, np.inf)
        self._count, self._value = 0, np.inf

    @property
    def size(self) -> int:
        return self._alike.size

    @property
    def batch(self) -> int:
        return self.size

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        if not self._count:
            return np.zeros(len(which))
        near = self._near[which]
        return near if self._count == 1 else np.minimum(near - self._value, 0.0)

    def add(self, candidate: int) -> None:
        self._value = min(self._value, float(self._near[candidate]))
        self._count += 1
        np.minimum(self._near, self._alike.same - self._alike.to(np.array([candidate]))[0], out=self._near)
