"""The gains of many candidates on several threads at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from nncift.kernel.compiled import cores


class Together:
    """Threads that live as long as a choice grows, since a step of it is too short to start them anew."""

    def __init__(self, threads: int) -> None:
        """At most so many at once; 0 for all cores."""
        self.threads = threads or cores()
        self._pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None

    def over(self, fill: Callable[[int, int], None], count: int) -> None:
        """Calls `fill(start, stop)` for parts that cover `range(count)`, in whole groups of four, which share a walk."""
        part = -(-count // (4 * self.threads)) // 4 * 4 + 4
        starts = range(0, count, part)
        if self._pool is None or len(starts) <= 1:
            fill(0, count)
        else:
            list(self._pool.map(lambda start: fill(start, min(start + part, count)), starts))
