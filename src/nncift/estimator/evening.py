"""Moving dealt pairs until no target has two labels fewer than another, wherever the open pairs allow it."""

from __future__ import annotations

from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from nncift.estimator.openings import Openings

Moves = Literal["none", "even", "any"]
"""Whether a label may move to another candidate: never; only to one that has fewer than the one that loses it; always."""


def even_out(dealt: dict[int, set[int]], openings: Openings, *, moves: Moves) -> None:
    """Hands labels from targets with many to targets with few, in place; no label of an earlier round moves.

    What candidates can hand on along a chain (one gives up a target of many labels and takes one that another gives up,
    ..., until one takes the target of few) is tried first, because it leaves every candidate as many labels as it had.
    Afterwards no chain is left that would make the targets more equal, which for such a flow means the best there is.

    Args:
        dealt: the targets that each candidate was given.
        moves: what is allowed where there is no such chain.

    *Cost*: O(L + m + n) for each label that is handed on: a handful after `deal`.
    """
    table = _Table(dealt, openings)
    hopeless = np.zeros(openings.m, dtype=np.bool_)
    while (low := table.neediest(hopeless)) is not None:
        if not (table.hand_on(low) or (moves != "none" and table.move(low, anywhere=moves == "any"))):
            hopeless[low] = True


class _Table:
    """The labels dealt this round, beside the counts of all rounds."""

    def __init__(self, dealt: dict[int, set[int]], openings: Openings) -> None:
        self.dealt = dealt
        self.openings = openings
        self.barred = set(openings.barred.tolist())
        self.new = np.bincount(np.fromiter(chain.from_iterable(dealt.values()), dtype=np.int64), minlength=openings.m)
        self.rows = openings.row_count + self.new
        shut = np.bincount(openings.barred % openings.m, minlength=openings.m)
        self.room = len(openings.columns) - shut - self.new

    def neediest(self, hopeless: Bool[ndarray, "m"]) -> int | None:
        """The target with the fewest labels, where one that was dealt this round has at least two more."""
        able = np.flatnonzero((self.room > 0) & ~hopeless)
        if len(able) == 0:
            return None
        low = int(able[np.argmin(self.rows[able])])
        return low if self._rich(low).any() else None

    def _rich(self, low: int) -> Bool[ndarray, "m"]:
        return (self.new > 0) & (self.rows >= self.rows[low] + 2)

    def hand_on(self, low: int) -> bool:
        """Brings a label to `low` along the shortest chain, if there is one."""
        came: dict[int, tuple[int, int]] = {}
        queue, waiting = [low], list(self.dealt)
        for taker in queue:
            still = []
            for candidate in waiting:
                if not self._free(taker, candidate):
                    still.append(candidate)
                    continue
                for giver in sorted(self.dealt[candidate] - came.keys()):
                    came[giver] = (taker, candidate)
                    if self.rows[giver] >= self.rows[low] + 2:
                        self._follow(giver, low, came)
                        return True
                    queue.append(giver)
            waiting = still
        return False

    def _follow(self, giver: int, low: int, came: dict[int, tuple[int, int]]) -> None:
        self._count(giver, -1)
        self._count(low, +1)
        while giver != low:
            taker, candidate = came[giver]
            self.dealt[candidate].remove(giver)
            self.dealt[candidate].add(taker)
            giver = taker

    def move(self, low: int, *, anywhere: bool) -> bool:
        """Takes a label from the candidate with the most that has one to spare, and gives one to the candidate with the
        fewest that can take `low`."""
        rich = set(np.flatnonzero(self._rich(low)).tolist())
        load = self.openings.column_count.copy()
        load[list(self.dealt)] += [len(got) for got in self.dealt.values()]
        givers = [candidate for candidate, got in self.dealt.items() if not got.isdisjoint(rich)]
        loser = max(givers, key=lambda candidate: load[candidate])
        able = self.openings.columns[self.openings.is_open(self.openings.columns * self.openings.m + low)]
        able = able[[low not in self.dealt.get(candidate, ()) for candidate in able.tolist()]]
        winner = int(able[np.argmin(load[able])])
        if not anywhere and load[winner] >= load[loser]:
            return False
        giver = min(self.dealt[loser] & rich)
        self.dealt[loser].remove(giver)
        self.dealt.setdefault(winner, set()).add(low)
        self._count(giver, -1)
        self._count(low, +1)
        return True

    def _free(self, target: int, candidate: int) -> bool:
        return target not in self.dealt[candidate] and candidate * self.openings.m + target not in self.barred

    def _count(self, target: int, change: int) -> None:
        self.rows[target] += change
        self.new[target] += change
        self.room[target] -= change
