"""One worker in this thread: shards one after the other, as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from nncift.scale.executor import Do, Item, Make, Result, State, seat


class Serial:
    """No concurrency; what everything else is compared with."""

    name, workers = "serial", 1

    def __init__(self, devices: tuple[str, ...] = ()) -> None:
        self._devices = devices

    def crew(self, make: Make[State]) -> SerialCrew:
        """See `Executor.crew`."""
        return SerialCrew(make, self._devices)

    def close(self) -> None:
        """Nothing was started."""


class SerialCrew:
    """The one worker."""

    def __init__(self, make: Make[Any], devices: tuple[str, ...]) -> None:
        self._make, self._devices = make, devices
        self._states: list[Any] = []

    def each(self, do: Do[State, Item, Result], items: Iterable[Item], *, shared: Any = None) -> Iterator[Result]:
        """See `Crew.each`; a shard is done when its result is asked for."""
        for item in items:
            if not self._states:
                self._states.append(self._make(seat(0, self._devices)))
            yield do(self._states[0], item, shared)

    def close(self) -> None:
        """Forgets the state."""
        self._states.clear()
