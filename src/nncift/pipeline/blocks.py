"""The parts of a run's kernel that objectives know, and what they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.pipeline.inputs import Axes, kernel_shape


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the whole rectangle of a run.

    Attributes:
        name: as in `Kernels`.
        rows, columns: which of the axes' rows and columns.
    """

    name: Literal["target", "pool", "existing", "existing_pool"]
    rows: slice
    columns: slice

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def inside(self, pairs: Int[ndarray, "p 2"]) -> Int[ndarray, "q 2"]:
        """The pairs (row, column) of the run that lie here, counted from the block's corner."""
        return pairs[self.holds(pairs[:, 0], pairs[:, 1])] - np.array([self.rows.start, self.columns.start])

    def holds(self, i: Int[ndarray, " p"], j: Int[ndarray, " p"]) -> Bool[ndarray, " p"]:
        """Whether pairs of the run lie here."""
        across = (i >= self.rows.start) & (i < self.rows.stop)
        return across & (j >= self.columns.start) & (j < self.columns.stop)

    def labels(self, labels: Labels) -> Labels:
        """The labels that lie here, counted from the block's corner."""
        some = labels.take(self.holds(labels.i, labels.j))
        return Labels(some.i - self.rows.start, some.j - self.columns.start, some.y, self.shape)


def blocks(axes: Axes) -> tuple[Block, ...]:
    """What objectives know of the rectangle: target × pool, pool × pool, target × existing, pool × existing."""
    rows, columns = kernel_shape(axes)
    found = [Block("target", slice(0, axes.m), slice(0, axes.n))]
    if rows > axes.m:
        found.append(Block("pool", slice(axes.m, rows), slice(0, axes.n)))
    if columns > axes.n:
        found.append(Block("existing", slice(0, axes.m), slice(axes.n, columns)))
    if rows > axes.m and columns > axes.n:
        found.append(Block("existing_pool", slice(axes.m, rows), slice(axes.n, columns)))
    return tuple(found)


def kernel_bytes(axes: Axes) -> int:
    """Memory of all kernels of a run, stored."""
    return 4 * sum(int(np.prod(block.shape)) for block in blocks(axes))
