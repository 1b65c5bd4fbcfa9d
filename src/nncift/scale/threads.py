"""Workers that are threads of this process: for several GPUs, and for work that leaves the interpreter."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any

from nncift.kernel.compiled import cores
from nncift.scale.executor import Do, Item, Make, Result, State, seat


class Threads:
    """Each worker has a state of its own. States are made one at a time, in the thread that asks, while no shard is being done:
    loading a model changes what holds for the whole process for a while, the default number format of torch among it.

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
        self._free, self._made = SimpleQueue[Any](), 0
        self._given_up = list[Future[Any]]()
        self._cores = max(1, cores() // workers)
        self._before: int | None = None
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="nncift-worker")

    def each(self, do: Do[State, Item, Result], items: Iterable[Item], *, shared: Any = None) -> Iterator[Result]:
        """See `Crew.each`; no more states are made than there are shards."""
        waiting: deque[Future[Result]] = deque()
        source = iter(items)
        first = list(islice(source, self._workers))
        self._hire(len(first))
        try:
            for item in chain(first, source):
                waiting.append(self._pool.submit(copy_context().run, self._one, do, item, shared))
                if len(waiting) >= 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self._given_up = [future for future in waiting if not future.cancel()]

    def close(self) -> None:
        """Waits for what is being done, and forgets the states."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._free = SimpleQueue()
        if self._before is not None:
            _set_torch_threads(self._before)

    def _hire(self, workers: int) -> None:
        """Makes states until so many workers have one."""
        if self._made < workers:
            wait(self._given_up)
        for number in range(self._made, workers):
            self._free.put(self._make(seat(number, self._devices)))
            self._made += 1
        self._before = self._before or _torch_threads()  # making them may have loaded torch

    def _one(self, do: Do[Any, Any, Any], item: Any, shared: Any) -> Any:
        _set_torch_threads(self._cores)
        state = self._free.get()
        try:
            return do(state, item, shared)
        finally:
            self._free.put(state)


def _torch_threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _set_torch_threads(threads: int) -> None:
    """Of the calling thread, where torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
