"""Target rows or tasks choose in turn: a rule that gives each its share of the budget, whatever the scale of its influences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking

_FIRST = 64  # candidates that a queue sorts at a time, doubled each time they run out: none sorts what it never reaches
_MOST = 4096


class RoundRobin:
    """Each target row, or each task of the target, in turn takes its best candidate that is left.

    Use it with similarities such as those of embeddings, RDS+ and BM25, where a sum over rows would let the rows with
    the most or the nearest candidates take all. Where the target has tasks, a task has one turn however many rows it
    has, tasks in the order of their codes, and a candidate is worth to it the most that it helps one of its rows. A row
    never takes a candidate of its own text, nor a task one that has the text of all its rows; who has none left is
    passed over; candidates that nobody may take come last. Equal influences go to the lowest id. The gain of a pick is
    the influence on the row that took it, in a task the row that it helps most.

    *Cost*: no kernel beside target × pool; a number for each candidate and task of several rows; each row or task
    sorts only as many candidates as it gets to see.
    *Reference*: Ivison et al., Large-Scale Data Selection for Instruction Tuning, arXiv 2503.01807, one target and several.
    """

    name: ClassVar[str] = "round-robin"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    needs_whole: ClassVar[bool] = True

    def rank(self, kernels: Kernels, budget: int, *, rows: Sequence[str]) -> tuple[Ranking, tuple[str, ...]]:
        """See `Rule.rank`."""
        target = kernels.dense_target()
        n = len(target)
        if budget < 0:
            raise ConfigError(f"the budget is {budget}; it must be 0 or more.")
        picks, takers = _take_turns(target, kernels, min(budget, n))
        gains = target[picks, takers].astype(np.float64)
        whose = "" if kernels.groups is None else "the task of "
        reasons = [f"the best left for {whose}{rows[i]!r} ({gain:.4g})" for i, gain in zip(takers, gains, strict=True)]
        rest = min(budget, n) - len(picks)
        left = np.setdiff1d(np.arange(n), picks)
        left = left[np.argsort(-kernels.means[left], kind="stable")][:rest]
        reasons += ["no row may take it: it has the text of all of them"] * rest
        order = np.concatenate([picks, left]).astype(np.int64)
        merit = "mean influence, then the lowest id" if rest else ""
        return Ranking(order, np.concatenate([gains, np.zeros(rest)]), len(picks), merit), tuple(reasons)


def _take_turns(
    target: Float32[ndarray, "n m"], kernels: Kernels, budget: int
) -> tuple[Int64[ndarray, "k"], Int64[ndarray, "k"]]:
    """The candidates in the order in which they are taken, and the row that each was taken for."""
    n, m = target.shape
    taken = np.zeros(n, dtype=np.bool_)
    groups = np.arange(m) if kernels.groups is None else kernels.groups
    masked = _Masked(kernels.masked)
    by_task = np.argsort(groups, kind="stable")
    members = np.split(by_task, np.flatnonzero(np.diff(groups[by_task])) + 1)
    queues = [_queue(target, rows, masked) for rows in members]
    picks: list[int] = []
    takers: list[int] = []
    waiting = list(range(len(members)))
    while waiting and len(picks) < budget:
        stay = []
        for task in waiting:
            if len(picks) == budget:
                break
            best = queues[task].next(taken)
            if best is not None:
                taken[best] = True
                picks.append(best)
                takers.append(_most_helped(target[best], members[task], masked.rows(best)))
                stay.append(task)
        waiting = stay
    return np.array(picks, dtype=np.int64), np.array(takers, dtype=np.int64)


class _Masked:
    """Masked pairs, found by row or by candidate."""

    def __init__(self, pairs: Int[ndarray, "p 2"]) -> None:
        self._by_row, self._by_candidate = (pairs[np.argsort(pairs[:, side], kind="stable")] for side in (0, 1))

    def candidates(self, row: int) -> Int[ndarray, "q"]:
        """Those that a row must not take."""
        start, stop = np.searchsorted(self._by_row[:, 0], (row, row + 1))
        return self._by_row[start:stop, 1]

    def rows(self, candidate: int) -> Int[ndarray, "q"]:
        """Those that must not take a candidate."""
        start, stop = np.searchsorted(self._by_candidate[:, 1], (candidate, candidate + 1))
        return self._by_candidate[start:stop, 0]


def _queue(target: Float32[ndarray, "n m"], rows: Int64[ndarray, "r"], masked: _Masked) -> _Queue:
    """What the rows of one task want together: each candidate counts for the row that it helps most."""
    if len(rows) == 1:
        return _Queue(target[:, rows[0]], masked.candidates(int(rows[0])))  # nothing is copied
    best = np.full(len(target), -np.inf, dtype=np.float32)
    for row in rows.tolist():
        values, own = target[:, row], masked.candidates(row)
        if len(own):
            values = values.copy()
            values[own] = -np.inf
        np.maximum(best, values, out=best)
    return _Queue(best, np.flatnonzero(best == -np.inf))


def _most_helped(values: Float32[ndarray, "m"], rows: Int64[ndarray, "r"], own: Int[ndarray, "q"]) -> int:
    """The row of a task that a candidate helps most, the lowest of equals; rows of the candidate's own text are none."""
    free = rows if len(rows) == 1 else rows[~np.isin(rows, own)]
    return int(free[np.argmax(values[free])])


class _Queue:
    """What one row or task still wants, best first, sorted a stretch at a time."""

    def __init__(self, values: Float32[ndarray, "n"], own: Int64[ndarray, "p"]) -> None:
        self.values = values
        self.own = own
        self.ahead = np.empty(0, dtype=np.int64)
        self.size = _FIRST

    def next(self, taken: Bool[ndarray, "n"]) -> int | None:
        """The best candidate that is not taken; None where there is none."""
        free = np.flatnonzero(~taken[self.ahead])
        if not len(free):
            self.ahead = self._sorted(taken)
            if not len(self.ahead):
                return None
            free = np.zeros(1, dtype=np.int64)
        best = int(self.ahead[free[0]])
        self.ahead = self.ahead[free[0] + 1 :]
        return best

    def _sorted(self, taken: Bool[ndarray, "n"]) -> Int64[ndarray, "size"]:
        """The best `size` candidates of those that are left, equal ones by index."""
        open_ = ~taken
        open_[self.own] = False
        left = np.flatnonzero(open_)
        values = self.values[left]
        if len(left) > self.size:
            least = np.partition(values, len(values) - self.size)[-self.size]
            near = values >= least
            left, values = left[near], values[near]
        found = left[np.argsort(-values, kind="stable")[: self.size]]
        self.size = min(2 * self.size, _MOST)
        return found
