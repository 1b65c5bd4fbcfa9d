"""Runs of the program as children of one process that has imported all of it: each starts in a hundredth of a second."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.soak.hooks import Fault, install

SINGLE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
STEADY = SINGLE | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
"""What must be set before anything is imported: a process with threads cannot be forked."""
HARMLESS = ("jemalloc_bg_thd",)
"""Arrow's allocator starts one, and another in a child."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        code: of its exit; minus the signal that ended it.
        seconds: that it took.
        out, err: what it printed.
        moments: that it went through, None where it was killed.
    """

    code: int
    seconds: float
    out: str
    err: str
    moments: int | None


@dataclass(slots=True)
class Child:
    """A run on its way.

    Attributes:
        pid: of its process.
        place: the folder that it runs in.
        started: on the monotonic clock.
    """

    pid: int
    place: Path
    started: float

    def kill(self, number: int) -> None:
        """Sends a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout: float = 300) -> Ended:
        """Its end; one that hangs is killed.

        Raises:
            TimeoutError: it hung.
        """
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            seconds = time.monotonic() - self.started
            if pid:
                break
            if seconds > timeout:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"the run in {self.place} hung for {timeout:.0f} s")
            time.sleep(0.002)
        out, err = (_text(self.place / name) for name in ("stdout", "stderr"))
        counted = _text(self.place / "moments")
        return Ended(os.waitstatus_to_exitcode(status), seconds, out, err, int(counted) if counted else None)

    def wait_until_stopped(self, timeout: float = 60) -> bool:
        """Whether it has stopped itself; False where it ended instead."""
        ended = time.monotonic() + timeout
        while time.monotonic() < ended:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
            if pid:
                return os.WIFSTOPPED(status)
            time.sleep(0.002)
        return False


def start(words: list[str], place: Path, *, fault: Fault, environment: Mapping[str, str]) -> Child:
    """`nncift WORDS` in a folder, with its output in `stdout` and `stderr` there."""
    (place / "moments").unlink(missing_ok=True)

    def work() -> None:
        os.environ.update(environment)
        sys.argv = ["nncift", *words]
        moments = install(fault, place / "trace")
        from nncift.cli import main

        try:
            main()
        finally:
            with suppress(OSError):
                (place / "moments").write_text(str(moments.count), encoding="ascii")

    return fork(work, place)


def fork(work: Callable[[], None], place: Path) -> Child:
    """Does something in a child of this process, which has one thread, in a folder that is there."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _be_child(work, place)
    return Child(pid, place, time.monotonic())


def warm(names: list[str]) -> None:
    """Imports modules by name, so that children have them; those that cannot be imported alone are left out."""
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)
    tasks = Path("/proc/self/task")
    threads = [(one / "comm").read_text(encoding="ascii").strip() for one in tasks.iterdir()] if tasks.is_dir() else []
    if strange := [name for name in threads[1:] if name not in HARMLESS]:
        raise SystemExit(
            f"importing left threads behind ({', '.join(strange)}), and a process with threads cannot be forked."
        )


def _be_child(work: Callable[[], None], place: Path) -> NoReturn:
    code = 1
    try:
        os.chdir(place)
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(file, number)
            os.close(file)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
