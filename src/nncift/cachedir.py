"""Where things that can always be recomputed are kept between runs: embeddings, a dequantised model."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The cache folder of this user: `$NNCIFT_CACHE`, else `$XDG_CACHE_HOME/nncift`, else `~/.cache/nncift`.

    It is not created here. A relative `$XDG_CACHE_HOME` is ignored, as the XDG specification asks.
    """
    own = os.environ.get("NNCIFT_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if shared and Path(shared).is_absolute():
        return Path(shared) / "nncift"
    return Path.home() / ".cache" / "nncift"
