"""Whether new rows are of the kind that an estimator was trained on, told from their features alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray

from nncift.estimator.covariance import Coordinates, squared_distances
from nncift.estimator.features import Features
from nncift.estimator.threads import one_thread
from nncift.seeds import generator

FALSE_ALARM = 0.005
"""How often rows of one kind are taken for two, of either side of a kernel: at most one run in a hundred."""

_MOST = 2000  # rows of either sort
_FEWEST = 20  # that can be compared at all
_SHUFFLES = 999
_MANY = 0.6  # so that of thousands of rows a difference without weight is not told
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Novelty:
    """How new rows lie among as many old ones.

    Attributes:
        rows: how many there are of either sort.
        apart: share of the new rows whose nearest row is another new one; of one kind of data it is a half.
        chance: how often rows of one kind would lie apart as much (a permutation test, exact).
    """

    rows: int
    apart: float
    chance: float

    @property
    def alarming(self) -> bool:
        """Whether the new rows are of another kind."""
        return self.chance <= FALSE_ALARM and self.apart >= _MANY

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rows": self.rows, "apart": self.apart, "chance": self.chance, "alarming": self.alarming}


def novelty(old: Features, new: Features, *, seed: int) -> Novelty | None:
    """Compares new rows with rows that an estimator was trained on; None for fewer than 20 of either.

    As many of both, 2,000 at most, are laid into the coordinates that estimators read. Data of two kinds shows in the
    company that a row keeps: its nearest neighbour is of its own sort more often than by chance. Chance is what 999 other
    ways give to call half of the same rows new, so that of data of one kind one in two hundred is `alarming`, whatever its
    distribution. It tells too where new rows are a narrow part of what the old ones were.

    Args:
        old: rows that the estimator was trained on, or their like.
        new: rows that it is to predict, with the same blocks; some may be among the old ones.
        seed: of the rows that are drawn and of the other ways.

    *Cost*: (2 · 2,000)² distances in at most some 200 dimensions: about a second. No language-model call.
    *Reference*: Schilling (1986), Multivariate Two-Sample Tests Based on Nearest Neighbors; Henze (1988).
    """
    count = min(len(old), len(new), _MOST)
    if count < _FEWEST:
        return None
    rng = generator(seed, "estimator/novelty")
    sides = [rows.take(np.sort(rng.permutation(len(rows))[:count])) for rows in (old, new)]
    is_new = np.repeat([False, True], count)
    order = rng.permutation(2 * count)  # so that twins at the same distance are met in no order
    nearest = _nearest(sides, order)
    is_new = is_new[order]
    seen = _together(is_new, nearest)
    others = [_together(rng.permutation(is_new), nearest) for _ in range(_SHUFFLES)]
    return Novelty(count, seen / count, (1 + sum(other >= seen for other in others)) / (1 + _SHUFFLES))


def _together(is_new: Bool[ndarray, " q"], nearest: Int[ndarray, " q"]) -> int:
    """How many new rows have a new one for their nearest."""
    return int((is_new & is_new[nearest]).sum())


def _nearest(sides: list[Features], order: Int[ndarray, " q"]) -> Int[ndarray, " q"]:
    """The nearest other row of each row, in the coordinates of both sides together, all in the given order."""
    with one_thread():
        coordinates = Coordinates.of(sides)
        parts = [torch.cat(blocks) for blocks in zip(*map(coordinates.apply, sides), strict=True)]
        rows = torch.cat(parts, dim=1)[torch.from_numpy(order)]
        found = []
        for start in range(0, len(rows), _CHUNK):
            square = squared_distances([rows[start : start + _CHUNK]], [rows])[0]
            here = torch.arange(len(square))
            square[here, start + here] = torch.inf
            found.append(square.argmin(dim=1))
        return torch.cat(found).numpy()
