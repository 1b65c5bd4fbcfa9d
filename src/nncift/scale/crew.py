"""A crew on a Ray cluster: who works on which shard, what comes back in which order, and what is done again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from nncift.errors import RunError
from nncift.scale.actor import Failed, Unmade
from nncift.scale.executor import Do, Item, Make, Result, Seat, State

log = logging.getLogger(__name__)

TRIES = 3
"""Workers that a shard may lose before it is given up: what kills three kills every one."""

_PATIENCE = 60.0  # seconds without any worker after which that is said


class Hirer(Protocol):
    """A cluster, as far as a crew knows of it; see `nncift.scale.cluster.Cluster`."""

    @property
    def workers(self) -> int: ...
    def hire(self, number: int, make: Any) -> Hand: ...
    def put(self, value: Any) -> Any: ...
    def first_done(self, flying: list[Any]) -> Any | None: ...
    def result(self, reference: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Lost:
    """In place of a result: its worker is gone, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Hand:
    """A worker, from here.

    Attributes:
        actor: Ray's handle.
        seat: where it sits.
        there: reference to its first word, said when it has a processor.
        made: reference to what making its state gave.
    """

    actor: Any
    seat: Seat
    there: Any
    made: Any


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard on its way: its number, and how many workers it has lost."""

    number: int
    item: Any
    lost: int = 0


class ClusterCrew:
    """The workers."""

    def __init__(self, cluster: Hirer, make: Make[Any]) -> None:
        self._cluster, self._make_here = cluster, make
        self._make: Any = None
        self._numbers = count()
        self._since, self._begun = time.monotonic(), False
        self._idle: list[Hand] = []
        self._busy: dict[Any, tuple[Hand, _Shard]] = {}

    def each(self, do: Do[State, Item, Result], items: Iterable[Item], *, shared: Any = None) -> Iterator[Result]:
        """See `Crew.each`. A lost worker is replaced and its shard done again, by at most `TRIES` workers."""
        handed = None if shared is None else self._cluster.put(shared)
        source, again, done = (_Shard(*one) for one in enumerate(items)), list[_Shard](), dict[int, Any]()
        handed_out, taken, more = 0, 0, True
        try:
            while True:
                while self._free() and (again or (more and taken - handed_out < 2 * self._cluster.workers)):
                    shard = again.pop() if again else next(source, None)
                    if shard is None:
                        more = False
                    else:
                        taken = max(taken, shard.number + 1)
                        self._send(do, shard, handed)
                if handed_out in done:
                    yield done.pop(handed_out)
                    handed_out += 1
                elif not self._busy:
                    return
                elif (found := self._next()) is not None:
                    shard, result = found
                    if isinstance(result, Lost):
                        again.append(_lost(shard, result))
                    else:
                        done[shard.number] = result
        finally:  # where the iterator is dropped, workers end what they are at, and nobody asks for it
            self._idle += [hand for hand, _ in self._busy.values()]
            self._busy.clear()

    def close(self) -> None:
        """Lets the workers go."""
        self._busy.clear()
        self._idle.clear()

    def _free(self) -> bool:
        """Whether somebody could begin a shard."""
        return bool(self._idle) or len(self._busy) < self._cluster.workers

    def _next(self) -> tuple[_Shard, Any] | None:
        """A shard whose result is there, None after a second without one."""
        reference = self._cluster.first_done(list(self._busy))
        if reference is None:
            self._say_idle()
            return None
        hand, shard = self._busy.pop(reference)
        result = self._cluster.result(reference)
        if not isinstance(result, Lost):
            self._idle.append(hand)
            result = _whole(result, hand, self._cluster)
            self._begun = True
        return shard, result

    def _say_idle(self) -> None:
        """That no worker has come for a long time, once; a shard may well take longer."""
        if self._begun or time.monotonic() - self._since <= _PATIENCE:
            return
        if self._cluster.first_done([hand.there for hand, _ in self._busy.values()]) is None:
            log.warning("no worker is there after %.0f s: the Ray cluster may have no free processor", _PATIENCE)
        self._begun = True

    def _send(self, do: Do[Any, Any, Any], shard: _Shard, handed: Any) -> None:
        if self._make is None:
            self._make = self._cluster.put(self._make_here)
        hand = self._idle.pop() if self._idle else self._cluster.hire(next(self._numbers), self._make)
        self._busy[hand.actor.do.remote(do, shard.item, handed)] = hand, shard


def _lost(shard: _Shard, result: Lost) -> _Shard:
    """The shard once more.

    Raises:
        RunError: it lost too many workers.
    """
    if shard.lost + 1 >= TRIES:
        raise RunError(
            f"{TRIES} workers of the Ray cluster were lost with the same shard, the last because: {result.why}. Shards that "
            "were done are kept. Where memory was short, ask for fewer --workers or smaller --batch-tokens."
        )
    log.warning("a worker of the Ray cluster was lost (%s); its shard is done again by another", result.why)
    return _Shard(shard.number, shard.item, shard.lost + 1)


def _whole(result: Any, hand: Hand, cluster: Hirer) -> Any:
    """A result that is none of the ways to fail."""
    if isinstance(result, Unmade):
        cluster.result(hand.made)  # raises what making it raised
    if isinstance(result, Failed):
        raise result.error()
    return result
