"""What a worker spends on its shards, counted where it works."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from nncift.ledger import Ledger
from nncift.run import Work, peak_memory
from nncift.scale.executor import Executor, spread_over


@dataclass(frozen=True, slots=True)
class Spent:
    """What a worker spent on a shard.

    Attributes:
        costs: what its ledger counted.
        cpu_seconds: of processes other than the one that asks.
        peak: bytes that its process held at most, so far.
    """

    costs: dict[str, int]
    cpu_seconds: float
    peak: int


class Tally:
    """Counts what a worker spends from one shard to the next.

    Args:
        here: whether it works in the process that asks.
    """

    def __init__(self, *, here: bool) -> None:
        self.ledger = Ledger()
        self._here = here
        self._counted, self._cpu = self.ledger.record(), 0.0 if here else time.process_time()

    def take(self, elsewhere: float = 0.0) -> Spent:
        """What was spent since the last call; `elsewhere` are CPU seconds of yet other processes, in all."""
        costs, cpu = self.ledger.record(), elsewhere + (0.0 if self._here else time.process_time())
        spent = {name: value - self._counted[name] for name, value in costs.items()}
        found = Spent(spent, cpu - self._cpu, peak_memory())
        self._counted, self._cpu = costs, cpu
        return found


class Bill:
    """What workers spent on shards since a stage was last told."""

    def __init__(self) -> None:
        self.shards = self.peak = 0
        self.cpu_seconds = 0.0

    def add(self, spent: Spent) -> None:
        """One shard more."""
        self.shards += 1
        self.peak = max(self.peak, spent.peak)
        self.cpu_seconds += spent.cpu_seconds

    def facts(self, executor: Executor) -> dict[str, Any]:
        """What a receipt says of them; nothing where nothing was done in shards."""
        return {"shards": spread_over(executor, self.shards) | {"peak_memory": self.peak}} if self.shards else {}

    def tell(self, done: Work, executor: Executor) -> None:
        """Tells a stage, and begins anew."""
        done.facts |= self.facts(executor)
        done.cpu_elsewhere += self.cpu_seconds
        self.shards, self.peak, self.cpu_seconds = 0, 0, 0.0
