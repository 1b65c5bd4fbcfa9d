"""Designs that say how many labels a candidate gets: `stripes` gives ten to some of them, `spread` equally many to all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.estimator.ahead import can_continue
from nncift.estimator.budget import PER_CANDIDATE
from nncift.estimator.dealing import deal, keys_of
from nncift.estimator.evening import even_out
from nncift.estimator.openings import Openings

_TRIES = 8  # one draw in a hundred leaves the last ones to meet in pairs that are taken; eight in a row hardly ever do


def stripes(total: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """About five labels for each candidate that is used; those with the fewest labels of earlier rounds are used first."""
    columns, degrees = _stripe_degrees(total, openings, rng)
    dealt = deal(openings, columns, degrees, rng)
    if openings.row_count.any():  # a first draw is left as it was dealt: there is nothing to make up for
        even_out(dealt, openings, moves="any")
    return keys_of(dealt, openings.m)


def _stripe_degrees(
    total: int, openings: Openings, rng: np.random.Generator
) -> tuple[Int[ndarray, "c"], Int[ndarray, "c"]]:
    """The candidates that get labels, in random order, and how many each gets: as equal as the barred pairs allow."""
    shuffled = rng.permutation(len(openings.columns))
    shuffled = shuffled[np.argsort(openings.column_count[openings.columns[shuffled]], kind="stable")]
    room = openings.room()[shuffled]
    reach = np.cumsum(room)
    used = max(total // min(PER_CANDIDATE, openings.m), int(np.searchsorted(reach, total)) + 1)
    used = min(len(shuffled), used)
    room = room[:used]
    degrees = np.zeros(used, dtype=np.int64)
    while (missing := total - int(degrees.sum())) > 0:
        able = np.flatnonzero(degrees < room)
        share, rest = divmod(missing, len(able))
        degrees[able] += np.minimum(share, room[able] - degrees[able])
        if share == 0:
            degrees[able[:rest]] += 1
    return openings.columns[shuffled[:used]], degrees


def spread(total: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """Equally many labels for every candidate and for every target, those of earlier rounds counted."""
    keys = _spread_once(total, openings, rng)
    for _ in range(_TRIES):
        if can_continue(keys, openings):
            break
        keys = _spread_once(total, openings, rng)
    return keys


def _spread_once(total: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    degrees = fill_up(openings.column_count[openings.columns], openings.room(), total, rng)
    order = rng.permutation(np.flatnonzero(degrees))
    dealt = deal(openings, openings.columns[order], degrees[order], rng)
    even_out(dealt, openings, moves="even")
    return keys_of(dealt, openings.m)


def fill_up(had: Int[ndarray, "c"], room: Int[ndarray, "c"], total: int, rng: np.random.Generator) -> Int[ndarray, "c"]:
    """Deals `total` to those who had the fewest, like water that is poured onto uneven ground.

    Args:
        had: what each has.
        room: what each can still get; at least `total` together.
        rng: chooses who gets one more where the level comes out between two whole numbers.
    """
    low, high = int(had.min()), int(had.max()) + total
    while low < high:  # the highest level that `total` reaches everywhere
        level = (low + high + 1) // 2
        if np.clip(level - had, 0, room).sum() <= total:
            low = level
        else:
            high = level - 1
    given = np.clip(low - had, 0, room)
    next_ones = np.flatnonzero(np.clip(low + 1 - had, 0, room) > given)
    given[rng.permutation(next_ones)[: total - int(given.sum())]] += 1
    return given
