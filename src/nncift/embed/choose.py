"""From the word after `--embedder` to vectors: which embedder, and the rows of a pool through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from nncift import registry
from nncift.data.rows import Example, Pool
from nncift.embed.base import Embedder, Progress
from nncift.embed.cache import Embedded, Encode, embed_cached
from nncift.embed.precomputed import Precomputed, Role
from nncift.embed.sentence import SentenceEmbedder

_LARGE = "BAAI/bge-large-en-v1.5"
_TIMES = 28  # the arithmetic per token of the packaged one


def default_embedder(device: str) -> tuple[str, str]:
    """The embedder for a device when the user names none, and the sentence that says why."""
    if device.startswith("cuda"):
        return _LARGE, f"{_LARGE}: the encoder of the NN-CIFT paper, quick enough on a GPU."
    return "minilm", f"minilm: {_LARGE} needs about {_TIMES} times its arithmetic per token, too slow without a GPU."


def dearer_embedder(device: str) -> tuple[str, int] | None:
    """The better embedder that a device is too slow for, and how many times the arithmetic it takes; None where it is the
    default already."""
    return None if default_embedder(device)[0] == _LARGE else (_LARGE, _TIMES)


def load_embedder(name: str, *, device: str) -> Embedder | Precomputed:
    """The embedder behind a name.

    Args:
        name: an alias (`minilm`), `.npy` files (`pool.npy,target.npy`), a local folder, `module:Class`, or a hub id.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        ConfigError: the files do not fit, or the class cannot be imported.
        MissingExtraError: an alias needs a package that is not installed.
        ModelError: there are no weights under this name.
    """
    if name in registry.names("embedder"):
        return registry.load("embedder", name)(device=device)
    if name.lower().endswith(".npy"):
        return Precomputed(name)
    if ":" in name and not Path(name).expanduser().is_dir():
        return registry.load("embedder", name)(device=device)
    return SentenceEmbedder(name, device)


def embed_rows(
    embedder: Embedder | Precomputed,
    pool: Pool,
    *,
    folder: Path,
    role: Role = "pool",
    on_progress: Progress | None = None,
    encode: Encode | None = None,
) -> Embedded:
    """The vectors of a pool's rows in its order: from the user's files, from the cache, or encoded now.

    Args:
        embedder: what `load_embedder` gave.
        pool: the rows; their `text` is embedded.
        folder: the cache, usually `cache_folder() / "embeddings"`.
        role: which of the user's files belongs to these rows; without meaning for an encoder.
        on_progress: told how many more rows are done.
        encode: see `embed_cached`.
    """
    if isinstance(embedder, Precomputed):
        return Embedded(embedder.rows(pool, role=role), 0, 0)
    return embed_cached(embedder, Texts(pool.examples), folder=folder, on_progress=on_progress, encode=encode)


class Texts(Sequence[str]):
    """What is embedded of rows, made when it is asked for.

    Args:
        rows: of a pool.
    """

    def __init__(self, rows: Sequence[Example]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Texts: ...
    def __getitem__(self, at: int | slice) -> str | Texts:
        return Texts(self._rows[at]) if isinstance(at, slice) else self._rows[at].text

    def __iter__(self) -> Iterator[str]:
        return (row.text for row in self._rows)
