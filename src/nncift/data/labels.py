"""Exact influences of some pairs: all that passes from a teacher to an estimator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Labels:
    """Exact influences `y` of pool rows `j` on target rows `i`.

    Attributes:
        i: int32 [L], positions in the target. All zero for a pointwise influence, whose kernel has one row.
        j: int32 [L], positions in the pool.
        y: float32 [L], finite, higher is better.
        shape: (m, n), the size of the full kernel.
    """

    i: Int[ndarray, " L"]
    j: Int[ndarray, " L"]
    y: Float[ndarray, " L"]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: np.ndarray) -> Labels:
        """The labels at the given positions (int [K]) or under the given mask (bool [L])."""
        return Labels(self.i[which], self.j[which], self.y[which], self.shape)

    def dense(self, fill: float = float("nan")) -> Float[ndarray, "m n"]:
        """The labels as a float32 matrix, `fill` where there is none."""
        values = np.full(self.shape, fill, dtype=np.float32)
        values[self.i, self.j] = self.y
        return values
