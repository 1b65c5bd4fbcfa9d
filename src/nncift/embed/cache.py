"""Vectors kept between runs, text by text, so that a text is encoded once per model.

Missing texts are sorted and encoded in blocks, a shard each: a kill loses one block, and because the next run sorts
what is left the same way, its batches are those that the killed run would have made, and so are its vectors' bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.embed.base import Embedder, Progress, first_bad_row, text_order
from nncift.embed.shelf import Shelf
from nncift.errors import ModelError

Encode = Callable[[Iterable[list[str]]], Iterator[dict[str, ndarray]]]
"""Blocks of texts -> for each, in order, what `encode_block` gives."""

_BLOCK = 1024  # texts per shard; a multiple of common batch sizes, so that blocks do not change the batches


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, and what they cost.

    Attributes:
        vectors: float32 [n, d], of length 1, one row per text.
        computed: how many different texts were encoded now; the others came from the cache.
        truncated: of how many of the n texts the encoder read the beginning only, cached ones included.
    """

    vectors: Float[ndarray, "n d"]
    computed: int
    truncated: int


def embed_cached(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    folder: Path,
    on_progress: Progress | None = None,
    encode: Encode | None = None,
) -> Embedded:
    """The vectors of the texts, encoding only what the cache in `folder` does not hold.

    Args:
        embedder: what encodes; vectors are shared between calls of equal `fingerprint`.
        texts: any texts, gone over once and read again where they are encoded; equal ones are encoded once.
        folder: the cache, usually `cache_folder() / "embeddings"`; created if need be. Where it cannot be written, one
            warning says so and nothing is kept.
        on_progress: told how many more texts are done, cached ones first.
        encode: encodes the blocks of missing texts, elsewhere perhaps; None for `embedder`, one after the other.

    Raises:
        ModelError: the embedder gives vectors of the wrong shape, NaN or infinity.
    """
    shelf, index = _shelf(embedder, folder), _Index.of(texts)
    if not len(texts):  # only then is the encoder asked, which may have to load for it
        return Embedded(np.empty((0, embedder.dimension), dtype=np.float32), 0, 0)
    sheet = _Sheet(len(index.first))
    for key, row in shelf.rows(index.slot_of.keys()):
        sheet.put([index.slot_of[key]], {name: array[None] for name, array in row.items()})
    times = np.bincount(index.slots)
    missing = _text_order(np.flatnonzero(~sheet.known).tolist(), index, texts)
    if on_progress is not None and len(missing) < len(times):
        on_progress(int(times[sheet.known].sum()))

    writable, keys = True, list(index.slot_of)
    cuts = [missing[start : start + _BLOCK] for start in range(0, len(missing), _BLOCK)]
    blocks = ([texts[index.first[slot]] for slot in block] for block in cuts)
    here = (encode_block(embedder, block, on_progress=on_progress) for block in blocks)
    for block, arrays in zip(cuts, here if encode is None else encode(blocks), strict=True):
        sheet.put(block, arrays)
        writable = writable and shelf.put([keys[slot] for slot in block], arrays)
        repeats = int(times[block].sum()) - (len(block) if encode is None else 0)
        if on_progress is not None and repeats:
            on_progress(repeats)

    assert sheet.vectors is not None  # some text was found or encoded
    distinct = len(times) == len(index.slots)
    vectors = sheet.vectors if distinct else sheet.vectors[index.slots]
    return Embedded(vectors, len(missing), int(sheet.overlong[index.slots].sum()))


def missing_texts(embedder: Embedder, texts: Sequence[str], *, folder: Path) -> list[int]:
    """The different texts that `embed_cached` would have to encode, by position, sorted as it would encode them."""
    held, index = _shelf(embedder, folder).held(), _Index.of(texts)
    missing = [slot for key, slot in index.slot_of.items() if key not in held]
    return [index.first[slot] for slot in _text_order(missing, index, texts)]


@dataclass(frozen=True, slots=True)
class _Index:
    """Which texts are the same: each different one has a slot, counted from 0 as they come.

    Attributes:
        slots: [n] of each text.
        slot_of: by key.
        first: position of the first text of each slot.
        lengths: of the text of each slot.
    """

    slots: Int[ndarray, " n"]
    slot_of: dict[bytes, int]
    first: list[int]
    lengths: list[int]

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Index:
        """Goes over the texts once, and keeps none."""
        slots = np.empty(len(texts), dtype=np.int64)
        index = cls(slots, {}, [], [])
        for position, text in enumerate(texts):
            slots[position] = slot = index.slot_of.setdefault(_key(text), len(index.first))
            if slot == len(index.first):
                index.first.append(position)
                index.lengths.append(len(text))
        return index


class _Sheet:
    """What is known of each slot; it is made when the first vector tells how long one is."""

    def __init__(self, slots: int) -> None:
        self.known, self.overlong = np.zeros(slots, dtype=np.bool_), np.zeros(slots, dtype=np.bool_)
        self.vectors: Float[ndarray, "slots d"] | None = None

    def put(self, slots: Sequence[int], arrays: Mapping[str, ndarray]) -> None:
        """Notes the vectors of some slots, and whether their texts are too long."""
        if self.vectors is None:
            self.vectors = np.empty((len(self.known), arrays["vectors"].shape[1]), dtype=np.float32)
        self.vectors[slots], self.overlong[slots], self.known[slots] = arrays["vectors"], arrays["overlong"], True


def _text_order(slots: Sequence[int], index: _Index, texts: Sequence[str]) -> list[int]:
    """Slots sorted by `text_order` of their texts, of which only those of one length are in memory at a time."""
    by_length = sorted(slots, key=index.lengths.__getitem__)
    alike = (run for _, run in groupby(by_length, key=index.lengths.__getitem__))
    return [slot for run in alike for slot in sorted(run, key=lambda slot: text_order(texts[index.first[slot]]))]


def _shelf(embedder: Embedder, folder: Path) -> Shelf:
    return Shelf(folder / sha256(f"shards 1 {embedder.fingerprint}".encode()).hexdigest()[:32], "embeddings")


def _key(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def encode_block(embedder: Embedder, texts: list[str], *, on_progress: Progress | None = None) -> dict[str, ndarray]:
    """`vectors` of some texts, checked, and which are `overlong`.

    Raises:
        ModelError: the vectors are of the wrong shape, or hold NaN or infinity.
    """
    vectors = np.asarray(embedder.encode(texts, on_progress=on_progress), dtype=np.float32)
    if vectors.shape != (len(texts), embedder.dimension):
        raise ModelError(
            f"the embedder {embedder.name!r} gives an array of shape {vectors.shape} for {len(texts)} texts; "
            f"it must be ({len(texts)}, {embedder.dimension})."
        )
    bad = first_bad_row(vectors)
    if bad is not None:
        raise ModelError(f"the embedder {embedder.name!r} gives NaN or infinity for the text {texts[bad][:80]!r}.")
    return {"vectors": vectors, "overlong": np.asarray(embedder.overlong(texts), dtype=np.bool_)}
