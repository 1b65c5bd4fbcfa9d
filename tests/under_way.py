"""How many requests a server of the tests had under way at the same time."""

from __future__ import annotations

import threading
from types import TracebackType


class UnderWay:
    """Counts a request from its arrival until its answer is sent: whoever has the answer may ask again before the sender
    knows that it was read.

    Attributes:
        most: at the same time, so far.
    """

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._now -= 1
