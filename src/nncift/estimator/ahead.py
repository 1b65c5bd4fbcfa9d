"""Looking one round ahead: whether the candidates and the targets that lack a label can still meet each other."""

from __future__ import annotations

from collections import deque

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.estimator.openings import Openings


def can_continue(keys: Int[ndarray, "L"], openings: Openings) -> bool:
    """Whether, after these pairs are drawn, the candidates with the fewest labels can be matched with the targets with the
    fewest, until either have all caught up. Where they cannot, a later round must give someone two labels more than another.

    *Cost*: O(L + m + n + barred pairs), but for chains where nearly everything is barred.
    """
    m, columns = openings.m, openings.columns
    closed = np.concatenate([openings.barred, keys])
    rows = openings.row_count + np.bincount(keys % m, minlength=m)
    loads = (openings.column_count + np.bincount(keys // m, minlength=openings.n))[columns]
    row_room = len(columns) - np.bincount(closed % m, minlength=m)
    load_room = m - np.bincount(closed // m, minlength=openings.n)[columns]
    targets, candidates = _fewest(rows, row_room), columns[_fewest(loads, load_room)]
    met = set(closed[np.isin(closed % m, targets) & np.isin(closed // m, candidates)].tolist())
    if len(targets) <= len(candidates):
        return _match((candidates * m).tolist(), targets.tolist(), met)
    return _match(targets.tolist(), (candidates * m).tolist(), met)


def _fewest(count: Int[ndarray, "q"], room: Int[ndarray, "q"]) -> Int[ndarray, "f"]:
    able = np.flatnonzero(room > 0)
    return able[count[able] == count[able].min()] if len(able) else able


def _match(many: list[int], few: list[int], met: set[int]) -> bool:
    """Whether each of `few` finds a partner of its own in `many`: augmenting paths; a pair is the sum of its halves."""
    partner: dict[int, int] = {}
    spare = deque(many)
    for seeker in few:
        lost: dict[int, tuple[int, int]] = {}  # who would lose a partner: to whom, and which
        queue, unseen = [seeker], partner.keys()
        for one in queue:
            at = next((at for at, other in enumerate(spare) if one + other not in met), None)
            if at is not None:
                other = spare[at]
                del spare[at]
                partner[other] = one
                while one != seeker:
                    one, other = lost[one]
                    partner[other] = one
                break
            reached = [other for other in unseen if one + other not in met]
            unseen = [other for other in unseen if one + other in met]
            lost |= {partner[other]: (one, other) for other in reached}
            queue += [partner[other] for other in reached]
        else:
            return False
    return True
