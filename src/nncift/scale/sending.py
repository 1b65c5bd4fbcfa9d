"""Scoring and searching in shards: candidates of a kernel that is computed line by line go to workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

from nncift.objective.spread import Item, Result
from nncift.run import Work
from nncift.scale.executor import Crew, Executor, Seat
from nncift.scale.tally import Bill, Spent, Tally


class Sender:
    """Sends what is to be done with shards to the workers of an executor, who stay until it is closed.

    Args:
        executor: opens it, when something is first sent.
    """

    def __init__(self, executor: Callable[[], Executor]) -> None:
        self._executor = executor
        self._crew: Crew | None = None
        self._bill = Bill()

    @property
    def workers(self) -> int:
        """How many."""
        return self._executor().workers

    def each(self, do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Spread.each`."""
        if self._crew is None:
            self._crew = self._executor().crew(_tally)
        for result, spent in self._crew.each(_done, items, shared=do):
            self._bill.add(spent)
            yield result

    def tell(self, done: Work) -> None:
        """Tells a stage what was sent since the last one; nothing where nothing was."""
        if self._bill.shards:
            self._bill.tell(done, self._executor())

    def close(self) -> None:
        """Lets the workers go."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None


def _tally(seat: Seat) -> Tally:
    """These workers hold nothing else: a shard brings its candidates."""
    return Tally(here=seat.here)


def _done(tally: Tally, item: Any, do: Callable[[Any], Any]) -> tuple[Any, Spent]:
    """A shard; its arrays are copied, since what a cluster hands over cannot be written to, and is compiled for anew."""
    return do(deepcopy(item)), tally.take()
