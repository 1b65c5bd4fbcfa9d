"""The control that every other influence has to beat: a seeded random score."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.rows import ids_of
from nncift.influence.base import Context, Direct, Progress, Traits


@dataclass(frozen=True, slots=True)
class Random:
    """Pointwise, uniform in [0, 1), drawn from the seed and the row's id.

    A row keeps its draw whatever else is in the pool, so random subsets of growing pools stay comparable.

    *Cost*: nothing.
    """

    traits: ClassVar[Traits] = Traits(name="random", pairwise=False, objective="top-mean", free=True, seeded=True)

    def start(self, context: Context) -> Direct:
        """Needs ids only."""
        ids = ids_of(context.pool)

        def values(i: ndarray, j: ndarray, on_progress: Progress) -> Float[ndarray, " L"]:
            on_progress(len(j))
            return np.array([draw(context.seed, ids[row]) for row in j.tolist()], dtype=np.float32)

        return Direct(values)


def draw(seed: int, row: str) -> float:
    """The number in [0, 1) that a row draws: by its id, so that it does not depend on its neighbours."""
    digest = sha256(f"{seed}/random/{row}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
