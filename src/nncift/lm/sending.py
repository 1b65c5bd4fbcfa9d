"""How requests leave: so many at a time, no more than so many a minute, their answers as they arrive, and refusals in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")

_SHOWN = 200  # characters of a server's own explanation
_EXPLAINED = (400, 404, 413, 422)  # about the request; what is said of a key (401, 403) is not repeated


class RateLimit:
    """Lets callers of any thread through one by one, evenly over a minute, so that no burst meets a server's own limit.

    Args:
        per_minute: how many a minute, 0 for no limit.
        clock: seconds that only grow.
        sleep: waits some seconds.
    """

    __slots__ = ("_apart", "_clock", "_lock", "_next", "_sleep")

    def __init__(
        self,
        per_minute: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._apart = 60 / per_minute if per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._next = clock()

    def wait(self) -> None:
        """Returns when it is the caller's turn."""
        if not self._apart:
            return
        with self._lock:
            turn = max(self._clock(), self._next)
            self._next = turn + self._apart
        while (ahead := turn - self._clock()) > 0:
            self._sleep(ahead)


def arriving(
    work: Callable[[int], T], count: int, *, threads: int, stop: Event
) -> Generator[tuple[int, T], None, None]:
    """The numbers below `count` and what `work` made of them, as they get done, in the caller's thread.

    The threads are daemons: whoever interrupts the program does not wait for a slow server.

    Args:
        work: called in several threads at once.
        count: how many pieces of work there are; they are begun in order.
        threads: how many at a time, at least 1.
        stop: once set, no further piece is begun; those under way still arrive. It is set when the caller leaves.

    Raises:
        Exception: whatever `work` raised.
    """
    todo: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, T] | Exception | None] = SimpleQueue()
    for number in range(count):
        todo.put(number)

    def labour() -> None:
        try:
            while not stop.is_set():
                number = todo.get_nowait()
                done.put((number, work(number)))
        except Empty:
            pass
        except Exception as error:  # raised again where the caller sees it
            done.put(error)
        done.put(None)

    hands = [Thread(target=labour, name=f"asking-{k}", daemon=True) for k in range(min(threads, count))]
    for hand in hands:
        hand.start()
    try:
        at_work = len(hands)
        while at_work:
            got = done.get()
            if got is None:
                at_work -= 1
            elif isinstance(got, Exception):
                raise got
            else:
                yield got
    finally:
        stop.set()


def explanation(error: Any, key: str) -> str:
    """What a server says is wrong with a request, on one line, with the key blotted out; empty where it says nothing.

    Args:
        error: an `openai.APIStatusError`.
        key: never to be repeated, whatever a server says; empty where there is none.
    """
    if error.status_code not in _EXPLAINED:
        return ""
    said = error.body.get("message") if isinstance(error.body, dict) else None
    said = said if isinstance(said, str) else error.response.text
    return " ".join((said.replace(key, "***") if key else said).split())[:_SHOWN]
