"""Coverage from the best few candidates of every row: one walk over a large kernel instead of one for every few picks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled
from nncift.objective.heads import best_entries
from nncift.objective.problem import CoverageProblem
from nncift.objective.survey import LANES
from nncift.objective.together import Together


@dataclass(frozen=True, slots=True)
class Bound:
    """What the kept entries tell of a set of candidates.

    Attributes:
        kept: how many entries of each row.
        least, most: the coverage of the set by all entries lies between the two.
        best: that of no set of as many candidates is above it.
    """

    kept: int
    least: float
    most: float
    best: float


@dataclass(frozen=True, slots=True)
class SparseCoverage:
    """A coverage that knows the best t entries of every row alone; what is dropped is worth the row's start.

    Use it where the kernel is computed line by line and gains are asked for often: a pass over all entries is made once. It
    is the whole coverage where t = n, to the bit. For any set A, f(A) − `dropped` ≤ value(A) ≤ f(A).

    Attributes:
        problem: the whole coverage f.
        starts: int64 [n + 1], where the entries of every candidate begin.
        rows: int32 [s], their rows, ascending within a candidate.
        values: float32 [s], what they are; all above the start of their row.
        beyond: float64 [r], the best entry of each row that was dropped, at most its cap; the start where none was.
        keep: how many entries of a row are kept at most.

    *Cost*: at most t · r entries of 8 bytes; a gain takes as many steps as its candidate has entries.
    *Reference*: Lindgren, Wu and Dimakis 2016, Leveraging Sparsity for Efficient Submodular Data Summarization.
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = True

    problem: CoverageProblem
    starts: Int64[ndarray, " n+1"]
    rows: Int32[ndarray, " s"]
    values: Float32[ndarray, " s"]
    beyond: Float64[ndarray, " r"]
    keep: int

    @classmethod
    def of(cls, problem: CoverageProblem, keep: int, *, threads: int = 0) -> SparseCoverage:
        """Keeps the `keep` largest entries of every row, of equal ones those of the lowest candidates.

        Raises:
            ConfigError: `keep` is below 1.
            ModelError: an entry is no number.

        *Cost*: one pass over the lines; 8 (keep + 1) r bytes for every thread and once more, and a sort of what is kept.
        """
        if keep < 1:
            raise ConfigError(f"{keep} entries of a row are to be kept; at least one is needed.")
        limit = problem.limit
        floor = np.where(problem.start < limit, problem.start, np.inf)  # a row that starts at its cap gains nothing
        best = best_entries(problem.lines, min(keep, problem.size) + 1, floor, threads)
        beyond = best.drop_last(min(keep, problem.size))
        kept = np.arange(best.ids.shape[1]) < best.counts[:, None]
        rows, ids, values = np.nonzero(kept)[0], best.ids[kept], best.values[kept]
        order = np.argsort(ids.astype(np.int64) * problem.rows + rows, kind="stable")
        starts = np.searchsorted(ids[order], np.arange(problem.size + 1)).astype(np.int64)
        beyond = np.minimum(np.maximum(beyond, problem.start), limit)
        return cls(problem, starts, rows[order].astype(np.int32), values[order], beyond, keep)

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.problem.size

    @property
    def dropped(self) -> float:
        """What the dropped entries can add to any set, at most: Σ_i (best dropped entry of row i − start_i)."""
        return float((self.beyond - np.minimum(self.problem.start, self.problem.limit)).sum())

    def begin(self, threads: int = 0) -> _Kept:
        """Nothing is chosen yet; at most so many threads work at once, 0 for all cores."""
        return _Kept(self, threads)

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """The sparse coverage of a set of candidates; at most f of it."""
        worth = self.problem.modular
        own = 0.0 if worth is None else float(worth[chosen].sum())
        return float((self._covered(chosen) - np.minimum(self.problem.start, self.problem.limit)).sum()) + own

    def hidden(self, chosen: Int[ndarray, " k"]) -> float:
        """How much more than `value` f of this set can be, at most; never more than `dropped`."""
        return float(np.maximum(self.beyond - self._covered(chosen), 0.0).sum())

    def upper_bound(self, chosen: Int[ndarray, " k"]) -> float:
        """What f of any set of as many candidates can be, at most; so what a choice from the whole kernel could have reached.

        Every row is lifted to its best dropped entry; then f is at most the lifted coverage of the chosen ones and its k
        largest gains beside them.

        *Reference*: Minoux 1978; Leskovec et al. 2007 (bounds from the data).
        """
        start, worth = np.minimum(self.problem.start, self.problem.limit), np.maximum(self.problem.worth, 0.0)
        lifted = np.maximum(self._covered(chosen), self.beyond)
        gains = np.empty(self.size)
        every = np.arange(self.size)
        _gains(every, self.starts, self.rows, self.values, self.problem.limit, lifted, worth, gains)
        gains[chosen] = 0.0
        top = np.sort(gains)[::-1][: len(chosen)]
        return float((lifted - start).sum() + worth[chosen].sum() + top.sum())

    def bound(self, chosen: Int[ndarray, " k"]) -> Bound:
        """What is known of a set of candidates."""
        least = self.value(chosen)
        return Bound(self.keep, least, least + self.hidden(chosen), self.upper_bound(chosen))

    def _covered(self, chosen: Int[ndarray, " k"]) -> Float64[ndarray, " r"]:
        limit = self.problem.limit
        covered = np.minimum(self.problem.start, limit)
        for j in np.asarray(chosen).tolist():
            _cover(j, self.starts, self.rows, self.values, limit, covered)
        return covered


class _Kept:
    """What is covered so far. Terms are added in the order of `problem.gain`, so the same entries give the same bits."""

    def __init__(self, function: SparseCoverage, threads: int) -> None:
        self._function, self._together = function, Together(threads)
        self._limit, self._worth = function.problem.limit, function.problem.worth
        self._covered = np.minimum(function.problem.start, self._limit)

    @property
    def size(self) -> int:
        return self._function.size

    @property
    def batch(self) -> int:
        return 64

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        kept, found, which = self._function, np.empty(len(which)), np.asarray(which, dtype=np.int64)

        def fill(start: int, stop: int) -> None:
            _gains(
                which[start:stop], kept.starts, kept.rows, kept.values, self._limit, self._covered, self._worth,
                found[start:stop],
            )  # fmt: skip

        self._together.over(fill, len(which))
        return found

    def add(self, candidate: int) -> None:
        kept = self._function
        _cover(candidate, kept.starts, kept.rows, kept.values, self._limit, self._covered)


@compiled
def _gains(which, starts, rows, values, cap, covered, worth, found):
    """As `problem.gain` adds: row i in lane i modulo `LANES`, so that entries that add nothing can be left out."""
    sums = np.empty(LANES)
    for b in range(len(which)):
        sums[:] = 0.0
        for at in range(starts[which[b]], starts[which[b] + 1]):
            i = rows[at]
            capped = cap[i] if values[at] > cap[i] else np.float64(values[at])
            more = capped - covered[i]
            sums[i % LANES] += 0.0 if more < 0.0 else more
        total = 0.0
        for lane in range(LANES):
            total += sums[lane]
        found[b] = total + worth[which[b]]


@compiled
def _cover(candidate, starts, rows, values, cap, covered):
    for at in range(starts[candidate], starts[candidate + 1]):
        i = rows[at]
        covered[i] = max(covered[i], min(np.float64(values[at]), cap[i]))
