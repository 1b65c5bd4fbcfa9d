"""The parts of a run's kernel that objectives know, what they take, and whether they are stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.pipeline.inputs import Axes, kernel_shape

Backend = Literal["dense", "tiled"]
"""Whether kernels are stored, or evaluated line by line whenever a line is needed."""

_DENSE_SHARE = 1 / 8  # of the memory: what a kernel may take beside rows, embeddings and everything else
_MOST_SHARE = 0.5  # where it must be stored


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


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def choose_backend(axes: Axes, asked: str, *, whole: str) -> Backend:
    """Stored where the kernels take at most an eighth of the memory, else evaluated line by line.

    Args:
        axes: of the run.
        asked: `auto`, or the one that the user wants.
        whole: why the run cannot do without stored kernels, empty where it can.

    Raises:
        ConfigError: they must be stored and do not fit; with the arithmetic and what to lower.
    """
    need, have = kernel_bytes(axes), memory()
    if asked == "tiled" and whole:
        raise ConfigError(f"--backend tiled cannot be used: {whole}. Leave it out.")
    backend: Backend = (
        "dense" if whole or asked == "dense" or (asked == "auto" and need <= _DENSE_SHARE * have) else "tiled"
    )
    if backend == "dense" and need > _MOST_SHARE * have:
        rows, columns = kernel_shape(axes)
        beside = 4 * (rows - axes.m) * axes.n
        fits = int((_MOST_SHARE * have - beside) / (4 * columns))
        mend = (
            f"Lower --max-targets to at most {fits:,}."
            if fits > 0
            else "Use --objective flvmi, which needs no pool × pool kernel."
        )
        raise ConfigError(
            f"the kernels of {rows:,} rows × {columns:,} candidates take {need / 1e9:.1f} GB, more than half of this machine's "
            f"{have / 1e9:.1f} GB{', and ' + whole if whole else ''}. {mend}"
        )
    return backend
