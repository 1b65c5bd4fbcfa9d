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
