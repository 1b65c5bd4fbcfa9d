"""What a person sees on the terminal: progress bars on standard error, the summary of a run, the table of names."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from nncift import registry
from nncift.selection import Selection


class Bars:
    """Progress bars with rate and time left, one per stage; a finished stage leaves one line saying what came out."""

    def __init__(self, *, hidden: bool) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.hidden = hidden
        self.live = not hidden and self.console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self.stage = ""

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage of `total` units begins; 0 where it cannot be counted."""
        self._clear()
        self.stage = stage
        self.progress.add_task(stage, total=total or None, unit=unit)

    def advance(self, count: int) -> None:
        """`count` more units are done."""
        for task in self.progress.task_ids:
            self.progress.advance(task, count)

    def end(self, summary: str) -> None:
        """The stage ended."""
        self._clear()
        if not self.hidden:
            self.console.print(f"{self.stage:<8} {summary}", markup=False, soft_wrap=True)

    def _clear(self) -> None:
        for task in self.progress.task_ids:
            self.progress.remove_task(task)


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        """The rate, where it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f} {task.fields.get('unit', '')}/s" if speed else "")


def summary_lines(picked: Selection) -> list[str]:
    """The closing lines of `nncift select`; the last one says what, how many, where."""
    facts = picked.summary()
    lines = []
    if facts["fidelity"]:
        lines.append(facts["fidelity"])
    labelled = facts["picks_with_labels"]
    if labelled is not None:
        lines.append(
            f"{labelled:.0%} of the picks had an exact label, against {facts['rows_with_labels']:.0%} of the pool "
            "(--known predict ignores exact labels at selection)."
        )
    exact = facts["costs"]["exact"]
    if exact:
        spent = facts["costs"]["total"]["lm_sequences"]
        lines.append(
            f"{spent:,} language-model calls where exact influences take {exact['lm_sequences']:,} ({exact['share']:.2%})."
        )
    seconds = ", ".join(f"{name} {costs['seconds']:,.1f} s" for name, costs in facts["costs"]["stages"].items())
    lines.append(f"Time by stage: {seconds}.")
    lines.append(
        f"{facts['rows']:,} of {facts['of']:,} rows ({facts['objective']}: {facts['why']}) in {facts['subset']}"
    )
    return lines


def print_registry() -> None:
    """Names and first lines of everything registered."""
    console = Console(file=sys.stdout, highlight=False)
    for kind in ("influence", "objective", "embedder"):
        table = Table(title=f"{kind}s", title_justify="left", box=None, show_header=False, pad_edge=False)
        for name in registry.names(kind):
            doc = (registry.load(kind, name).__doc__ or "").strip().splitlines()
            table.add_row(name, doc[0] if doc else "")
        console.print(table)
        console.print()
