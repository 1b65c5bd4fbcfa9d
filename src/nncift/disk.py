"""What the disk does to a run, in words; and JSON that tells of its own damage."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

_FULL = {errno.ENOSPC, errno.EDQUOT}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_SEAL = "sha256"


def disk_sentence(error: BaseException) -> str | None:
    """What is wrong with the disk and how to mend it; None where an error has another cause.

    Libraries that write files themselves wrap what the system says, or say it in a text of their own.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return _sentence(seen.errno, str(seen.strerror), seen.filename)
        if f"(os error {errno.ENOSPC})" in str(seen):
            return _sentence(errno.ENOSPC, "", None)
        seen = seen.__cause__
    return None


def _sentence(number: int, words: str, name: Any) -> str | None:
    where = f" {str(name)!r}" if name else " a file"
    if number in _FULL:
        return (
            f"no space left on the disk to write{where}. Free some; the same command then continues where it left off."
        )
    if number == errno.EFBIG:
        return f"cannot write{where}: it is larger than files may be here. Raise the limit (`ulimit -f`) and go on."
    if number in _CLOSED:
        return (
            f"cannot use{where}: {words}. Name a place that can be written: a folder with -o, the cache with the "
            "environment variable NNCIFT_CACHE."
        )
    if number == errno.EIO:
        return f"the disk fails at{where}: {words}. Copy what is there to another one, and give the same command there."
    return None


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with the hash of all that it says."""
    return {**value, _SEAL: _hash(value)}


def unsealed(text: str) -> dict[str, Any]:
    """What `sealed` was given; one without a seal, as older versions wrote it, is taken as it is.

    Raises:
        ValueError: it is no JSON object, or was changed.
    """
    return checked(json.loads(text))


def checked(value: Any) -> dict[str, Any]:
    """`unsealed` of what was read already."""
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    said, inside = value.get(_SEAL), {name: one for name, one in value.items() if name != _SEAL}
    if said is not None and said != _hash(inside):
        raise ValueError("its bytes have changed")
    return inside


def _hash(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
