"""The best entries of every row of a kernel, found in one walk over its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from nncift.errors import ModelError
from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import Lines
from nncift.objective.survey import at_once


@dataclass(slots=True)
class Best:
    """The best entries of every row, each row a heap whose root is the worst of them.

    Attributes:
        values, ids: [r, t], entries and their candidates.
        counts: [r], how many there are.
    """

    values: Float32[ndarray, "r t"]
    ids: Int32[ndarray, "r t"]
    counts: Int64[ndarray, " r"]

    @classmethod
    def empty(cls, rows: int, most: int) -> Best:
        """Room for so many of each row."""
        return cls(np.zeros((rows, most), np.float32), np.zeros((rows, most), np.int32), np.zeros(rows, dtype=np.int64))

    def drop_last(self, most: int) -> Float64[ndarray, " r"]:
        """Leaves at most so many in each row, of which there is one more at most; what was dropped, or minus infinity."""
        full = self.counts > most
        dropped = np.where(full, self.values[:, 0].astype(np.float64) if self.values.size else -np.inf, -np.inf)
        if full.any():
            last = self.values.shape[1] - 1
            self.values[full, 0], self.ids[full, 0] = self.values[full, last], self.ids[full, last]
            self.counts[full] -= 1
        return dropped


def best_entries(lines: Lines, most: int, floor: Float64[ndarray, " r"], threads: int) -> Best:
    """The best entries of every row of a kernel that are above its floor, of equal ones those of the lowest candidates.

    Args:
        lines: of the kernel.
        most: how many of each row.
        floor: float64 [r].
        threads: at most so many at once, 0 for all cores; the result does not depend on it.

    Raises:
        ModelError: an entry is no number.

    *Cost*: one pass over the lines; 8 · most · r bytes for every thread and once more.
    """
    n, r = lines.shape
    found, merging, wrong = Best.empty(r, most), Lock(), []

    def task(start: int, stop: int) -> None:
        mine, bar = Best.empty(r, most), floor.copy()
        for first in range(start, stop, at_once(r)):
            some = lines.take(np.arange(first, min(first + at_once(r), stop)))
            if not _collect(some, first, bar, mine.values, mine.ids, mine.counts):
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
def _collect(lines, first, bar, values, ids, counts):
    """Puts a block of lines into the heaps, what is above each row's bar: its floor, its worst entry once it is full.

    Lines come in the order of their candidates, so an entry as large as the worst stands behind it. False where an entry is
    no number.
    """
    sound = True
    for b in range(len(lines)):
        line = lines[b]
        for i in range(len(line)):
            value = line[i]
            if not value <= bar[i]:
                if value != value:
                    sound = False
                    continue
                counts[i] = _push(values[i], ids[i], counts[i], value, first + b)
                if counts[i] == values.shape[1]:
                    bar[i] = values[i, 0]
    return sound


@compiled
def _merge(values, ids, counts, into_values, into_ids, into_counts):
    for i in range(len(counts)):
        for k in range(counts[i]):
            into_counts[i] = _push(into_values[i], into_ids[i], into_counts[i], values[i, k], ids[i, k])
