"""Random choice with the same share for every task: the stronger of the two random controls."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.columns import column_values
from nncift.data.rows import Example, ids_of
from nncift.influence.base import Context, Direct, Progress, Traits
from nncift.influence.random import draw

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BalancedRandom:
    """Pointwise, in (0, 1): random rows in equal numbers from every group of the pool.

    Use it as the control where the pool mixes tasks or sources of very unequal size. Groups are the values of one column;
    rows without it are one group. Each group is shuffled by the seed and the rows' ids, then the groups give one row
    each, again and again, and a group that has no more drops out: the score falls along that order.

    Args:
        by: the column that names a row's group.

    *Cost*: nothing.
    *Reference*: Ivison et al., Large-Scale Data Selection for Instruction Tuning, 2025, balanced random baseline.
    """

    traits: ClassVar[Traits] = Traits(
        name="balanced-random", pairwise=False, objective="top-mean", free=True, seeded=True, reads_columns=True
    )

    by: str = "task"

    def start(self, context: Context) -> Direct:
        """Needs ids and the column of the whole pool."""
        scores = _scores(context.pool, self.by, context.seed)

        def values(i: ndarray, j: ndarray, on_progress: Progress) -> Float[ndarray, " L"]:
            on_progress(len(j))
            return scores[j]

        return Direct(values)


def _scores(pool: Sequence[Example], by: str, seed: int) -> Float[ndarray, " n"]:
    groups: defaultdict[str | None, list[int]] = defaultdict(list)
    ids = ids_of(pool)
    for position, group in enumerate(column_values(pool, by)):
        groups[group].append(position)
    if set(groups) == {None}:
        log.warning("no row has the column %r: the choice is random without balance", by)
    turns: list[tuple[int, float, str, int]] = []
    for name, members in groups.items():
        place = draw(seed, f"group {name!r}")  # the last, incomplete turn favours no group for its size
        shuffled = sorted(members, key=lambda k: (-draw(seed, ids[k]), ids[k]))
        turns += [(turn, place, ids[k], k) for turn, k in enumerate(shuffled)]
    order = [k for *_, k in sorted(turns)]
    scores = np.empty(len(pool), dtype=np.float32)
    scores[order] = 1.0 - (np.arange(len(pool)) + 0.5) / len(pool)
    return scores
