"""Workers that are threads of this process: for several GPUs, and for work that leaves the interpreter."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import count
from typing import Any

from nncift.kernel.compiled import cores
from nncift.scale.executor import Do, Item, Make, Result, State, seat


class Threads:
    """Each worker has a state of its own; the states are made one at a time, since loading a model is not thread-safe.

    Args:
        workers: how many; 0 for one a device where there are several, else one a core.
        devices: of the workers, in turn.
    """

    name = "threads"

    def __init__(self, workers: int = 0, devices: tuple[str, ...] = ()) -> None:
        self.workers = workers or (len(devices) if len(devices) > 1 else cores())
        self._devices = devices

    def crew(self, make: Make[State]) -> ThreadCrew:
        """See `Executor.crew`."""
        return ThreadCrew(make, self.workers, self._devices)

    def close(self) -> None:
        """Threads go with their crew."""


class ThreadCrew:
    """The workers."""

    def __init__(self, make: Make[Any], workers: int, devices: tuple[str, ...]) -> None:
        self._make, self._workers, self._devices = make, workers, devices
        self._own, self._making, self._numbers = threading.local(), threading.Lock(), count()
        self._cores = max(1, cores() // workers)
        self._before = _torch_threads()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="nncift-worker")

    def each(self, do: Do[State, Item, Result], items: Iterable[Item], *, shared: Any = None) -> Iterator[Result]:
        """See `Crew.each`."""
        waiting: deque[Future[Result]] = deque()
        source = iter(items)
        try:
            for item in source:
                waiting.append(self._pool.submit(copy_context().run, self._one, do, item, shared))
                if len(waiting) >= 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """Waits for what is being done, and forgets the states."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._before is not None:
            _set_torch_threads(self._before)

    def _one(self, do: Do[Any, Any, Any], item: Any, shared: Any) -> Any:
        _set_torch_threads(self._cores)
        if not hasattr(self._own, "state"):
            with self._making:
                self._own.state = self._make(seat(next(self._numbers), self._devices))
            _set_torch_threads(self._cores)  # making it may have loaded torch
        return do(self._own.state, item, shared)


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _set_torch_threads(threads: int) -> None:
    """Of the calling thread, where torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
