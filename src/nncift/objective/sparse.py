"""Coverage from the best few candidates of every row: one walk over a large kernel instead of one for every few picks."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32, Int64
from numpy import ndarray

from nncift.errors import ConfigError, ModelError
from nncift.kernel.compiled import compiled, over_blocks
from nncift.objective.problem import CoverageProblem
from nncift.objective.survey import LANES, at_once
from nncift.objective.together import Together


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

    *Cost*: at most t · r entries of 8 bytes; a gain takes as many steps as its candidate has entries.
    *Reference*: Wei, Iyer and Bilmes 2014, Fast Multi-stage Submodular Maximization (k-nearest-neighbour kernels).
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = True

    problem: CoverageProblem
    starts: Int64[ndarray, " n+1"]
    rows: Int32[ndarray, " s"]
    values: Float32[ndarray, " s"]
    beyond: Float64[ndarray, " r"]

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
        best = _best(problem, min(keep, problem.size) + 1, floor, threads)
        beyond = best.drop_last(min(keep, problem.size))
        kept = np.arange(best.ids.shape[1]) < best.counts[:, None]
        rows, ids, values = np.nonzero(kept)[0], best.ids[kept], best.values[kept]
        order = np.argsort(ids.astype(np.int64) * problem.rows + rows, kind="stable")
        starts = np.searchsorted(ids[order], np.arange(problem.size + 1)).astype(np.int64)
        beyond = np.minimum(np.maximum(beyond, problem.start), limit)
        return cls(problem, starts, rows[order].astype(np.int32), values[order], beyond)

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


@dataclass(slots=True)
class _Best:
    """The best entries of every row, each row a heap whose root is the worst of them.

    Attributes:
        values, ids: [r, t], entries and their candidates.
        counts: [r], how many there are.
    """

    values: Float32[ndarray, "r t"]
    ids: Int32[ndarray, "r t"]
    counts: Int64[ndarray, " r"]

    @classmethod
    def empty(cls, rows: int, most: int) -> _Best:
        """Room for so many of each row."""
        return cls(np.empty((rows, most), np.float32), np.empty((rows, most), np.int32), np.zeros(rows, dtype=np.int64))

    def drop_last(self, most: int) -> Float64[ndarray, " r"]:
        """Leaves at most so many in each row, of which there is one more at most; what was dropped, or minus infinity."""
        full = self.counts > most
        dropped = np.where(full, self.values[:, 0].astype(np.float64) if self.values.size else -np.inf, -np.inf)
        if full.any():
            last = self.values.shape[1] - 1
            self.values[full, 0], self.ids[full, 0] = self.values[full, last], self.ids[full, last]
            self.counts[full] -= 1
        return dropped


def _best(problem: CoverageProblem, most: int, floor: Float64[ndarray, " r"], threads: int) -> _Best:
    """The best entries of all candidates that are above the floor; which candidate a thread saw makes no difference."""
    n, r = problem.lines.shape
    found, merging, wrong = _Best.empty(r, most), Lock(), []

    def task(start: int, stop: int) -> None:
        mine = _Best.empty(r, most)
        for first in range(start, stop, at_once(r)):
            lines = problem.lines.take(np.arange(first, min(first + at_once(r), stop)))
            if not _collect(lines, first, floor, mine.values, mine.ids, mine.counts):
                wrong.append(first)
        with merging:
            _merge(mine.values, mine.ids, mine.counts, found.values, found.ids, found.counts)

    if n and r:
        over_blocks(task, n, threads=threads, multiple=4)
    if wrong:
        raise ModelError(f"the kernel has entries that are no numbers, near candidate {min(wrong):,}.")
    return found


@compiled
def _worse(value, candidate, other, rival):
    """Whether an entry stands behind another: smaller, or as large and of a higher candidate."""
    return value < other or (value == other and candidate > rival)


@compiled
def _push(values, ids, count, value, candidate):
    """Puts an entry into a row's heap, in place of the worst where it is full; how many there are now."""
    if count < len(values):
        at = count
        while at:
            up = (at - 1) // 2
            if not _worse(value, candidate, values[up], ids[up]):
                break
            values[at], ids[at] = values[up], ids[up]
            at = up
        values[at], ids[at] = value, candidate
        return count + 1
    if not _worse(values[0], ids[0], value, candidate):
        return count
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and _worse(values[child + 1], ids[child + 1], values[child], ids[child]):
            child += 1
        if not _worse(values[child], ids[child], value, candidate):
            break
        values[at], ids[at] = values[child], ids[child]
        at = child
    values[at], ids[at] = value, candidate
    return count


@compiled
def _collect(lines, first, floor, values, ids, counts):
    """Puts a block of lines into the heaps; false where an entry is no number."""
    sound = True
    for b in range(len(lines)):
        line = lines[b]
        for i in range(len(line)):
            value = line[i]
            if value > floor[i]:
                counts[i] = _push(values[i], ids[i], counts[i], value, first + b)
            elif not value <= floor[i]:
                sound = False
    return sound


@compiled
def _merge(values, ids, counts, into_values, into_ids, into_counts):
    for i in range(len(counts)):
        for k in range(counts[i]):
            into_counts[i] = _push(into_values[i], into_ids[i], into_counts[i], values[i, k], ids[i, k])


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
