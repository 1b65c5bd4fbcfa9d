"""The control that every other influence has to beat: a seeded random score."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.influence.base import Context, Progress


@dataclass(frozen=True, slots=True)
class Random:
    """Pointwise, uniform in [0, 1), drawn from the seed and the row's id.

    A row keeps its draw whatever else is in the pool, so random subsets of growing pools stay comparable.

    *Cost*: nothing.
    """

    name: ClassVar[str] = "random"
    pairwise: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    needs_embeddings: ClassVar[bool] = False
    free: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    objective: ClassVar[str] = "top-mean"

    def start(self, context: Context) -> RandomSession:
        """Needs ids only."""
        return RandomSession(tuple(example.id for example in context.pool), context.seed)


@dataclass(frozen=True, slots=True)
class RandomSession:
    """The ids and the seed."""

    ids: tuple[str, ...]
    seed: int

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """One draw per row."""
        on_progress(len(j))
        return np.array([self._draw(self.ids[int(row)]) for row in j], dtype=np.float32)

    def truncated(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def _draw(self, row: str) -> float:
        digest = sha256(f"{self.seed}/random/{row}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:4], "big") / 2**32
