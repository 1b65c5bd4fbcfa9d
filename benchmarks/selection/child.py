"""One side of a workload in a process of its own, under the limits that its peer has too.

    python -m benchmarks.selection.child TASK.json

The task says what; the numbers are written where it says. `benchmarks.selection.running` starts it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.selection.memory import peak_over_baseline
from benchmarks.selection.workload import Answer, Data, Run


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    found = _DONE[task["what"]](task)
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


def _time(task: Mapping[str, Any]) -> dict[str, Any]:
    """The first call, the median of the later ones, and the part that is shown apart."""
    run, apart = _opened(task)
    first, _, answer = _timed(run)
    facts = dict(answer.facts)
    del answer
    runs = [_timed(run)[:2] for _ in range(task["repeats"])]
    wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True)) if runs else (first, first)
    found = {"first": first, "wall": wall, "cpu": cpu, "facts": facts, "repeats": len(runs)}
    if apart is not None and runs:
        few = [_timed(apart)[:2] for _ in range(task["repeats"])]
        found["apart"], found["apart_cpu"] = (statistics.median(column) for column in zip(*few, strict=True))
    return found


def _memory(task: Mapping[str, Any]) -> dict[str, Any]:
    """The peak of one run over what imports, compiled code and inputs take."""
    _opened({**task, "data": task["tiny_data"], "size": task["tiny"]})[0]()
    run, _ = _opened(task)
    return {"peak": peak_over_baseline(run)}


def _agree(task: Mapping[str, Any]) -> dict[str, Any]:
    """All sides once, in this one process; refuses unequal results."""
    workload = _workload(task["workload"])
    data, size = Data(Path(task["data"])), task["size"]
    answers = {name: workload.sides[name].open(data, size, task["threads"])() for name in task["sides"]}
    return {"says": workload.agree(data, size, answers)}


def _prepare(task: Mapping[str, Any]) -> dict[str, Any]:
    Data(Path(task["data"])).write(_workload(task["workload"]).prepare(task["size"]))
    return {}


def _probe(task: Mapping[str, Any]) -> dict[str, Any]:
    from benchmarks.selection.probe import probe

    return probe(task["threads"])


def _workload(name: str) -> Any:
    """Imported here, so that a process for one workload does not carry what the others import."""
    from benchmarks.selection.workloads import load

    return load(name)


def _opened(task: Mapping[str, Any]) -> tuple[Run, Run | None]:
    side = _workload(task["workload"]).sides[task["side"]]
    given = Data(Path(task["data"])), task["size"], task["threads"]
    return side.open(*given), side.apart(*given) if side.apart else None


def _timed(run: Run) -> tuple[float, float, Answer]:
    wall, cpu = time.perf_counter(), time.process_time()
    answer = run()
    return time.perf_counter() - wall, time.process_time() - cpu, answer


_DONE = {"time": _time, "cold": _time, "memory": _memory, "agree": _agree, "prepare": _prepare, "probe": _probe}


if __name__ == "__main__":
    main()
