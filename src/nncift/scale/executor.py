"""The seam: workers that each hold a state made once, and shards of work that come back in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nncift.errors import ConfigError
from nncift.registry import did_you_mean

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

NAMES = ("serial", "threads", "ray")


@dataclass(frozen=True, slots=True)
class Seat:
    """Where one worker sits.

    Attributes:
        number: of the worker, from 0.
        device: what its models run on; None for the one that the run names.
        here: whether it works in this process, so that what is in memory need not be loaded again.
    """

    number: int = 0
    device: str | None = None
    here: bool = True


Make = Callable[[Seat], State]
"""Makes what a worker needs for all its shards (a model, an encoder); called where the worker is, before its first shard."""

Do = Callable[[State, Item, Any], Result]
"""Does a shard: the worker's state, the shard, and what all shards share. Plain data goes in and comes out."""


class Crew(Protocol):
    """Workers with their states."""

    def each(self, do: Do[State, Item, Result], items: Iterable[Item], *, shared: Any = None) -> Iterator[Result]:
        """The results of the shards, in the order of the shards, whoever did them.

        Shards are taken from `items` as workers become free, at most two for each worker ahead of the result that is handed
        out. When the iterator is dropped, shards that are on their way are given up.

        Args:
            do: does a shard; it depends on its arguments alone, so that a shard may be done again.
            items: the shards.
            shared: handed to every call, sent to each worker once.

        Raises:
            NnciftError: a shard cannot be done, or all workers are lost.
        """
        ...

    def close(self) -> None:
        """Sends the workers home; their states are gone."""
        ...


class Executor(Protocol):
    """Has workers.

    Attributes:
        name: as the user named it.
        workers: how many.
    """

    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...

    def crew(self, make: Make[State]) -> Crew:
        """All workers, with a state each."""
        ...

    def close(self) -> None:
        """Gives free what it started."""
        ...


def check_executor(name: str) -> None:
    """Refuses a name that is none.

    Raises:
        ConfigError: neither a known one nor the address of a Ray cluster.
        MissingExtraError: Ray is not installed.
    """
    if name not in NAMES and not name.startswith("ray:"):
        raise ConfigError(
            f"unknown --executor {name!r}. {did_you_mean(name, NAMES)} A Ray cluster that runs already is joined by "
            "ray://HOST:PORT."
        )
    if name.startswith("ray"):
        from nncift.scale.cluster import import_ray

        import_ray(name)


def in_other_processes(name: str) -> bool:
    """Whether the workers of an executor share no memory with this process."""
    return name.startswith("ray")


def open_executor(name: str, *, workers: int = 0, devices: tuple[str, ...] = ()) -> Executor:
    """The executor behind a name.

    Args:
        name: `serial`, `threads`, `ray` (a cluster on this machine, started for the run), `ray://HOST:PORT` (a cluster that
            runs, joined through its client port) or `ray:ADDRESS` (joined from one of its machines; `ray:auto` finds it).
        workers: how many; 0 for one a device where there are several, else one a core.
        devices: of the workers, in turn; none for the one that the run names.

    Raises:
        ConfigError: unknown name.
        MissingExtraError: Ray is not installed.
        RunError: there is no such cluster.
    """
    check_executor(name)
    if name == "serial" and len(devices) > 1:
        name = "threads"  # two devices are named to be used both
    if name == "serial":
        from nncift.scale.serial import Serial

        return Serial(devices)
    if name == "threads":
        from nncift.scale.threads import Threads

        return Threads(workers, devices)
    from nncift.scale.cluster import Cluster

    return Cluster(name, workers, devices)


def spread_over(executor: Executor, shards: int) -> dict[str, Any]:
    """What a receipt says of work that was done in shards."""
    return {"executor": executor.name, "workers": executor.workers, "shards": shards}


def seat(number: int, devices: tuple[str, ...], *, here: bool = True) -> Seat:
    """The seat of a worker: devices go round."""
    return Seat(number, devices[number % len(devices)] if devices else None, here)
