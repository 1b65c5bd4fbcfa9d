"""Dealing targets to candidates, so that all targets get equally many."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.estimator.openings import Openings


def deal(
    openings: Openings, columns: Int[ndarray, "c"], degrees: Int[ndarray, "c"], rng: np.random.Generator
) -> dict[int, set[int]]:
    """Deals shuffled decks of the targets to the candidates; what one cannot take goes to the next one first. The targets
    with the fewest labels are dealt first.

    Args:
        columns: the candidates, in the order in which they are served.
        degrees: how many targets each gets, at least one, at most what it has room for.

    Returns:
        The targets of each candidate. All targets have equally many labels, give or take one, together with those that
        they had; a barred pair may cost one more.

    *Cost*: O(L + m + n).
    """
    barred = _by_candidate(openings, columns)
    decks = _decks(openings, columns, rng)
    deck: deque[int] = deque()
    dealt: dict[int, set[int]] = {}
    for candidate, degree in zip(columns.tolist(), degrees.tolist(), strict=True):
        closed = barred.get(candidate, set())
        got = dealt[candidate] = set()
        left: list[int] = []
        while len(got) < degree:
            if not deck:
                deck.extend(next(decks))
            target = deck.popleft()
            if target in got or target in closed:
                left.append(target)
            else:
                got.add(target)
        deck.extendleft(reversed(left))
    return dealt


def keys_of(dealt: dict[int, set[int]], m: int) -> Int[ndarray, "L"]:
    """The dealt pairs as numbers j·m + i."""
    return np.asarray([candidate * m + i for candidate, got in dealt.items() for i in got], dtype=np.int64)


def _by_candidate(openings: Openings, columns: Int[ndarray, "c"]) -> dict[int, set[int]]:
    """The barred targets of those candidates that have any."""
    barred: dict[int, set[int]] = {}
    for key in openings.barred[np.isin(openings.barred // openings.m, columns)].tolist():
        barred.setdefault(key // openings.m, set()).add(key % openings.m)
    return barred


def _decks(openings: Openings, columns: Int[ndarray, "c"], rng: np.random.Generator) -> Iterator[list[int]]:
    """Decks of the targets with the fewest labels, then of these and the next fewest, and so on; a target that no candidate
    can take is in none."""
    used = openings.barred[np.isin(openings.barred // openings.m, columns)]
    playable = np.bincount(used % openings.m, minlength=openings.m) < len(columns)
    level = int(openings.row_count[playable].min())
    while True:
        deck = rng.permutation(np.flatnonzero(openings.row_count <= level))
        yield deck[playable[deck]].tolist()
        level += 1
