"""Reading rows in shards: workers that each load the first language model of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nncift.ledger import Ledger
from nncift.lm.readers import Equip, Item, Read, Result, State
from nncift.pipeline.loading import OwnModels
from nncift.pipeline.models import Models
from nncift.run import Work
from nncift.scale.executor import Crew, Executor, Seat
from nncift.scale.tally import Bill, Spent, Tally


@dataclass(frozen=True, slots=True)
class _Equipped:
    """Makes what a worker holds: its language model, equipped, and what counts."""

    load: OwnModels
    equip: Equip[Any]

    def __call__(self, seat: Seat) -> tuple[Any, Tally]:
        tally = Tally(here=seat.here)

        def build(models: Models) -> Any:
            models.lms[0].meter.ledger = tally.ledger
            return self.equip(models.lms[0])

        return self.load.make(seat, build), tally


class ModelReaders:
    """The workers of an executor, with a language model each.

    Args:
        executor: has the workers.
        load: loads their models.
        ledger: where what they do is counted.

    Attributes:
        cpu_seconds: see `Readers.cpu_seconds`.
    """

    def __init__(self, executor: Executor, load: OwnModels, ledger: Ledger) -> None:
        self._executor, self._load, self.ledger = executor, load, ledger
        self._crew: tuple[Any, Crew] | None = None
        self._bill = Bill()
        self.cpu_seconds = 0.0

    def each(
        self,
        equip: Equip[State],
        read: Read[State, Item, Result],
        items: Iterable[Item],
        *,
        on_progress: Callable[[int], None],
    ) -> Iterator[Result]:
        """See `Readers.each`."""
        if self._crew is None or self._crew[0] != equip:
            self.close()
            self._crew = equip, self._executor.crew(_Equipped(self._load, equip))
        for result, rows, spent in self._crew[1].each(_read, items, shared=read):
            self.ledger.add(Ledger(**spent.costs))
            self._bill.add(spent)
            self.cpu_seconds += spent.cpu_seconds
            on_progress(rows)
            yield result

    def close(self) -> None:
        """Lets the workers go."""
        if self._crew is not None:
            self._crew[1].close()
            self._crew = None

    def facts(self) -> dict[str, Any]:
        """What the receipt says; nothing where nothing was read."""
        return self._bill.facts(self._executor)

    def tell(self, done: Work) -> None:
        """Tells a stage what was read in shards since the last one."""
        self._bill.tell(done, self._executor)


def readers_of(models: Models, ledger: Ledger, executor: Executor | None = None) -> ModelReaders | None:
    """The workers that the user asked for, those of the run where no other executor is given; None where one in this thread
    does all."""
    executor = executor or models.executor
    return None if executor.name == "serial" else ModelReaders(executor, OwnModels.of(models), ledger)


def _read(held: tuple[Any, Tally], item: Any, read: Read[Any, Any, Any]) -> tuple[Any, int, Spent]:
    """A shard, as executors do it: what was made of it, how many rows that were, and what it took."""
    state, tally = held
    rows = list[int]()
    result = read(state, item, rows.append)
    return result, sum(rows), tally.take()
