"""Scoring and searching in shards: candidates of a kernel that is computed line by line go to workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

from nncift.objective.spread import Item, Result
from nncift.run import peak_memory
from nncift.scale.executor import Crew, Executor, Seat, spread_over


class Sender:
    """Sends what is to be done with shards to the workers of an executor, who stay until it is closed.

    Args:
        executor: opens it, when something is first sent.
    """

    def __init__(self, executor: Callable[[], Executor]) -> None:
        self._executor = executor
        self._crew: Crew | None = None
        self._shards = self._peak = 0

    @property
    def workers(self) -> int:
        """How many."""
        return self._executor().workers

    def each(self, do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Spread.each`."""
        if self._crew is None:
            self._crew = self._executor().crew(_nothing)
        for result, peak in self._crew.each(_done, items, shared=do):
            self._shards, self._peak = self._shards + 1, max(self._peak, peak)
            yield result

    def record(self) -> dict[str, Any]:
        """What the receipt says of what was sent since the last record; nothing where nothing was."""
        if not self._shards:
            return {}
        found = spread_over(self._executor(), self._shards) | {"peak_memory": self._peak}
        self._shards = 0
        return {"shards": found}

    def close(self) -> None:
        """Lets the workers go."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None


def _nothing(seat: Seat) -> None:
    """These workers hold nothing: a shard brings its candidates."""


def _done(state: None, item: Any, do: Callable[[Any], Any]) -> tuple[Any, int]:
    """A shard; its arrays are copied, since what a cluster hands over cannot be written to, and is compiled for anew."""
    return do(deepcopy(item)), peak_memory()
