"""Target rows choose in turn: a rule that gives every row its share of the budget, whatever the scale of its influences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.objective.base import Kernels
from nncift.objective.greedy import Ranking
from nncift.objective.modular import mean_influence

_FIRST = 64  # candidates that a row sorts at a time, doubled each time they run out: no row sorts what it never reaches
_MOST = 4096


class RoundRobin:
    """Each target row in turn takes its best candidate that is left.

    Use it with similarities such as those of embeddings, RDS+ and BM25, where a sum over rows would let the rows with
    the most or the nearest candidates take all. A row never takes a candidate of its own text; a row that has none left
    is passed over; candidates that no row may take come last. Equal influences go to the lowest id. The gain of a pick
    is the influence on the row that took it.

    *Cost*: no kernel beside target × pool; each row sorts only as many candidates as it gets to see.
    *Reference*: Ivison et al., Large-Scale Data Selection for Instruction Tuning, arXiv 2503.01807.
    """

    name: ClassVar[str] = "round-robin"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    def rank(self, kernels: Kernels, budget: int, *, rows: Sequence[str]) -> tuple[Ranking, tuple[str, ...]]:
        """See `Rule.rank`."""
        n = len(kernels.target)
        if budget < 0:
            raise ConfigError(f"the budget is {budget}; it must be 0 or more.")
        picks, takers = _take_turns(kernels, min(budget, n))
        gains = kernels.target[picks, takers].astype(np.float64)
        reasons = [f"the best left for {rows[i]!r} ({gain:.4g})" for i, gain in zip(takers, gains, strict=True)]
        rest = min(budget, n) - len(picks)
        left = np.setdiff1d(np.arange(n), picks)
        left = left[np.argsort(-mean_influence(kernels)[left], kind="stable")][:rest]
        reasons += ["no row may take it: it has the text of all of them"] * rest
        order = np.concatenate([picks, left]).astype(np.int64)
        merit = "mean influence" if rest else ""
        return Ranking(order, np.concatenate([gains, np.zeros(rest)]), len(picks), merit), tuple(reasons)


def _take_turns(kernels: Kernels, budget: int) -> tuple[Int64[ndarray, "k"], Int64[ndarray, "k"]]:
    """The candidates in the order in which they are taken, and the row that took each."""
    n, m = kernels.target.shape
    taken = np.zeros(n, dtype=np.bool_)
    by_row = np.argsort(kernels.masked[:, 0], kind="stable")
    cuts = np.searchsorted(kernels.masked[by_row, 0], np.arange(m + 1))
    queues = [_Queue(kernels.target[:, i], kernels.masked[by_row[cuts[i] : cuts[i + 1]], 1]) for i in range(m)]
    picks: list[int] = []
    takers: list[int] = []
    waiting = list(range(m))
    while waiting and len(picks) < budget:
        stay = []
        for i in waiting:
            if len(picks) == budget:
                break
            best = queues[i].next(taken)
            if best is not None:
                taken[best] = True
                picks.append(best)
                takers.append(i)
                stay.append(i)
        waiting = stay
    return np.array(picks, dtype=np.int64), np.array(takers, dtype=np.int64)


class _Queue:
    """What one row still wants, best first, sorted a stretch at a time."""

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
