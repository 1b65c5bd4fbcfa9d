import os
from pathlib import Path


def cache_folder() -> Path:
    return Path(os.environ.get("NNCIFT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nncift")
