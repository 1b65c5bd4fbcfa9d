"""Vectors kept between runs, text by text, so that a text is encoded once per model.

Missing texts are sorted and encoded in blocks, a shard each: a kill loses one block, and because the next run sorts
what is left the same way, its batches are those that the killed run would have made, and so are its vectors' bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.embed.base import Embedder, Progress, first_bad_row, text_order
from nncift.embed.shelf import Shelf
from nncift.errors import ModelError

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
    embedder: Embedder, texts: Sequence[str], *, folder: Path, on_progress: Progress | None = None
) -> Embedded:
    """The vectors of the texts, encoding only what the cache in `folder` does not hold.

    Args:
        embedder: what encodes; vectors are shared between calls of equal `fingerprint`.
        texts: any texts; equal ones are encoded once.
        folder: the cache, usually `cache_folder() / "embeddings"`; created if need be. Where it cannot be written, one
            warning says so and nothing is kept.
        on_progress: told how many more texts are done, cached ones first.

    Raises:
        ModelError: the embedder gives vectors of the wrong shape, NaN or infinity.
    """
    shelf = _shelf(embedder, folder)
    keys = [_key(text) for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    found = shelf.find(text_of.keys())
    missing = sorted(text_of.keys() - found.keys(), key=lambda key: text_order(text_of[key]))
    if on_progress is not None and len(missing) < len(text_of):
        on_progress(sum(key in found for key in keys))

    times = Counter(keys)
    writable = True
    for start in range(0, len(missing), _BLOCK):
        block = missing[start : start + _BLOCK]
        arrays = _encode(embedder, [text_of[key] for key in block], on_progress=on_progress)
        found |= {key: {name: array[row] for name, array in arrays.items()} for row, key in enumerate(block)}
        writable = writable and shelf.put(block, arrays)
        repeats = sum(times[key] for key in block) - len(block)
        if on_progress is not None and repeats:
            on_progress(repeats)

    truncated = sum(bool(found[key]["overlong"]) for key in keys)
    if not keys:  # only then is the encoder asked, which may have to load for it
        return Embedded(np.empty((0, embedder.dimension), dtype=np.float32), 0, 0)
    vectors = np.stack([found[key]["vectors"] for key in keys])
    return Embedded(vectors, len(missing), truncated)


def missing_texts(embedder: Embedder, texts: Sequence[str], *, folder: Path) -> list[str]:
    """The different texts that `embed_cached` would have to encode, sorted as it would encode them."""
    held = _shelf(embedder, folder).held()
    return sorted({text for text in texts if _key(text) not in held}, key=text_order)


def _shelf(embedder: Embedder, folder: Path) -> Shelf:
    return Shelf(folder / sha256(f"shards 1 {embedder.fingerprint}".encode()).hexdigest()[:32], "embeddings")


def _key(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _encode(embedder: Embedder, texts: list[str], *, on_progress: Progress | None) -> dict[str, ndarray]:
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
