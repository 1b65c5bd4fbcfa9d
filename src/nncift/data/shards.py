"""Files that say in their names which of how many they are: the pieces of a subset, its ranking or an export in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5,})-of-(?P<count>\d{5,})(?P<suffix>\.[A-Za-z]+)")
_DIGITS = 5


def shard_name(stem: str, number: int, count: int, suffix: str) -> str:
    """The name of a shard, such as `subset-00000-of-00007.jsonl`: sorted by name, shards are in order.

    Args:
        stem: before the numbers.
        number: of the shard, from 0.
        count: how many there are.
        suffix: of the file, dot included.
    """
    digits = max(_DIGITS, len(str(count)))
    return f"{stem}-{number:0{digits}d}-of-{count:0{digits}d}{suffix}"


def shard_names(stem: str, total: int, rows: int, suffix: str) -> list[str]:
    """The names of the shards of `total` rows with at most `rows` each; one, of no row, where there is none."""
    count = max(1, -(-total // rows))
    return [shard_name(stem, number, count, suffix) for number in range(count)]


def in_shards(count: int) -> str:
    """How many shards, to stand behind the name of their folder; nothing where there is none."""
    return f" ({count:,} shard{'s' * (count != 1)})" if count else ""


def is_shard(name: str, stem: str | None = None) -> bool:
    """Whether a file is called as a shard is, with this stem where one is given."""
    found = _NAME.fullmatch(name)
    return found is not None and stem in (None, found["stem"])


def missing_of(paths: Sequence[Path]) -> int:
    """How many shards are not there of those that the names of the others count; 0 where not all are counted alike."""
    found = [_NAME.fullmatch(path.name) for path in paths]
    counts = {(one["stem"], int(one["count"])) if one else None for one in found}
    if len(counts) != 1 or (only := counts.pop()) is None:
        return 0
    return max(0, only[1] - len(found))


def stored(folder: Path, stem: str) -> Path:
    """The folder of shards `STEM` where it is there, else the file `STEM.jsonl`."""
    return place if (place := folder / stem).is_dir() else folder / f"{stem}.jsonl"


def lines_in(folder: Path, stem: str) -> Iterator[str]:
    """The lines of `STEM.jsonl`, or of all shards in the folder `STEM`, in order.

    Raises:
        FileNotFoundError: neither is there, or a shard is missing.
    """
    place = stored(folder, stem)
    paths = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    if not paths or missing_of(paths):
        raise FileNotFoundError(f"shards in {place} are missing")
    for path in paths:
        with path.open(encoding="utf-8") as stream:
            yield from stream
