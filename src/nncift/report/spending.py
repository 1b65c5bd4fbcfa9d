"""What a run spent by stage, beside what exact influences of every pair would have taken of the language model."""

from __future__ import annotations

from dataclasses import dataclass

from nncift.influence.base import Calls, work
from nncift.report.reading import Run

_WORDS = {
    "embed": "embed the rows",
    "pace": "measure the pace",
    "label": "exact labels",
    "states": "read states",
    "estimate": "train and judge",
    "select": "fill and choose",
    "write": "write the subset",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage took.

    Attributes:
        name: in words.
        seconds, forwards, backwards: of the wall; passes of the language model.
        work: passes in forward passes, a backward one counted as two.
    """

    name: str
    seconds: float
    forwards: int
    backwards: int

    @property
    def work(self) -> float:
        """Forward passes that it is worth."""
        return float(work(Calls(self.forwards, self.backwards)))


@dataclass(frozen=True, slots=True)
class Spending:
    """The stages in their order, and what every pair would have taken (None where no language model is asked)."""

    stages: tuple[Stage, ...]
    exact: Stage | None


def spending(run: Run) -> Spending:
    """The costs of a run."""
    stages = tuple(
        Stage(_WORDS.get(name) or name, spent["seconds"], int(spent["lm_forwards"]), int(spent["lm_backwards"]))
        for name, spent in run.costs["stages"].items()
    )
    exact = run.costs.get("exact")
    whole = Stage("every pair exactly", 0.0, exact["lm_forwards"], exact["lm_backwards"]) if exact else None
    return Spending(stages, whole)
