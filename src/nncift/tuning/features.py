"""Feature vectors of rows at several checkpoints, on disk: unit vectors in few bits, beside the lengths they had.

Rows are filled in chunks that are always the same, each with a marker that holds the hash of its bytes: a kill loses one
chunk, a damaged chunk is computed again, and what is then there is byte for byte what an undisturbed run writes.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.lm.atomic import aside, write_whole

log = logging.getLogger(__name__)

Kept = Literal["float16", "int8"]

CHUNK = 256  # rows a chunk


class FeatureStore:
    """Unit vectors [checkpoints, rows, width] in a memory-mapped file.

    Args:
        folder: of this store alone, named by everything that the features depend on.
        shape: checkpoints, rows, width.
        kept: `float16`, or `int8` with a scale for each vector: half the disk, inner products about 1e-3 off.

    Attributes:
        lengths: float32 [checkpoints, rows], of the vectors before they were made unit vectors; 0 or NaN where a row has no
            direction.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int], *, kept: Kept) -> None:
        self.folder = folder
        self.shape = shape
        folder.mkdir(parents=True, exist_ok=True)
        self._units = _mapped(folder / "features.npy", shape, np.dtype(kept))
        self._scales = _mapped(folder / "scales.npy", shape[:2], np.dtype(np.float32))
        self.lengths = _mapped(folder / "lengths.npy", shape[:2], np.dtype(np.float32))

    def missing(self) -> Iterator[tuple[int, slice]]:
        """Checkpoint and rows of every chunk that is not there or not whole."""
        for checkpoint in range(self.shape[0]):
            for start in range(0, self.shape[1], CHUNK):
                rows = slice(start, min(start + CHUNK, self.shape[1]))
                if not self._whole(checkpoint, rows):
                    yield checkpoint, rows

    def put(self, checkpoint: int, rows: slice, vectors: Float[ndarray, "c r"]) -> None:
        """Keeps the vectors of one chunk, float32 of any length."""
        lengths = np.sqrt(np.einsum("cr,cr->c", vectors, vectors, dtype=np.float64))
        some = np.isfinite(lengths) & (lengths > 0)
        units = np.where(some[:, None], vectors, 0) / np.where(some, lengths, 1)[:, None]
        if self._units.dtype == np.int8:
            units = np.rint(units * (127 / np.where(some, np.abs(units).max(axis=1, initial=0), 1))[:, None])
        self._units[checkpoint, rows] = units
        # what was rounded is made a unit vector again, so that a row has influence 1 on itself and none has more
        rounded = self._units[checkpoint, rows].astype(np.float64)
        self._scales[checkpoint, rows] = 1 / np.where(some, np.sqrt(np.einsum("cr,cr->c", rounded, rounded)), 1)
        self.lengths[checkpoint, rows] = lengths
        for array in (self._units, self._scales, self.lengths):
            array.flush()
        marker = {"sha256": self._hash(checkpoint, rows)}
        write_whole(self._marker(checkpoint, rows), (json.dumps(marker) + "\n").encode())

    def units(self, checkpoint: int, rows: Int[ndarray, " k"]) -> Float[ndarray, "k r"]:
        """Unit vectors of some rows, float32; zero where a row has no direction."""
        return self._units[checkpoint, rows].astype(np.float32) * self._scales[checkpoint, rows, None]

    def directed(self) -> Bool[ndarray, " rows"]:
        """Whether each row has a direction at every checkpoint."""
        return np.logical_and.reduce(np.isfinite(self.lengths) & (self.lengths > 0), axis=0)

    def _marker(self, checkpoint: int, rows: slice) -> Path:
        return self.folder / "done" / f"{checkpoint}-{rows.start // CHUNK}.json"

    def _whole(self, checkpoint: int, rows: slice) -> bool:
        marker = self._marker(checkpoint, rows)
        if not marker.is_file():
            return False
        try:
            said = json.loads(marker.read_bytes())["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            said = None
        if said == self._hash(checkpoint, rows):
            return True
        log.warning("the features that %s vouches for are damaged; they are computed again", marker)
        return False

    def _hash(self, checkpoint: int, rows: slice) -> str:
        digest = sha256()
        for array in (self._units, self._scales, self.lengths):
            digest.update(np.ascontiguousarray(array[checkpoint, rows]).tobytes())
        return digest.hexdigest()


def _allocate(path: Path) -> None:
    """Takes the space that a mapped file will need: where the disk is full later, writing to the map would end the process.

    Raises:
        OSError: there is not enough.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    with path.open("r+b") as stream:
        if size := path.stat().st_size:
            os.posix_fallocate(stream.fileno(), 0, size)


def _mapped(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """The array in a file, made anew where there is none of this shape; the chunks in it are then found missing."""
    if path.is_file():
        try:
            array = np.lib.format.open_memmap(path, mode="r+")
            if array.shape == shape and array.dtype == dtype:
                return array
        except ValueError as error:
            log.warning("the features in %s are damaged (%s); they are computed again", path, error)
    with aside(path) as part:  # whole before it has its name, whoever else makes it at the same time
        np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()
        _allocate(part)
    return np.lib.format.open_memmap(path, mode="r+")
