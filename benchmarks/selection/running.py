"""Starts the processes that measure, all under one set of limits, and keeps what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.selection.workload import Size
from benchmarks.selection.workloads import load

ROOT = Path(__file__).parents[2]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(slots=True)
class Bench:
    """Measurements of one run.

    Attributes:
        folder: where inputs go.
        threads: cores and threads of every process.
        repeats: timed runs behind the first one.
        once: workloads that are timed a single time behind the first run.
        tiny: whether the sizes of tests are taken.
    """

    folder: Path
    threads: int
    repeats: int
    once: tuple[str, ...] = ()
    tiny: bool = False
    _kept: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)

    def size(self, workload: str) -> Size:
        """At which a workload is measured."""
        known = load(workload)
        return known.tiny if self.tiny else known.size

    def agreement(self, workload: str, sides: Iterable[str]) -> str:
        """A sentence on how equal the answers of some sides are; the process that compares them fails where they are not."""
        known = load(workload)
        size = known.tiny if self.tiny else known.agreed or known.size
        return self._asked("agree", workload, size, sides=sorted(sides))["says"]

    def time(self, workload: str, side: str) -> dict[str, Any]:
        """Seconds of the first call, the median wall and CPU seconds of the later ones, and facts of one side."""
        repeats = 1 if workload in self.once else self.repeats
        found = self._asked("time", workload, self.size(workload), side=side, repeats=repeats)
        share = load(workload).sides[side].share(self.size(workload))
        return {**found, "whole_wall": found["wall"] / share, "whole_cpu": found["cpu"] / share, "share": share}

    def cold(self, workload: str, side: str) -> float:
        """Seconds of a first call where no compiled code is on the disk, at a size at which nothing but compiling counts."""
        return self._asked("cold", workload, load(workload).tiny, side=side, repeats=0)["first"]

    def memory(self, workload: str, side: str) -> float | None:
        """Bytes at the peak of a run over what the process held before it; None where the system does not say."""
        tiny = load(workload).tiny
        given = {"side": side, "tiny": dict(tiny), "tiny_data": str(self._inputs(workload, tiny))}
        return self._asked("memory", workload, self.size(workload), **given)["peak"]

    def probe(self) -> dict[str, float]:
        """What the cores can do under the same limits: `operations` and `bytes` per second."""
        key = ("probe",)
        if key not in self._kept:
            self._kept[key] = self._child({"what": "probe"})
        return self._kept[key]

    def _asked(self, what: str, workload: str, size: Size, **given: Any) -> dict[str, Any]:
        """What a process of its own finds, or has found before."""
        key = (what, workload, json.dumps(dict(size)), json.dumps(given))
        if key not in self._kept:
            task = {"what": what, "workload": workload, "size": dict(size), "data": str(self._inputs(workload, size))}
            self._kept[key] = self._child({**task, **given})
        return self._kept[key]

    def _inputs(self, workload: str, size: Size) -> Path:
        """The folder with the arrays of a workload, made by a process of its own."""
        place = self.folder / "-".join([workload, *(f"{name}{count}" for name, count in size.items())])
        if not place.exists():
            place.mkdir(parents=True)
            self._child({"what": "prepare", "workload": workload, "size": dict(size), "data": str(place)})
        return place

    def _child(self, task: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            given, out = Path(folder) / "task.json", Path(folder) / "out.json"
            given.write_text(json.dumps({**task, "threads": self.threads, "out": str(out)}), encoding="utf-8")
            limits = {name: str(self.threads) for name in THREAD_VARIABLES}
            if task["what"] == "cold":
                limits["NUMBA_CACHE_DIR"] = folder  # where no compiled code is
            subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.selection.child", str(given)],
                cwd=ROOT, env={**os.environ, **limits}, check=True,
            )  # fmt: skip
            return json.loads(out.read_text(encoding="utf-8"))
