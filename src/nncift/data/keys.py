"""Content keys of many rows, packed: 32 bytes each where their hexadecimal text takes a hundred and more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

WIDTH = 32
"""Bytes of a content key, a SHA-256."""

_BLOCK = 4096


class ContentKeys(Sequence[str]):
    """The content keys of rows in their order: to the outside a sequence of hexadecimal texts.

    Args:
        packed: uint8 [n, 32].
    """

    __slots__ = ("packed",)

    def __init__(self, packed: UInt8[ndarray, "n 32"]) -> None:
        self.packed = packed

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> ContentKeys:
        """Of digests, or of hexadecimal texts by way of `bytes.fromhex`."""
        return cls(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, WIDTH))

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> ContentKeys: ...
    def __getitem__(self, at: int | slice) -> str | ContentKeys:
        return ContentKeys(self.packed[at]) if isinstance(at, slice) else self.packed[at].tobytes().hex()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            text, size = self.packed[start : start + _BLOCK].tobytes().hex(), 2 * WIDTH
            yield from (text[at : at + size] for at in range(0, len(text), size))

    def take(self, at: Int[ndarray, " k"]) -> ContentKeys:
        """The keys at some positions."""
        return ContentKeys(self.packed[at])

    @property
    def first(self) -> Int[ndarray, " n"]:
        """For each row the position of the first row of its key."""
        if len(self) == 0:
            return np.empty(0, dtype=np.int64)
        order, heads = self._sorted()
        starts = np.flatnonzero(np.r_[True, heads[1:] != heads[:-1]])
        first = np.empty(len(self), dtype=np.int64)
        first[order] = np.repeat(order[starts], np.diff(np.r_[starts, len(self)]))
        if np.array_equal(self.packed, self.packed[first]):
            return first
        known: dict[str, int] = {}  # two keys of one head: never seen of SHA-256, and still right
        return np.array([known.setdefault(key, k) for k, key in enumerate(self)], dtype=np.int64)

    def pairs(self, others: ContentKeys) -> Int[ndarray, "p 2"]:
        """All (i, j) for which key i of these equals key j of the others, sorted by (i, j)."""
        order, heads = others._sorted()
        ours = self._heads()
        low, high = (np.searchsorted(heads, ours, side=side) for side in ("left", "right"))
        count = high - low
        start = np.cumsum(count) - count
        i = np.repeat(np.arange(len(ours)), count)
        j = order[np.arange(count.sum()) - np.repeat(start - low, count)]
        same = (self.packed[i] == others.packed[j]).all(axis=1)
        return np.stack([i[same], j[same]], axis=1)

    def _heads(self) -> ndarray:
        """The first eight bytes of each key, which tell keys apart but for a handful in the age of the universe."""
        return np.ascontiguousarray(self.packed[:, :8]).view(np.uint64).reshape(-1)

    def _sorted(self) -> tuple[ndarray, ndarray]:
        """Positions by head, equal ones in their order, and the heads in that order."""
        heads = self._heads()
        order = np.argsort(heads, kind="stable")
        return order, heads[order]
