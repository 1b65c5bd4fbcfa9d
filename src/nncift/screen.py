"""What a person sees on the terminal: progress bars on standard error, and what verbs print on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from nncift.progress import duration
from nncift.redact import redact


class Bars:
    """Progress bars with rate and time left, one per stage; a finished stage leaves one line saying what came out.

    Args:
        hidden: whether nothing is shown.
        deepest: stages inside so many others leave no line; where there are many runs in one, their stages would be hundreds.
    """

    def __init__(self, *, hidden: bool, deepest: int = 1000) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.hidden = hidden
        self.deepest = deepest
        self.live = not hidden and self.console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=30),
            _Standing(),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self.stages: list[tuple[str, TaskID]] = []  # a stage may load a model: the inner one ends first

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage of `total` units begins, inside the current one if that has not ended; 0 where it cannot be counted."""
        self.stages.append((stage, self.progress.add_task(stage, total=total or None, unit=unit)))

    def advance(self, count: int) -> None:
        """`count` more units of the innermost stage are done."""
        self.progress.advance(self.stages[-1][1], count)

    def end(self, summary: str) -> None:
        """The innermost stage ended."""
        stage, task = self.stages.pop()
        self.progress.remove_task(task)
        if not self.hidden and len(self.stages) < self.deepest:
            self.console.print(redact(f"{stage:<8} {summary}"), markup=False, soft_wrap=True)


class _Standing(ProgressColumn):
    """How much is done, how fast, and how long the rest takes; the time spent where nothing can be counted."""

    def render(self, task: Task) -> Text:
        """One short line."""
        if task.total is None:
            return Text(f"{duration(task.elapsed or 0.0)}")
        text = f"{int(task.completed):,}/{int(task.total):,} {task.fields['unit']}"
        if task.speed:
            text += f", {task.speed:,.1f}/s"
        return Text(text if task.time_remaining is None else f"{text}, {duration(task.time_remaining)} left")


def say(lines: Sequence[str], picture: RenderableType) -> None:
    """Prints the picture where standard output is a terminal, and the lines where it is a pipe or a file."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(picture)
    else:
        print("\n".join(lines))


def beside(lines: Sequence[str]) -> RenderableType:
    """Lines of the form `What: how much` in two columns, others as they are."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column()
    for line in lines:
        what, colon, rest = line.partition(": ")
        grid.add_row(what.lower(), Text(rest)) if colon and " " not in what.strip() else grid.add_row("", Text(line))
    return grid
