"""What goes wrong inside a run: it kills or stops itself, its disk is full, its clock goes back, its packages change."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Literal

What = Literal["kill", "stop", "interrupt", "terminate", "full"]

MOMENTS = ("mkdir", "fsync", "replace", "rename", "unlink", "rmdir")
"""Calls of the operating system that change what is on the disk; before and after each of them is a moment."""
SPACE = ("mkdir", "fsync")
"""Those of them that fail where the disk is full."""
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in one run.

    Attributes:
        at: the moment, counted from 0; None for never.
        what: happens then: a signal to itself; from then on nothing can be written.
        largest: bytes of a file at most; None for any.
        user: who it runs as; None for whoever runs the campaign.
        clock: seconds since 1970 that the clock starts from, going back an hour at each look; None for the real one.
        code: by stage, how many versions newer its code is.
        versions: by package, the version that it says it has.
        block: the block of labels, counted from 0, that is killed as it begins; None for none.
    """

    at: int | None = None
    what: What = "kill"
    largest: int | None = None
    user: int | None = None
    clock: float | None = None
    code: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    block: int | None = None


class Moments:
    """Counts the moments of this process, and lets the fault happen at its own."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.count, self.full = fault, 0, False

    def install(self) -> None:
        """Goes between this process and the operating system."""
        for name in MOMENTS:
            setattr(os, name, self._around(name, getattr(os, name)))

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            if self.fault.what == "full":
                return self._spacious(name, call, arguments, options)
            self._pass()
            done = call(*arguments, **options)
            self._pass()
            return done

        return watched

    def _spacious(self, name: str, call: Callable[..., Any], arguments: Any, options: Any) -> Any:
        if name not in SPACE:
            return call(*arguments, **options)
        self.full = self.full or self.count == self.fault.at
        self.count += 1
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments, **options)

    def _pass(self) -> None:
        number = SIGNALS[self.fault.what]
        self.count += 1
        if self.count - 1 == self.fault.at:
            os.kill(os.getpid(), number)


def install(fault: Fault, trace: Path) -> Moments:
    """Makes this process run into the fault, in small blocks, and note each block that it begins.

    Args:
        fault: what goes wrong.
        trace: a line is added for each block.
    """
    _in_small_blocks()
    _traced(trace, fault.block)
    if fault.clock is not None:
        _clock_goes_back(fault.clock)
    _newer(fault)
    if fault.largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.largest, fault.largest))
    if fault.user is not None:
        os.setgroups([])
        os.setgid(fault.user)
        os.setuid(fault.user)
    moments = Moments(fault)
    moments.install()
    return moments


def _in_small_blocks() -> None:
    from nncift.embed import cache
    from nncift.pipeline import journal
    from nncift.tuning import features

    journal.BLOCK, cache._BLOCK, features.CHUNK = 20, 8, 8


def _traced(trace: Path, last: int | None) -> None:
    """Notes what is begun: blocks of labels, cells of an evaluation, cells of an experiment."""
    from nncift.evaluation.bench import Bench
    from nncift.experiment.running import Runner
    from nncift.pipeline import labelling
    from nncift.pipeline.questions import Begin

    def note(line: str) -> None:
        with trace.open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")

    blocks = count()
    ask, measure, attempt = labelling.ask, Bench._measure, Runner._attempt

    def asking(desk: Any, question: Any, prepared: Any) -> Any:
        if not isinstance(question, Begin):
            parts = [getattr(question, name).tobytes() for name in question.__slots__]
            note(f"block {sha256(b' '.join(parts)).hexdigest()[:16]}")
            if next(blocks) == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return ask(desk, question, prepared)

    def measuring(self: Any, trial: Any, key: str, *, answers: bool) -> None:
        note(f"cell {self.folder.path} {key}")
        measure(self, trial, key, answers=answers)

    def attempting(self: Any, cell: Any, *rest: Any) -> Any:
        note(f"entry {cell.name}")
        return attempt(self, cell, *rest)

    labelling.ask, Bench._measure, Runner._attempt = asking, measuring, attempting


def _clock_goes_back(start: float) -> None:
    looks = count()
    time.time = lambda: start - 3600.0 * next(looks)
    time.time_ns = lambda: int(time.time() * 1e9)


def _newer(fault: Fault) -> None:
    from nncift import run
    from nncift.pipeline import keys

    for stage, more in fault.code.items():
        keys.CODE[stage] += more
    known = run.version
    run.version = lambda package: fault.versions.get(package) or known(package)
