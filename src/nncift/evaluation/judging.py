"""The seam between an evaluation and whoever grades its responses: a server, or a local language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

OnGrade = Callable[[str, float], None]
"""Told an item's id and its grade, 1 to 5, as soon as there is one, in the caller's own thread."""

OnProgress = Callable[[int], None]
"""Told how many more items are done, graded or not."""


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """A response to be graded.

    Attributes:
        id: of the test row; unique among the items of a call.
        instruction: what was asked.
        response: what is graded.
        reference: the test row's own response, which would get a 5.
    """

    id: str
    instruction: str
    response: str
    reference: str


@dataclass(frozen=True, slots=True)
class Grades:
    """What a judge gave.

    Attributes:
        scores: one for each item in the order given, from 1 to 5; None where there is no grade.
        failures: why there is none, and for how many items; the counts add up to the number of None.
    """

    scores: list[float | None]
    failures: dict[str, int]


class Judge(Protocol):
    """Grades responses; never fails for a single item, and never makes a grade up."""

    @property
    def fingerprint(self) -> str:
        """Hash of all that the grades depend on: who judges, the rubric, the settings. Never of a key."""
        ...

    def grade(self, items: Sequence[JudgeItem], *, on_grade: OnGrade, on_progress: OnProgress) -> Grades:
        """Grades all items that can be graded; whoever keeps what `on_grade` is told loses nothing to a kill."""
        ...
