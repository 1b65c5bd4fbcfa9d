"""What a person sees on the terminal: progress bars on standard error, and the summary of a run."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from nncift.influence.base import Calls
from nncift.pipeline.receipt import anew_text, calls_text, spent
from nncift.progress import duration
from nncift.selection import Selection


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
            self.console.print(f"{stage:<8} {summary}", markup=False, soft_wrap=True)


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


def summary_lines(picked: Selection) -> list[str]:
    """The closing lines of `nncift select`; the last one says what, how many, where."""
    facts = picked.summary()
    lines = []
    if facts["fidelity"]:
        lines.append(facts["fidelity"])
    if picked.learning:
        rounds = picked.learning["rounds"]
        lines.append(f"{rounds[-1]['labels']:,} labels in {len(rounds)} rounds: {picked.learning['why']}.")
    means = (picked.fidelity or {}).get("candidate_means")
    if means:
        lines.append(
            f"The candidates' mean influences are predicted to lie {means['spread']:.2g} apart (standard deviation), and each "
            f"is known to ± {1.645 * means['sd']:.2g} (90 %)."
        )
    labelled, exact = facts["picks_with_labels"], facts["costs"]["exact"]
    if labelled is not None:
        lines.append(
            f"An exact influence stood behind {labelled:.0%} of the picks and {facts['rows_with_labels']:.0%} of the pool "
            "(--known predict sets them aside)."
        )
    anew = facts["costs"].get("training_anew")
    if anew:
        lines.append(anew_text(anew, (picked.fidelity or {}).get("held_out", 0)))
    if exact:
        stages = facts["costs"]["stages"]
        made = spent(stages[name] for name in ("label", "states") if name in stages)
        whole = Calls(exact["lm_forwards"], exact["lm_backwards"])
        lines.append(
            f"Language-model calls: {calls_text(made)}; every pair would have taken {calls_text(whole)}, "
            f"and what was asked is worth {exact['share']:.1%} of that."
        )
    seconds = {name: costs["seconds"] for name, costs in facts["costs"]["stages"].items()}
    lines.append("Time: " + ", ".join(f"{name} {duration(spent)}" for name, spent in seconds.items()) + ".")
    lines.append(f"Whether they teach: nncift evaluate {facts['folder']} --test TEST.jsonl --model MODEL")
    rows = f"{facts['rows']:,} of {facts['of']:,} rows"
    return [*lines, f"{rows} by {facts['objective']} ({facts['why']}): {facts['subset']}"]
