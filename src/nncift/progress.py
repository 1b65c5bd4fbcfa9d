"""How a long stage tells the outside how far it is."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Listens to a run. The command line draws bars; the library's default listens to nothing."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage of `total` units begins, 0 where they cannot be counted; it may begin inside another, and then ends first."""
        ...

    def advance(self, count: int) -> None:
        """`count` more units of the innermost stage are done."""
        ...

    def end(self, summary: str) -> None:
        """The innermost stage ended; `summary` says in a few words what came out."""
        ...


class Silent:
    """Listens to nothing."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def end(self, summary: str) -> None:
        """Ignored."""


def duration(seconds: float) -> str:
    """Seconds as a person says them: 0.4 s, 12 s, 6 min 35 s, 2 h 5 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
