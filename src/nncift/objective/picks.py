"""The picks of an optimiser while it works."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Picked:
    """Candidates in the order of their choice.

    Attributes:
        order: their positions.
        added: what each added.
        before: what the kept ones added, which stand before all.
        evaluations: how many gains were computed.
    """

    order: list[int] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    before: list[float] = field(default_factory=list)
    evaluations: int = 0

    def add(self, candidate: int, gain: float) -> None:
        """One more pick."""
        self.order.append(candidate)
        self.added.append(gain)
