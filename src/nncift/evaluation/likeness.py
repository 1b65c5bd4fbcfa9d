"""How alike an answer and its reference are to an embedder: the metric `bge` of the NN-CIFT paper with its encoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Literal

import numpy as np

from nncift.embed.base import Embedder, Progress, unit_rows
from nncift.embed.cache import embed_cached


def likeness_name(embedder: str) -> Literal["bge", "similarity"]:
    """What the similarity is called under an embedder of this name: `bge` for a model of that family. Of a path only the last
    two parts are its name, as `BAAI/bge-m3` has two; where it lies says nothing."""
    return "bge" if "bge" in "/".join(PurePath(embedder).parts[-2:]).casefold() else "similarity"


def similarity(
    embedder: Embedder,
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    folder: Path,
    on_progress: Progress | None = None,
) -> list[float]:
    """Cosine of each prediction's vector with that of its reference.

    Use it beside `rouge`: it forgives other words for the same thing. Many encoders see some likeness in any two
    texts, so that only differences between subsets mean something.

    Args:
        embedder: what encodes; `.npy` vectors of a user cannot.
        predictions: n answers; an empty or blank one is worth 0, and neither it nor its reference is encoded.
        references: n texts they should be like.
        folder: the cache, usually `cache_folder() / "embeddings"`.
        on_progress: told how many more texts are done, 2n in all.

    Returns:
        n numbers from -1 to 1, in the order given; below 0 they are rare.

    Raises:
        ModelError: the embedder gives vectors of the wrong shape, NaN or infinity.

    *Cost*: one pass of the encoder per different text that the cache does not hold.
    """
    pairs = [(given, wanted) for given, wanted in zip(predictions, references, strict=True) if given.strip()]
    blank = len(predictions) - len(pairs)
    if on_progress is not None and blank:
        on_progress(2 * blank)
    if not pairs:
        return [0.0] * blank
    texts = [text for pair in pairs for text in pair]
    vectors = unit_rows(embed_cached(embedder, texts, folder=folder, on_progress=on_progress).vectors)
    cosines = np.einsum("nd,nd->n", vectors[::2], vectors[1::2], dtype=np.float64).clip(-1, 1).tolist()
    found = iter(cosines)
    return [next(found) if given.strip() else 0.0 for given in predictions]
