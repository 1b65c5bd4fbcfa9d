"""The records for a terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nncift.rehearsal.gains import BUDGETS
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.records import Figure, Record

_WIDTH = 200
_HEADS = ("mse", "R²", "Spearman", "within\ntarget", "candi-\ndates", "top 30 %\noverlap", "90 % in-\ntervals")
_NOTES = (
    "Mean ± standard error over repeats. mse, R², Spearman, within target: over pairs without label; R² against the mean of "
    "the labels.",
    "Candidates and overlap: of mean influences, no label put in; 90 % intervals: the share of candidates whose mean lies in",
    "the interval that the estimator gave it. Gain: facility location on the exact influences of what is chosen from",
    "predictions alone, by share of the candidates; 0 is random, 1 is exact greedy.",
)


def shown(records: Sequence[Record], config: FidelityConfig) -> list[str]:
    """Lines to print: a table for all candidates, one for those that got no label, and what the columns mean."""
    lines = []
    for candidates, title in (("all", "all candidates"), ("unseen", "candidates without any label")):
        part = [record for record in records if record["candidates"] == candidates]
        if part:
            lines += [title, *_table(part), ""]
    lines += _NOTES
    lines += [_rounds(record) for record in records if record["learning"]]
    if any(record["default"] for record in records):
        lines.append("* is what `nncift select` takes where it is told nothing else.")
    count = sum(record["candidates"] == "all" for record in records) - 1
    kept = f"; predictions in {config.predictions}" if config.predictions else ""
    what = f"{_count(count, 'combination')} of design and estimator, {_count(config.repeats, 'repeat')} each"
    return [*lines, f"{what}, on {config.matrix}{kept}"]


def _rounds(record: Record) -> str:
    """How many labels were drawn in how many rounds."""
    curves = record["learning"] or []
    counts = [curve[-1]["labels"] for curve in curves]
    mean = sum(map(len, curves)) / len(curves)
    span = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{counts[0]:,}"
    return f"{record['design']}, {record['estimator']}: {span} labels, {mean:.1f} rounds on average."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _table(records: Sequence[Record]) -> list[str]:
    gains = [] if all(record["objective_gain"] is None for record in records) else list(BUDGETS)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in ("design", "estimator"):
        table.add_column(head)
    for head in ("labels", *_HEADS, *(f"gain\n{share}" for share in gains), "seconds"):
        table.add_column(head, justify="right", no_wrap=True)
    for record in records:
        gain = record["objective_gain"] or {}
        figures = [
            record[name]
            for name in ("r2", "spearman", "row_spearman", "candidate_spearman", "top30_overlap", "coverage90")
        ]
        cells = [
            record["design"],
            record["estimator"] + (" *" if record["default"] else ""),
            f"{record['labels']:,}",
            _cell(record["mse"], "#.3g"),
            *(_cell(one, "z.2f") for one in (*figures, *(gain.get(share) for share in gains))),
            _cell(record["seconds"], "z.1f"),
        ]
        table.add_row(*map(Text, cells))
    console = Console(width=_WIDTH, file=io.StringIO(), color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def _cell(figure: Figure | None, form: str) -> str:
    """`0.52 ±.01`: the zero in front of the error is left out, and the error where there is one repeat."""
    if figure is None:
        return "-"
    mean = f"{figure['mean']:{form}}"
    if figure["se"] is None:
        return mean
    error = f"{figure['se']:.1g}" if form.endswith("g") else f"{figure['se']:{form}}"
    return f"{mean} ±{error.removeprefix('0')}"
