"""The lines of the table: what is measured on which workload against whom, and how much of it is the goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Measure = Literal["speed", "memory", "seconds", "megabytes"]
"""How many times as fast as the peer, how many times less memory, or the seconds or megabytes that our side may take."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        name: what `--only` calls it.
        workload, peer: by their names; no peer where only a limit is to be kept.
        measure: what is measured.
        goal: of it; at least for a ratio, at most for a limit.
    """

    name: str
    workload: str
    peer: str | None
    measure: Measure
    goal: float

    @property
    def limit(self) -> bool:
        """Whether less is better."""
        return self.measure in ("seconds", "megabytes")

    def reached(self, found: float, *, part: float = 1.0) -> float:
        """The share of the goal, or of a part of the goal, that was reached: 1 and above is good."""
        return (self.goal / part) / max(found, 1e-9) if self.limit else found / (self.goal * part)


ROWS = (
    Row("fill-loop", "fill", "loop", "speed", 8_000),
    Row("fill-batches", "fill", "batches", "speed", 2_500),
    Row("facility-submodlib", "facility", "submodlib", "speed", 30),
    Row("conditional-speed", "conditional", "submodlib", "speed", 40),
    Row("conditional-memory", "conditional", "submodlib", "memory", 12),
    Row("facility-apricot", "facility", "apricot", "speed", 20),
    Row("matrix-free-time", "matrix-free", None, "seconds", 60),
    Row("matrix-free-memory", "matrix-free", None, "megabytes", 500),
    Row("means", "means", "pairs", "speed", 30),
)
