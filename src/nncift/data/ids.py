"""Stable ids of rows: the row's own where it is good for that, else a hash of its text; file order plays no part."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

_log = logging.getLogger(__name__)

_LONGEST = 200
HASH = 16
"""Hexadecimal digits of the content hash that stand for a row without an id of its own."""


def own_id(value: Any) -> str:
    """The id in a row's `id` column as text; empty unless
    it is a non-blank text of at most 200 characters without NUL, or an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if value.bit_length() <= 256 else ""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST or "\0" in value:
        return ""  # arrays of text drop trailing NULs and give every entry the width of the longest
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate cannot be written to any file of the run
        return ""
    return value


def unique_ids(own: Sequence[str], key: Callable[[int], str], source: str) -> list[str]:
    """Unique ids of rows: the row's own where no other row has it, else the hash of the content.

    The first row of a content is the plain hash, the next ones in order of appearance get `-1`, `-2`, ... behind it.

    Args:
        own: [n], the ids in the rows, empty where there is none.
        key: gives the content key of the row at a position.
        source: what the user named, for the warning on shared ids.
    """
    owners = Counter(own)
    del owners[""]
    if shared := sum(count for count in owners.values() if count > 1):
        _log.warning("%s: %d rows share their id with another row; a hash of their text is their id", source, shared)
    seen: Counter[str] = Counter()
    return [
        name if owners[name] == 1 else _hashed(key(position)[:HASH], owners, seen) for position, name in enumerate(own)
    ]


def _hashed(key: str, owners: Counter[str], seen: Counter[str]) -> str:
    while True:
        name = f"{key}-{seen[key]}" if seen[key] else key
        seen[key] += 1
        if owners[name] != 1:
            return name
