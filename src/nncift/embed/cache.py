"""Vectors kept between runs, text by text, so that a text is encoded once per model.

A shard is an `.npz` file named by the SHA-256 of its own bytes, so that it needs no index and tells of its own damage.
It is written aside and moved into place: no process sees half a shard, and two at once write the same vectors at worst.
Missing texts are sorted and encoded in blocks, a shard each: a kill loses one block, and because the next run sorts
what is left the same way, its batches are those that the killed run would have made, and so are its vectors' bits.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.embed.base import Embedder, Progress, first_bad_row, text_order
from nncift.errors import ModelError

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class _Shard:
    keys: list[bytes]
    vectors: Float[ndarray, "n d"]
    overlong: Bool[ndarray, "n"]


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
    shelf = folder / sha256(f"shards 1 {embedder.fingerprint}".encode()).hexdigest()[:32]
    keys = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    found: dict[bytes, tuple[Float[ndarray, "d"], bool]] = {}
    for shard in _shards(shelf):
        for row, key in enumerate(shard.keys):
            if key in text_of and key not in found:
                found[key] = shard.vectors[row].copy(), bool(shard.overlong[row])
    missing = sorted(text_of.keys() - found.keys(), key=lambda key: text_order(text_of[key]))
    if on_progress is not None and len(missing) < len(text_of):
        on_progress(sum(key in found for key in keys))

    times = Counter(keys)
    writable = True
    for start in range(0, len(missing), _BLOCK):
        block = missing[start : start + _BLOCK]
        shard = _encode(embedder, block, [text_of[key] for key in block], on_progress=on_progress)
        found.update(zip(block, zip(shard.vectors, shard.overlong.tolist(), strict=True), strict=True))
        writable = writable and _write(shelf, shard)
        repeats = sum(times[key] for key in block) - len(block)
        if on_progress is not None and repeats:
            on_progress(repeats)

    truncated = sum(found[key][1] for key in keys)
    vectors = np.stack([found[key][0] for key in keys]) if keys else np.empty((0, embedder.dimension), dtype=np.float32)
    return Embedded(vectors, len(missing), truncated)


def missing_texts(embedder: Embedder, texts: Sequence[str], *, folder: Path) -> list[str]:
    """The different texts that `embed_cached` would have to encode, sorted as it would encode them."""
    shelf = folder / sha256(f"shards 1 {embedder.fingerprint}".encode()).hexdigest()[:32]
    held = {key for shard in _shards(shelf) for key in shard.keys}
    distinct = {text for text in texts if sha256(text.encode("utf-8", "surrogatepass")).digest() not in held}
    return sorted(distinct, key=text_order)


def _encode(embedder: Embedder, keys: list[bytes], texts: list[str], *, on_progress: Progress | None) -> _Shard:
    vectors = np.asarray(embedder.encode(texts, on_progress=on_progress), dtype=np.float32)
    if vectors.shape != (len(texts), embedder.dimension):
        raise ModelError(
            f"the embedder {embedder.name!r} gives an array of shape {vectors.shape} for {len(texts)} texts; "
            f"it must be ({len(texts)}, {embedder.dimension})."
        )
    bad = first_bad_row(vectors)
    if bad is not None:
        raise ModelError(f"the embedder {embedder.name!r} gives NaN or infinity for the text {texts[bad][:80]!r}.")
    return _Shard(keys, vectors, np.asarray(embedder.overlong(texts), dtype=np.bool_))


def _shards(shelf: Path) -> Iterator[_Shard]:
    """Every sound shard, in the order of their names; a damaged one is removed with a warning."""
    for path in sorted(shelf.glob("*.npz")):
        try:
            data = path.read_bytes()
        except OSError as error:
            log.warning("the cached embeddings %s cannot be read and are left out: %s", path, error)
            continue
        if sha256(data).hexdigest() != path.stem:
            log.warning("the cached embeddings %s are damaged; they are removed and computed again", path)
            with suppress(OSError):
                path.unlink()
            continue
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            yield _Shard([key.tobytes() for key in arrays["keys"]], arrays["vectors"], arrays["overlong"])


def _write(shelf: Path, shard: _Shard) -> bool:
    """Keeps a shard; False, after a warning, where that cannot be done."""
    buffer = io.BytesIO()
    keys = np.frombuffer(b"".join(shard.keys), dtype=np.uint8).reshape(len(shard.keys), -1)
    np.savez(buffer, keys=keys, vectors=shard.vectors, overlong=shard.overlong)
    data = buffer.getvalue()
    temporary: Path | None = None
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=shelf, suffix=".part", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.replace(shelf / f"{sha256(data).hexdigest()}.npz")
    except OSError as error:
        log.warning("embeddings are not kept for the next run: %s", error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        return False
    return True
