"""What an embedder is, and the two rules that hold for every vector: finite, and of length one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

BLOCK = 8192
"""Vectors that are handled at a time where many of them lie in a file."""

Progress = Callable[[int], None]
"""Told how many more texts are done; over one call the numbers add up to the number of texts."""


class Embedder(Protocol):
    """Turns texts into vectors whose inner products are cosine similarities.

    A user's own class (`--embedder package.module:Class`) is constructed with the one keyword `device`.
    """

    @property
    def name(self) -> str:
        """What the user asked for."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of weights and settings: part of the key of everything computed from the vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector, `d`."""
        ...

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> Float[ndarray, "n d"]:
        """One float32 vector per text, of length 1 (all zeros where the encoder gives zeros).

        Equal texts get equal vectors; across batches and orders a text's vector agrees within float noise (1e-5).
        """
        ...

    def overlong(self, texts: Sequence[str]) -> Bool[ndarray, "n"]:
        """Which texts are longer than the encoder reads, so that `encode` sees their beginning only."""
        ...


def text_order(text: str) -> tuple[int, str]:
    """The key by which texts are sorted before they are batched: alike in length, and the same in every run."""
    return len(text), text


def first_bad_row(vectors: Float[ndarray, "n d"]) -> int | None:
    """The first row with a NaN or an infinity, or None."""
    for start in range(0, len(vectors), BLOCK):
        bad = ~np.isfinite(vectors[start : start + BLOCK]).all(axis=1)
        if bad.any():
            return start + int(bad.argmax())
    return None


def unit_rows(vectors: Float[ndarray, "n d"]) -> Float[ndarray, "n d"]:
    """The rows scaled to length 1, as float32; a row of zeros stays zero. The rows must be finite."""
    wide = np.asarray(vectors, dtype=np.float64)
    if wide.size == 0:
        return wide.astype(np.float32)
    largest = np.abs(wide).max(axis=1, keepdims=True)
    wide = np.divide(wide, largest, out=np.zeros_like(wide), where=largest > 0)  # squares of 1e200 would overflow
    length = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return np.divide(wide, length, out=wide, where=length > 0).astype(np.float32)
