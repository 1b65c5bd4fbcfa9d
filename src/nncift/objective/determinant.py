"""Log-determinant: picks that span as much as they can, by a Cholesky factor that grows with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled
from nncift.objective.alike import Alike
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking
from nncift.objective.together import Together

_LANES = 16  # partial sums of an inner product
_FIRST_COLUMNS = 64  # room for so many picks, and half as much again whenever it is full


@dataclass(frozen=True, slots=True)
class LogDeterminant:
    """f(A) = log det(P_A + λ I): the volume that the picks span, as a determinantal point process weighs sets.

    Use it for variety alone, where `disparity` chases outliers: the target plays no part. P is the pool's own kernel, as it
    is; a pair of one text counts as its largest entry. P must be positive semi-definite up to λ. f is submodular, and
    monotone for λ of at least 1; gains that turn negative are followed too. Where every row is as like itself as any other
    the first pick is the lowest id.

    Attributes:
        regularisation: λ, above 0.
        symmetrise: take (P + Pᵀ) / 2 for P, where an influence has a direction; a learnt influence may then need a larger λ.

    *Cost*: one more kernel, pool × pool: n² predictions and, stored, 4 n² bytes. A pick takes one line of it; k picks up to
    n k² / 2 multiply-adds, of which lazy greedy leaves most out, and 8 to 12 n k bytes.
    *Reference*: Chen, Zhang and Zhou 2018, Fast Greedy MAP Inference for Determinantal Point Process, arXiv 1709.05135.
    """

    name: ClassVar[str] = "log-determinant"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    regularisation: float = 1.0
    symmetrise: bool = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> LogDeterminantFunction:
        """See `Objective.problem`; `eta`, `nu` and `floor` play no part."""
        if not 0.0 < self.regularisation < np.inf:
            raise ConfigError(f"regularisation is {self.regularisation}; it must be a finite number above 0.")
        alike = Alike.of(kernels, self.name, symmetrise=self.symmetrise)
        return LogDeterminantFunction(alike, alike.own() + self.regularisation, self.regularisation)


@dataclass(frozen=True, slots=True)
class LogDeterminantFunction:
    """log det(s_A + λ I).

    Attributes:
        alike: s.
        own: float64 [n], s[j, j] + λ.
        regularisation: λ, above 0.
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = False

    alike: Alike
    own: Float64[ndarray, " n"]
    regularisation: float

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.alike.size

    def begin(self, threads: int = 0) -> _Factor:
        """Nothing is chosen yet; at most so many threads work at once, 0 for all cores."""
        return _Factor(self, threads)

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition."""
        sign, found = np.linalg.slogdet(self.alike.among(chosen) + self.regularisation * np.eye(len(chosen)))
        if sign <= 0:
            raise _indefinite(self.regularisation)
        return float(found)

    def sentences(self, ranking: Ranking, rows: Sequence[str]) -> list[str]:
        """See `Explained.sentences`.

        *Cost*: a line of the kernel for each pick, and k² / 2 comparisons.
        """
        last = ranking.kept + ranking.positive
        nearest, likeness = self.alike.nearest_before(ranking.order[:last])
        return [
            f"{np.exp(ranking.gains[place]) / self.own[ranking.order[place]]:.0%} of it is new"
            + (f", most like {rows[nearest[place]]!r} ({likeness[place]:.4g})" if nearest[place] >= 0 else "")
            for place in range(ranking.kept, last)
        ]


class _Factor:
    """The Cholesky factor of the chosen, with a row for every candidate, which is brought up to date when it is asked for.

    `left[j]` is what of candidate j the chosen ones do not span: the factor's squared diagonal if j came next. Squares are
    only ever subtracted from it, so no gain grows. A row keeps plain likenesses behind the columns that are factored.
    """

    def __init__(self, function: LogDeterminantFunction, threads: int) -> None:
        self._function, self._together = function, Together(threads)
        self._left = function.own.copy()
        self._columns = np.empty((function.size, min(_FIRST_COLUMNS, function.size)))
        self._folded = np.zeros(function.size, dtype=np.int64)
        self._picks = np.empty(function.size, dtype=np.int64)
        self._roots = np.empty(function.size)
        self._count = 0

    @property
    def size(self) -> int:
        return self._function.size

    @property
    def batch(self) -> int:
        return 8 * self._together.threads

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        found, which = np.empty(len(which)), np.asarray(which, dtype=np.int64)

        def fill(start: int, stop: int) -> None:
            some = which[start:stop]
            _fold(some, self._columns, self._folded, self._left, self._picks, self._roots, self._count)
            _logarithms(some, self._left, found[start:stop])

        self._together.over(fill, len(which))
        if len(which) and self._left[which].min() < self._function.regularisation / 2:
            raise _indefinite(self._function.regularisation)
        return found

    def add(self, candidate: int) -> None:
        self.gains(np.array([candidate]))  # its row is needed as a whole
        if self._count == self._columns.shape[1]:
            wider = np.empty((self.size, min(self.size, self._count + self._count // 2 + 1)))
            wider[:, : self._count] = self._columns
            self._columns = wider
        self._columns[:, self._count] = self._function.alike.to(np.array([candidate]))[0]
        self._picks[self._count] = candidate
        self._roots[self._count] = np.sqrt(self._left[candidate])
        self._count += 1


def _indefinite(regularisation: float) -> ConfigError:
    return ConfigError(
        f"the pool kernel is not positive semi-definite, and regularisation {regularisation:g} is too small to make up for it: "
        f"no determinant says how much such rows span. Raise the objective's option regularisation, to "
        f"{2 * regularisation:g} for a start, or use --objective graph-cut, which needs no such kernel."
    )


@compiled
def _fold(which, columns, folded, left, picks, roots, count):
    """Brings the rows of some candidates up to date."""
    sums = np.empty(_LANES)
    for j in which:
        row = columns[j]
        for t in range(folded[j], count):
            row[t] = (row[t] - _dot(row, columns[picks[t]], t, sums)) / roots[t]
            left[j] -= row[t] * row[t]
        folded[j] = count


@compiled
def _dot(a, b, count, sums):
    """The inner product of the heads of two rows, in so many sums of a fixed order."""
    sums[:] = 0.0
    whole = count - count % _LANES
    for first in range(0, whole, _LANES):
        x, y = a[first : first + _LANES], b[first : first + _LANES]
        for lane in range(_LANES):
            sums[lane] += x[lane] * y[lane]
    for t in range(whole, count):
        sums[t - whole] += a[t] * b[t]
    total = 0.0
    for lane in range(_LANES):
        total += sums[lane]
    return total


@compiled
def _logarithms(which, left, found):
    for b in range(len(which)):
        found[b] = np.log(left[which[b]]) if left[which[b]] > 0.0 else -np.inf
