"""Graph cut: what helps the target, less what repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import Lines
from nncift.objective.alike import Alike
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking
from nncift.objective.scale import common_floor, weight
from nncift.objective.survey import at_once


@dataclass(frozen=True, slots=True)
class GraphCut:
    """f(A) = (n / m) Σ_{j∈A} Σ_i K'[i, j] − λ Σ_{j,k∈A} P'[j, k]: help much, and do not say the same thing twice.

    Use it where the mean influence is what counts and the pool repeats itself. P' is the pool's own kernel and K' the
    target's, both above one common floor, so that nothing is less than nothing. The m target rows stand for n, whence λ
    means the same for any target, and for a pool that is its own target this is the textbook's graph cut. f is submodular;
    with K' = P' it is monotone for λ up to 0.5. Gains that turn negative are followed too: the least repetition first.

    Attributes:
        redundancy: λ, at least 0; 0 is `top-mean`.
        symmetrise: take (P + Pᵀ) / 2 for P, where an influence has a direction.

    *Cost*: one more kernel, pool × pool: n² predictions and, stored, 4 n² bytes. A pick takes one line of it.
    *Reference*: Iyer et al. 2021, Submodular Combinatorial Information Measures; Kothawade et al. 2022 (PRISM), GC.
    """

    name: ClassVar[str] = "graph-cut"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    redundancy: float = 0.4
    symmetrise: bool = False

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> GraphCutFunction:
        """See `Objective.problem`; `eta` and `nu` play no part."""
        alike = Alike.of(kernels, self.name, symmetrise=self.symmetrise)
        low = common_floor((kernels.of_target, kernels.of_pool), floor)
        n, m = kernels.target.shape
        help_ = sums_above(kernels.target, low, threads=kernels.threads) * (n / m)
        own = np.maximum(alike.own() - low, 0.0)
        return GraphCutFunction(alike, help_, own, weight(self.redundancy, "redundancy"), low)


@dataclass(frozen=True, slots=True)
class GraphCutFunction:
    """Σ_{j∈A} worth_j − λ Σ_{j,k∈A} max(s[j, k] − low, 0).

    Attributes:
        alike: s.
        worth: float64 [n], of each candidate by itself.
        own: float64 [n], how much above `low` each is like itself.
        redundancy: λ.
        low: likeness that is no repetition.
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = False

    alike: Alike
    worth: Float64[ndarray, " n"]
    own: Float64[ndarray, " n"]
    redundancy: float
    low: float

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.alike.size

    def begin(self, threads: int = 0) -> _Cut:
        """Nothing is chosen yet; a gain is looked up, too short for `threads` to matter."""
        return _Cut(self)

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition."""
        repeated = np.maximum(self.alike.among(chosen) - self.low, 0.0).sum()
        return float(self.worth[chosen].sum() - self.redundancy * repeated)

    def sentences(self, ranking: Ranking, rows: Sequence[str]) -> list[str]:
        """See `Explained.sentences`.

        *Cost*: a line of the kernel for each pick, and k² / 2 comparisons.
        """
        last = ranking.kept + ranking.positive
        nearest, _ = self.alike.nearest_before(ranking.order[:last])
        found = []
        for place in range(ranking.kept, last):
            j = ranking.order[place]
            sentence = f"helps by {self.worth[j]:.4g}"
            if nearest[place] >= 0:
                again = self.worth[j] - self.redundancy * self.own[j] - ranking.gains[place]
                sentence += f", repeats {again:.4g} of what is chosen, most of {rows[nearest[place]]!r}"
            found.append(sentence)
        return found


class _Cut:
    """What is repeated so far. Likeness above the floor is only ever added, so no gain grows, rounding included."""

    def __init__(self, function: GraphCutFunction) -> None:
        self._function = function
        self._alone = function.worth - function.redundancy * function.own
        self._repeated = np.zeros(function.size)

    @property
    def size(self) -> int:
        return self._function.size

    @property
    def batch(self) -> int:
        return self.size

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        return self._alone[which] - 2.0 * self._function.redundancy * self._repeated[which]

    def add(self, candidate: int) -> None:
        line = self._function.alike.to(np.array([candidate]))[0]
        self._repeated += np.maximum(line - self._function.low, 0.0)


def sums_above(lines: Lines, low: float, *, threads: int = 0) -> Float64[ndarray, " n"]:
    """Σ_i max(K[i, j] − low, 0) of every candidate; a masked pair adds nothing, NaN stays NaN.

    *Cost*: a pass over the lines.
    """
    n, r = lines.shape
    sums, floors = np.empty(n), np.full(r, low)

    def task(start: int, stop: int) -> None:
        for first in range(start, stop, at_once(r)):
            which = np.arange(first, min(first + at_once(r), stop))
            _sums_above(lines.take(which), floors, sums[first : first + len(which)])

    over_blocks(task, n, threads=threads, multiple=4)
    return sums


@compiled
def _sums_above(lines, floors, sums):
    for b in range(len(lines)):
        total = 0.0
        for i in range(len(floors)):
            more = np.float64(lines[b, i]) - floors[i]
            total += 0.0 if more < 0.0 else more
        sums[b] = total
