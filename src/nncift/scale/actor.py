"""A worker of a Ray cluster, on its machine: what its actor is made of, and how errors travel home."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from nncift.errors import NnciftError, RunError
from nncift.kernel.compiled import cores
from nncift.scale.executor import Do, Make, Seat
from nncift.version import __version__

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Failed:
    """An error a user can mend, on its way home: its class may take other arguments than its message."""

    kind: type[NnciftError]
    message: str

    def error(self) -> NnciftError:
        found = self.kind.__new__(self.kind)
        found.args = (self.message,)
        return found


@dataclass(frozen=True, slots=True)
class Unmade:
    """In place of a result: the state could not be made, for a reason that only the call to make it tells."""


class Worker:
    """A worker, on its machine. Calls come in the order in which they were made."""

    def settle(self, version: str, paths: list[str], threads: int, environment: dict[str, str]) -> None:
        """Before anything is imported: where modules are, and how many threads libraries may start."""
        if version != __version__:
            self.state: Any = Failed(
                RunError,
                f"a machine of the Ray cluster has nncift {__version__}, and here it is {version}. Install one.",
            )
        sys.path.extend(path for path in paths if path not in sys.path)
        os.environ.update(environment | dict.fromkeys(_THREADS, str(min(threads, cores()))))

    def make(self, make: Make[Any], here: Seat) -> None:
        """Makes the state; an error waits for the first shard."""
        if hasattr(self, "state"):
            return
        try:
            self.state = make(here)
        except NnciftError as error:
            self.state = Failed(type(error), str(error))

    def do(self, do: Do[Any, Any, Any], item: Any, shared: Any) -> Any:
        """Does a shard."""
        if not hasattr(self, "state"):
            return Unmade()
        if isinstance(self.state, Failed):
            return self.state
        try:
            return do(self.state, item, shared)
        except NnciftError as error:
            return Failed(type(error), str(error))
