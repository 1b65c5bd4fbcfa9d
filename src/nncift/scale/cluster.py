"""Workers that are actors of a Ray cluster: one that is started on this machine for the run, or one that runs already."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import Any

from nncift.errors import MissingExtraError, RunError
from nncift.kernel.compiled import cores
from nncift.scale.actor import Worker
from nncift.scale.crew import ClusterCrew, Hand, Lost
from nncift.scale.executor import Make, State, seat
from nncift.version import __version__

log = logging.getLogger(__name__)

_BEAT = 1.0  # seconds between looks at the head while nothing comes back
_SILENCE = 3  # looks in vain after which it is lost; Ray itself would end this process after 60 s without a word
_MODULE, _CREATION = "No module named", "error raised in its creation task"  # in Ray's messages


def import_ray(name: str) -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingExtraError("ray", "ray", f"--executor {name}") from error
    return ray


class Cluster:
    """Each worker is an actor with one processor, and with one GPU where devices are GPUs; a lost one is replaced.

    Args:
        name: `ray`, `ray://HOST:PORT` or `ray:ADDRESS`, see `open_executor`.
        workers: how many; 0 for all GPUs of the cluster where devices are GPUs, else all processors.
        devices: only whether they are GPUs counts: Ray deals them out.

    Raises:
        MissingExtraError: Ray is not installed.
        RunError: there is no such cluster.
    """

    def __init__(self, name: str, workers: int = 0, devices: tuple[str, ...] = ()) -> None:
        ray = import_ray(name)
        self.name, self.lost = name, 0
        self._ray = ray
        self._gpu = any(device.startswith("cuda") for device in devices)
        self._started = not ray.is_initialized()
        if self._started:
            self._connect(workers)
        self._head = _address(name, ray)
        found = ray.cluster_resources()
        most = int(found.get("GPU" if self._gpu else "CPU", 0))
        if most == 0:
            self.close()
            raise RunError(
                f"the Ray cluster of --executor {name} has no {'GPU' if self._gpu else 'processor'} to work on."
            )
        if workers > most:
            log.warning("%s workers are asked for and the Ray cluster has room for %s; so many work", workers, most)
        self.workers = min(workers, most) or most
        self._threads = max(1, int(found.get("CPU", 1)) // self.workers)

    def crew(self, make: Make[State]) -> ClusterCrew:
        """See `Executor.crew`."""
        return ClusterCrew(self, make)

    def close(self) -> None:
        """Ends the cluster that was started, or leaves the one that was joined."""
        if self._started:
            self._started = False
            self._ray.shutdown()

    def hire(self, number: int, make: Any) -> Hand:
        """A worker that makes its state; `make` is a reference to what makes it."""
        actor = self._ray.remote(Worker).options(
            num_cpus=1, num_gpus=1 if self._gpu else 0, max_restarts=0, scheduling_strategy="SPREAD"
        )
        hand = actor.remote()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        there = hand.settle.remote(__version__, list(sys.path), self._threads, environment)
        here = seat(number, ("cuda",) if self._gpu else (), here=False)
        return Hand(hand, here, there, hand.make.remote(make, here))

    def put(self, value: Any) -> Any:
        """A reference to what several workers are handed."""
        try:
            return self._ray.put(value)
        except ModuleNotFoundError as error:  # a client's objects are read where the cluster is
            raise self._stranger(error) from error

    def first_done(self, flying: list[Any]) -> Any | None:
        """The first of some results that is there, None after a second.

        Raises:
            RunError: the head of the cluster does not answer any more.
        """
        ray = self._ray
        try:
            ready, _ = ray.wait(flying, num_returns=1, timeout=_BEAT)
        except _lost_head(ray) as error:
            raise self.headless() from error
        if not ready:
            self._look()
        return ready[0] if ready else None

    def result(self, reference: Any) -> Any:
        """What a worker gave back; `Lost` where there is no such worker any more.

        Raises:
            RunError: the head of the cluster does not answer any more.
        """
        ray = self._ray
        gone = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError,
                ray.exceptions.ObjectLostError, ray.exceptions.NodeDiedError)  # fmt: skip
        try:
            return ray.get(reference)
        except gone as error:
            if _CREATION in str(error):  # every worker would die of it
                raise self._stranger(error) from error
            self._look()
            self.lost += 1
            return Lost(_reason(error))
        except _lost_head(ray) as error:
            raise (self._stranger(error) if _MODULE in str(error) else self.headless()) from error

    def headless(self) -> RunError:
        """What is said when the cluster is gone."""
        mend = "" if self.name == "ray" else " when the cluster is up again"
        return RunError(
            f"the head of the Ray cluster of --executor {self.name} does not answer any more. Shards that were done are kept: "
            f"start the same command again{mend}."
        )

    def _stranger(self, error: Exception) -> RunError:
        """What is said where a machine of the cluster lacks what is here."""
        why = next(
            (line.strip() for line in str(error).splitlines() if _MODULE in line), "a worker cannot be started there"
        )
        return RunError(
            f"the Ray cluster of --executor {self.name} lacks what is here: {why}. Install nncift {__version__} and your own "
            "modules on every machine of it, in the Python that runs `ray start`."
        )

    def _connect(self, workers: int) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.name == "ray":
            options |= {"address": "local", "num_cpus": max(workers, cores()), "include_dashboard": False}
        else:
            options |= {"address": self.name if self.name.startswith("ray://") else self.name.removeprefix("ray:")}
        try:
            _knock(self.name)
            self._ray.init(**options)
        except (OSError, ValueError, RuntimeError) as error:
            mend = (
                "Is there room in the folder for temporary files?"
                if self.name == "ray"
                else "Start one with `ray start --head`, or say --executor ray to have one on this machine. A cluster with "
                "tokens wants RAY_AUTH_MODE=token here."
            )
            raise RunError(f"no Ray cluster for --executor {self.name}: {_first_line(error)}. {mend}") from error

    def _look(self) -> None:
        """Whether the head answers and there is a machine; a busy one is given some seconds.

        Raises:
            RunError: it does not, or there is none.
        """
        if self._head is None:  # a client is told by the connection itself
            return
        for _ in range(_SILENCE):
            try:
                with socket.create_connection(self._head, timeout=_BEAT):
                    return
            except OSError:
                time.sleep(_BEAT)
        raise self.headless()


_KEPT = ("NNCIFT_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""What a worker does as this process does, though it may have been started before."""


def _address(name: str, ray: Any) -> tuple[str, int] | None:
    """Host and port of the head, None where it is reached through a client's connection."""
    if name.startswith("ray://"):
        return None
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return host.strip("[]"), int(port)


def _knock(name: str) -> None:
    """Whether anybody answers at an address: Ray itself would go on asking for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = name.removeprefix("ray:").removeprefix("//").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10 * _BEAT).close()


def _lost_head(ray: Any) -> tuple[type[Exception], ...]:
    return ray.exceptions.RaySystemError, ray.exceptions.RpcError, ConnectionError


def _reason(error: Exception) -> str:
    """The line of Ray's long message that says why, without its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "exit detail:" in line or "is dead because" in line), lines[0])
    return told.rpartition("exit detail:")[2].partition("Some common causes")[0].strip().rstrip(".")


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
