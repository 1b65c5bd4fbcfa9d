"""From chosen rows to a trainer's files: the data, what its format cannot hold, and the piece of configuration."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nncift.data.records import shown
from nncift.data.rows import Example, Rejected
from nncift.data.shards import in_shards, is_shard, shard_names
from nncift.data.write import to_json, write_rejected
from nncift.errors import DataError, RunError
from nncift.handing.formats import Format, check_shards
from nncift.handing.fragments import write_fragments
from nncift.lm.atomic import aside, remove_whole, whole_folder
from nncift.run import LOCK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handed:
    """What was written.

    Attributes:
        trainer: whose format it is.
        data: the file of rows, or the folder of their shards.
        rows: in it.
        fragments: files of configuration; none for a mere format.
        rejected: the file of the rows that the format cannot hold; None where it holds all.
        reasons: how many rows it cannot hold for what.
        card: the dataset card, where one was asked for.
        pushed: where the data set lies on the hub, where it was asked to be pushed.
        shards: how many there are; 0 for one file.
    """

    trainer: str
    data: Path
    rows: int
    fragments: tuple[Path, ...]
    rejected: Path | None
    reasons: dict[str, int]
    card: Path | None = None
    pushed: str | None = None
    shards: int = 0

    @property
    def pattern(self) -> str:
        """The file, or all shards, as they are named from the folder of the export."""
        return f"{self.data.name}/*.jsonl" if self.shards else self.data.name

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trainer": self.trainer,
            "data": str(self.data),
            "rows": self.rows,
            "shards": self.shards,
            "fragments": list(map(str, self.fragments)),
            "rejected": None if self.rejected is None else str(self.rejected),
            "reasons": self.reasons,
            "card": None if self.card is None else str(self.card),
            "pushed": self.pushed,
        }

    def lines(self) -> list[str]:
        """What was written in words; what, how many and where last."""
        beside = [*self.fragments, *([self.card] if self.card else [])]
        lines = [f"Beside it: {', '.join(path.name for path in beside)}."] if beside else []
        if self.pushed:
            lines.append(f"On the hub: {self.pushed} (private until you make it public).")
        return [*lines, f"{self.rows:,} rows for {self.trainer}: {self.data}{in_shards(self.shards)}"]


def hand_over(
    examples: Iterable[Example], folder: Path, *, trainer: str, name: str, source: str, shard_rows: int = 0
) -> Handed:
    """Writes examples as JSONL in the format of a trainer, with the piece of its configuration that reads them.

    A row that the format cannot hold goes to `TRAINER.rejected.jsonl` with the reason, and one warning counts them.

    Args:
        examples: the rows, in the order to write them.
        folder: where the files go; it is made, and files of an earlier export to the same trainer are replaced.
        trainer: one of `nncift.handing.formats.TRAINERS`.
        name: what the data set is called where the trainer wants a name.
        source: the file of the rows, for the record of those that are left out.
        shard_rows: at most so many rows a shard, in the folder `TRAINER`; 0 for the one file `TRAINER.jsonl`.

    Raises:
        ConfigError: the trainer is unknown, or reads no shards.
        DataError: the format can hold none of the rows, or the folder for the shards holds files of somebody else's.
        RunError: the folder is a run folder.
    """
    form = check_shards(trainer, shard_rows)
    if (folder / LOCK).exists():
        raise RunError(
            f"{str(folder)!r} is a run folder, whose files an export would mix with its own. Choose another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    single, place, left_out = (folder / f"{trainer}{end}" for end in (".jsonl", "", ".rejected.jsonl"))
    if shard_rows and place.exists() and not _is_ours(place):
        raise DataError(f"{str(place)!r} holds other files than the shards of an export. Choose another folder.")
    path = place if shard_rows else single
    rejected: list[Rejected] = []
    with whole_folder(place) if shard_rows else aside(single) as part:
        lines = (to_json(form.columns(example)) + b"\n" for example in _held(examples, form, rejected, source))
        rows = _write_shards(lines, part, trainer, shard_rows) if shard_rows else _write(lines, part)
        reasons = Counter(row.reason for row in rejected)
        left_out.unlink(missing_ok=True)
        if rejected:
            write_rejected(rejected, left_out)
        if not rows:
            why = f", most often: {reasons.most_common(1)[0][0]}" if reasons else ""
            raise DataError(
                f"the format of {trainer} can hold none of the {len(rejected):,} rows{why}. "
                "Export with trainer 'messages'."
            )
    if shard_rows:
        single.unlink(missing_ok=True)
    elif place.is_dir() and _is_ours(place):
        remove_whole(place)
    if rejected:
        log.warning(
            "%s of %s rows are left out, since the format of %s cannot hold them, most often: %s (see %s)",
            *(f"{len(rejected):,}", f"{rows + len(rejected):,}", trainer, reasons.most_common(1)[0][0], left_out.name),
        )
    shards = -(-rows // shard_rows) if shard_rows else 0
    fragments = write_fragments(trainer, path, name=plain_name(name), rows=rows)
    return Handed(trainer, path, rows, fragments, left_out if rejected else None, dict(reasons), shards=shards)


def _held(examples: Iterable[Example], form: Format, rejected: list[Rejected], source: str) -> Iterator[Example]:
    """The examples that a format can hold; the others are added to the rejected ones."""
    for example in examples:
        if (reason := form.problem(example)) is None:
            yield example
        else:
            rejected.append(Rejected(source, example.line, reason, shown(example.raw)))


def _write(lines: Iterable[bytes], path: Path) -> int:
    """Writes lines into a file, and counts them."""
    rows = 0
    with path.open("wb") as stream:
        for rows, line in enumerate(lines, start=1):  # noqa: B007  # counted
            stream.write(line)
    return rows


def _write_shards(lines: Iterable[bytes], folder: Path, stem: str, rows: int) -> int:
    """Writes lines into shards, which are named when it is known how many they are, and counts the lines."""
    lines, parts, total = iter(lines), list[Path](), 0
    while written := _write(islice(lines, rows), part := folder / f"{len(parts)}"):
        total += written
        parts.append(part)
    part.unlink()  # the last, of no line
    for path, final in zip(parts, shard_names(stem, total, rows, ".jsonl"), strict=False):
        path.rename(folder / final)
    return total


def _is_ours(place: Path) -> bool:
    """Whether a folder holds nothing but the shards of an export."""
    return place.is_dir() and all(is_shard(path.name, place.name) for path in place.iterdir())


def plain_name(name: str) -> str:
    """A name that needs no quotes anywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "nncift"
