"""The answer of an optimiser: candidates in the order in which they were picked."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float64, Int64
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates in the order in which they were picked; a head of them is the choice of a smaller budget.

    Attributes:
        order: int64 [k], positions of candidates, each at most once.
        gains: float64 [k], what each pick added to the objective when it was picked.
        positive: how many picks behind the kept ones were made for their gain; what comes after followed `merit`.
        merit: what ordered the picks after those; empty for a rule whose picks follow no gain.
        kept: how many picks, all at the head, were there before anything was chosen.
        optimizer: what chose.
        evaluations: how many gains were computed.
    """

    order: Int64[ndarray, " k"]
    gains: Float64[ndarray, " k"]
    positive: int
    merit: str
    kept: int = 0
    optimizer: str = ""
    evaluations: int = 0

    @property
    def rest_rule(self) -> str:
        """A sentence that says how the picks without a positive gain were ordered."""
        return rest_rule(self.kept + self.positive, len(self.order), self.merit)


def rest_rule(chosen: int, picks: int, merit: str) -> str:
    """A sentence that says how the picks without a positive gain were ordered."""
    if not merit:
        return "Every pick follows the rule."
    if chosen == picks:
        return "Every pick was made for its gain."
    if chosen + 1 == picks:
        return f"Pick {picks:,} had no positive gain and follows {merit}."
    return f"Picks {chosen + 1:,} to {picks:,} had no positive gain and follow {merit}."
