"""Where things that can always be recomputed are kept between runs: embeddings, a dequantised model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

MODELS = "models"
"""Unpacked language models in the cache."""

_INSTEAD: ContextVar[Path | None] = ContextVar("cache", default=None)


def cache_folder() -> Path:
    """The cache folder of this user: `$NNCIFT_CACHE`, else `$XDG_CACHE_HOME/nncift`, else `~/.cache/nncift`.

    It is not created here. A relative `$XDG_CACHE_HOME` is ignored, as the XDG specification asks.
    """
    if (instead := _INSTEAD.get()) is not None:
        return instead
    own = os.environ.get("NNCIFT_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if shared and Path(shared).is_absolute():
        return Path(shared) / "nncift"
    return Path.home() / ".cache" / "nncift"


@contextmanager
def cache_in(place: Path) -> Iterator[None]:
    """Another cache within the block, where nothing is found that earlier runs computed; unpacked models are the user's own.

    Use it where all that a run takes is to be measured.

    Args:
        place: a folder, made where it is missing; what an interrupted run left there is found.
    """
    models = cache_folder() / MODELS
    models.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    if not (place / MODELS).exists():
        (place / MODELS).symlink_to(models.resolve(), target_is_directory=True)
    before = _INSTEAD.set(place.absolute())
    try:
        yield
    finally:
        _INSTEAD.reset(before)
