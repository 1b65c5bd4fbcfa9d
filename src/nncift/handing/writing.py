"""From chosen rows to a trainer's files: the data, what its format cannot hold, and the piece of configuration."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.data.records import shown
from nncift.data.rows import Example, Rejected
from nncift.data.write import to_json, write_rejected
from nncift.errors import DataError, RunError
from nncift.handing.formats import format_of
from nncift.handing.fragments import write_fragments
from nncift.lm.atomic import aside
from nncift.run import LOCK

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Handed:
    """What was written.

    Attributes:
        trainer: whose format it is.
        data: the file of rows.
        rows: in it.
        fragments: files of configuration; none for a mere format.
        rejected: the file of the rows that the format cannot hold; None where it holds all.
        reasons: how many rows it cannot hold for what.
        card: the dataset card, where one was asked for.
        pushed: where the data set lies on the hub, where it was asked to be pushed.
    """

    trainer: str
    data: Path
    rows: int
    fragments: tuple[Path, ...]
    rejected: Path | None
    reasons: dict[str, int]
    card: Path | None = None
    pushed: str | None = None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trainer": self.trainer,
            "data": str(self.data),
            "rows": self.rows,
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
        return [*lines, f"{self.rows:,} rows for {self.trainer}: {self.data}"]


def hand_over(examples: Iterable[Example], folder: Path, *, trainer: str, name: str, source: str) -> Handed:
    """Writes examples as JSONL in the format of a trainer, with the piece of its configuration that reads them.

    A row that the format cannot hold goes to `TRAINER.rejected.jsonl` with the reason, and one warning counts them.

    Arguments:
        examples: the rows, in the order to write them.
        folder: where the files go; it is made, and files of an earlier export to the same trainer are replaced.
        trainer: one of `nncift.handing.formats.TRAINERS`.
        name: what the data set is called where the trainer wants a name.
        source: the file of the rows, for the record of those that are left out.

    Raises:
        ConfigError: the trainer is unknown.
        DataError: the format can hold none of the rows.
        RunError: the folder is a run folder.
    """
    form = format_of(trainer)
    if (folder / LOCK).exists():
        raise RunError(
            f"{str(folder)!r} is a run folder, whose files an export would mix with its own. Choose another."
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trainer}.jsonl"
    rejected: list[Rejected] = []
    rows = 0
    left_out = folder / f"{trainer}.rejected.jsonl"
    with aside(path) as part:
        with part.open("wb") as stream:
            for example in examples:
                if (reason := form.problem(example)) is not None:
                    rejected.append(Rejected(source, example.line, reason, shown(example.raw)))
                    continue
                stream.write(to_json(form.columns(example)) + b"\n")
                rows += 1
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
    if rejected:
        log.warning(
            "%s of %s rows are left out, since the format of %s cannot hold them, most often: %s (see %s)",
            *(f"{len(rejected):,}", f"{rows + len(rejected):,}", trainer, reasons.most_common(1)[0][0], left_out.name),
        )
    fragments = write_fragments(trainer, path, name=plain_name(name), rows=rows)
    return Handed(trainer, path, rows, fragments, left_out if rejected else None, dict(reasons))


def plain_name(name: str) -> str:
    """A name that needs no quotes anywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "nncift"
