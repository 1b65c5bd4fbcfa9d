"""How a long stage tells the outside how far it is, and how anything that was not as asked is told exactly once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger("nncift")


class Reporter(Protocol):
    """Listens to a run. The command line draws bars; the library's default listens to nothing."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """A stage of `total` units begins."""
        ...

    def advance(self, count: int) -> None:
        """`count` more units of the current stage are done."""
        ...

    def end(self, summary: str) -> None:
        """The current stage ended; `summary` says in a few words what came out."""
        ...


class Silent:
    """Listens to nothing."""

    def begin(self, stage: str, total: int, unit: str) -> None:
        """Ignored."""

    def advance(self, count: int) -> None:
        """Ignored."""

    def end(self, summary: str) -> None:
        """Ignored."""


@dataclass(slots=True)
class Notes:
    """Every cap, truncation, fallback and skipped row of a run: a warning line when it happens, a field of its record."""

    entries: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, message: str) -> None:
        """Tells `message` once under the name `kind`."""
        if self.entries.get(kind) != message:
            log.warning("%s", message)
        self.entries[kind] = message
