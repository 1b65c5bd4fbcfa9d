"""One walk over a kernel for all that objectives must know before they begin: floors, maxima, means, and what is no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ModelError
from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import MASKED, Lines
from nncift.objective.spread import Spread, shards, worth_sending

LANES = 64
"""Partial sums of a line: enough for the widest registers, and the order of addition is fixed by the source."""

_AT_ONCE = 1 << 18  # entries: a megabyte, which stays in the second-level cache
_NAMED = 5  # offenders that an error message names


@dataclass(frozen=True, slots=True)
class Survey:
    """What a kernel looks like from both sides; masked pairs are left out.

    Attributes:
        sums: float64 [n], of each candidate's entries.
        counts: int64 [n], how many they are.
        best: float32 [n], each candidate's largest entry; minus infinity where it has none.
        lowest: float32 [r], the smallest entry of each row; infinity where it has none.
        highest: float32 [r], the largest; minus infinity where it has none.
    """

    sums: Float64[ndarray, " n"]
    counts: Int[ndarray, " n"]
    best: Float32[ndarray, " n"]
    lowest: Float32[ndarray, " r"]
    highest: Float32[ndarray, " r"]

    @property
    def floors(self) -> Float32[ndarray, " r"]:
        """The smallest entry of every row; a row without one gets the smallest of all, 0 where there is none."""
        some = np.isfinite(self.lowest)
        return np.where(some, self.lowest, self.floor).astype(np.float32)

    @property
    def floor(self) -> float:
        """The smallest entry of all, 0 where there is none."""
        some = np.isfinite(self.lowest)
        return float(self.lowest[some].min()) if some.any() else 0.0

    @property
    def means(self) -> Float64[ndarray, " n"]:
        """The mean of every candidate; one without an entry gets the lowest of the others, 0 where there is none."""
        some = self.counts > 0
        means = self.sums / np.maximum(self.counts, 1)
        means[~some] = means[some].min() if some.any() else 0.0
        return means


def survey(lines: Lines, *, threads: int = 0, spread: Spread | None = None) -> Survey:
    """Walks over all lines once.

    Args:
        lines: of a kernel; any entry that is no number shows in `sums` as one that is not finite.
        threads: at most this many at once, 0 for all cores; the result does not depend on it.
        spread: workers who walk over shards of lines that are computed; the result does not depend on them.

    *Cost*: every entry once, in blocks of a megabyte per thread.
    """
    n, r = lines.shape
    if spread is not None and worth_sending(lines) and n and r:
        sides = list(spread.each(_walked, (lines.pick(some) for some in shards(n, spread.workers))))
        sums, counts, best = (np.concatenate(side) for side in zip(*(side[:3] for side in sides), strict=True))
        lowest, highest = (np.stack(side) for side in zip(*(side[3:] for side in sides), strict=True))
        return Survey(sums, counts, best, lowest.min(axis=0), highest.max(axis=0))
    found = Survey(
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        np.full(n, MASKED),
        np.full(r, np.inf, dtype=np.float32),
        np.full(r, MASKED),
    )
    merging = Lock()

    def task(start: int, stop: int) -> None:
        lowest, highest = found.lowest.copy(), found.highest.copy()
        for first in range(start, stop, at_once(r)):
            which = np.arange(first, min(first + at_once(r), stop))
            _walk(lines.take(which), first, found.sums, found.counts, found.best, lowest, highest)
        with merging:  # minima and maxima are the same in any order
            np.minimum(found.lowest, lowest, out=found.lowest)
            np.maximum(found.highest, highest, out=found.highest)

    if n and r:
        over_blocks(task, n, threads=threads, multiple=4)
    return found


def _walked(lines: Lines) -> tuple[ndarray, ...]:
    """The survey of a shard, by one thread: workers share the cores already."""
    found = survey(lines, threads=1)
    return found.sums, found.counts, found.best, found.lowest, found.highest


def at_once(rows: int) -> int:
    """How many lines are taken at a time: a megabyte of them, in groups of four."""
    return max(4, _AT_ONCE // max(1, rows) // 4 * 4)


def check_finite(
    lines: Lines,
    found: Survey,
    candidates: Sequence[str],
    rows: Sequence[str],
    *,
    masked: Int[ndarray, "p 2"],
    closed: Int[ndarray, " b"] | None = None,
    what: str = "the kernel",
) -> None:
    """The border that a kernel crosses once, before any objective sees it.

    Args:
        lines: of the kernel.
        found: its survey.
        masked: the pairs (i, j) that do not count.
        candidates: the n ids of its candidates.
        rows: the r ids of its rows.
        what: its name in the message.

    Raises:
        ModelError: an entry that counts is NaN or infinite; the message names the first few by candidate and row.
    """
    n, r = lines.shape
    hidden = np.unique(masked[:, 1].astype(np.int64) * r + masked[:, 0])
    expected = r - np.bincount(hidden // max(1, r), minlength=n)
    expected[[] if closed is None else closed] = 0
    bad = np.flatnonzero(~np.isfinite(found.sums) | (found.counts != expected))
    if not len(bad):
        return
    named: list[str] = []
    for j in bad[:_NAMED].tolist():
        line = lines.take(np.array([j]))[0]
        wrong = np.setdiff1d(np.flatnonzero(~np.isfinite(line)), masked[masked[:, 1] == j, 0])
        named += [f"candidate {candidates[j]!r} on row {rows[i]!r} is {line[i]}" for i in wrong[: _NAMED - len(named)]]
    raise ModelError(
        f"{what} has entries that are not finite, in {len(bad):,} of {n:,} candidates: {'; '.join(named)}. "
        "Check the labels and embeddings of these rows."
    )


@compiled
def _walk(lines, first, sums, counts, best, lowest, highest):
    """One candidate after the other; NaN is kept by the sum. A masked entry adds nothing anywhere."""
    partial, present = np.zeros(LANES), np.zeros(LANES, dtype=np.int32)
    tops = np.empty(LANES, dtype=np.float32)
    width = lines.shape[1]
    whole = width - width % LANES
    for c in range(len(lines)):
        line = lines[c]
        partial[:], present[:], tops[:] = 0.0, 0, MASKED
        for start in range(0, whole, LANES):
            part = line[start : start + LANES]
            for lane in range(LANES):
                value = part[lane]
                partial[lane] += np.float64(np.float32(0.0) if value == MASKED else value)
                present[lane] += value != MASKED
                tops[lane] = value if value > tops[lane] else tops[lane]
        for i in range(whole, width):
            value, lane = line[i], i - whole
            partial[lane] += np.float64(np.float32(0.0) if value == MASKED else value)
            present[lane] += value != MASKED
            tops[lane] = value if value > tops[lane] else tops[lane]
        for i in range(width):
            value = line[i]
            highest[i] = value if value > highest[i] else highest[i]
        for i in range(width):
            value = line[i] if line[i] != MASKED else lowest[i]
            lowest[i] = value if value < lowest[i] else lowest[i]
        total, count, top = 0.0, 0, MASKED
        for lane in range(LANES):
            total += partial[lane]
            count += present[lane]
            top = tops[lane] if tops[lane] > top else top
        sums[first + c], counts[first + c], best[first + c] = total, count, top
