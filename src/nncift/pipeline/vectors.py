"""Vectors laid out by the axes of a run, block by block: neither a file of the user's nor the run's own is in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.arrays import write_blocks
from nncift.embed.base import BLOCK
from nncift.run import RunFolder, as_left

FILES = ("embeddings/rows.npy", "embeddings/columns.npy")
"""Where a run folder keeps the vectors of both axes."""

Take = Callable[[Int[ndarray, " k"]], Float[ndarray, "k d"]]
"""Positions of rows in their source -> their vectors."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors of both axes: float32 [rows, d] and [columns, d]; `rows` are those that the influence reads as targets."""

    rows: Float[ndarray, "m d"]
    columns: Float[ndarray, "n d"]


@dataclass(frozen=True, slots=True)
class Axis:
    """The vectors of one axis, made when they are asked for.

    Attributes:
        parts: whose vectors, and which of them in which order.
        width: d.
    """

    parts: tuple[tuple[Take, Int[ndarray, " k"]], ...]
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """(vectors, width)."""
        return sum(len(at) for _, at in self.parts), self.width

    def blocks(self) -> Iterator[Float[ndarray, "k d"]]:
        """All vectors, some at a time."""
        for take, at in self.parts:
            for start in range(0, len(at), BLOCK):
                yield take(at[start : start + BLOCK])


@dataclass(frozen=True, slots=True)
class Laid:
    """The vectors of both axes."""

    rows: Axis
    columns: Axis

    def whole(self) -> Embeddings:
        """All in memory."""
        nothing = np.empty((0, self.columns.width), dtype=np.float32)
        return Embeddings(*(np.concatenate([nothing, *axis.blocks()]) for axis in (self.rows, self.columns)))

    def write(self, folder: RunFolder) -> list[str]:
        """Writes them into a run folder; the names of the files."""
        for name, axis in zip(FILES, (self.rows, self.columns), strict=True):
            with folder.atomic(name) as part, part.open("wb") as stream:
                write_blocks(stream, axis.blocks(), axis.shape)
        return [*FILES]


def read_embeddings(folder: Path) -> Embeddings:
    """The vectors that a run folder keeps; what is not looked at is not read."""
    # copy on write: torch warns of arrays that cannot be written to, and the file stays as it is
    with as_left(folder):
        rows, columns = (np.asarray(np.load(folder / name, mmap_mode="c", allow_pickle=False)) for name in FILES)
        if not rows.ndim == columns.ndim == 2 or rows.shape[1] != columns.shape[1]:
            raise ValueError(f"vectors of the shapes {rows.shape} and {columns.shape}")
    return Embeddings(rows, columns)
