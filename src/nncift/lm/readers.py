"""Workers that each hold a language model, as far as those know of them who have rows read: shards go out, and what was
made of them comes back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from nncift.lm.model import LanguageModel

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

Equip = Callable[[LanguageModel], State]
"""Makes of a worker's language model what it needs for every shard; plain data that can be compared, since it may travel."""

Read = Callable[[State, Item, Callable[[int], None]], Result]
"""Does a shard, a function of a module: the worker's state, the shard, and whom to tell how many more rows are done."""


class Readers(Protocol):
    """Who reads."""

    @property
    def cpu_seconds(self) -> float:
        """Of other processes, so far."""
        ...

    def each(
        self,
        equip: Equip[State],
        read: Read[State, Item, Result],
        items: Iterable[Item],
        *,
        on_progress: Callable[[int], None],
    ) -> Iterator[Result]:
        """What `read` makes of each item, in their order; what it depends on is in its arguments alone, so that a shard may
        be read again. Workers are kept for the next call with the same `equip`. What they count is added to the ledger."""
        ...

    def close(self) -> None:
        """Lets the workers go; the next call has others."""
        ...


class Alone:
    """The language model that is here.

    Args:
        lm: it; its meter counts.
    """

    cpu_seconds = 0.0

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self._state: tuple[Any, Any] | None = None

    def each(
        self,
        equip: Equip[State],
        read: Read[State, Item, Result],
        items: Iterable[Item],
        *,
        on_progress: Callable[[int], None],
    ) -> Iterator[Result]:
        """See `Readers.each`; an item is read when its result is asked for."""
        for item in items:
            if self._state is None or self._state[0] != equip:
                self._state = equip, equip(self._lm)
            yield read(self._state[1], item, on_progress)

    def close(self) -> None:
        """Forgets what it was equipped with."""
        self._state = None
