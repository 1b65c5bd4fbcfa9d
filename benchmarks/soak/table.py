"""The lines of a campaign as Markdown, and the page that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
_HEADS = ("fault", "in", "tried", "survived", "lost rows", "blocks again, at most", "temporary files left")


def markdown(record: Mapping[str, Any]) -> str:
    """The table of a campaign's record, with its seed, machine and time."""
    lines = [f"| {' | '.join(_HEADS)} |", "|---|---|--:|--:|--:|--:|--:|"]
    for line in record["lines"]:
        if line["skipped"]:
            lines.append(f"| {line['fault']} | `{line['work']}` | not tried: {line['skipped']} | | | | |")
            continue
        numbers = (line[name] for name in ("tried", "survived", "lost", "again", "left"))
        lines.append(f"| {line['fault']} | `{line['work']}` | {' | '.join(map(str, numbers))} |")
    return "\n".join([*lines, "", summary(record)])


def summary(record: Mapping[str, Any]) -> str:
    """One sentence over all lines."""
    tried, survived, lost, left = (
        sum(line[name] for line in record["lines"]) for name in ("tried", "survived", "lost", "left")
    )
    return (
        f"{tried:,} faults tried, {survived:,} survived, {lost:,} rows lost, {left:,} temporary files left; seed "
        f"{record['seed']}, {record['minutes']:.0f} minutes on {record['machine']}."
    )


def write_page(page: Path, record: Mapping[str, Any]) -> None:
    """Puts the table between the markers of a page."""
    text = page.read_text(encoding="utf-8")
    again = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{markdown(record)}\n{END}", text, flags=re.DOTALL)
    page.write_text(again, encoding="utf-8")


def failures(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was wrong, trial by trial."""
    return [f"{line['fault']}, {line['work']}: {problem}" for line in lines for problem in line["failures"]]
