"""A line of the table from its measurements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.selection.rows import Row
from benchmarks.selection.running import Bench
from benchmarks.selection.workloads import load

CHECKED = 0.5
"""The part of a goal that `make bench-check` asks for."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measured line.

    Attributes:
        row: what was asked.
        title: of the workload, with its sizes; `against` names the peer.
        found: the measure, by wall clock; None where the system does not say.
        found_cpu: the same in CPU seconds, where it is of time.
        ours, theirs: seconds, or bytes, of the whole work; `theirs` is 0 without a peer.
        scaled: the part of the peer's work that was timed; its time is divided by it.
        says: how equal the answers were.
        facts: what our side tells of a run.
        cold: seconds that our first call compiles where no compiled code is on the disk; 0 where it was not measured.
        within: seconds of parts of our work, by what they are.
        apart: seconds of every run of the peer that are shown apart, such as compiling.
        given: bytes of the inputs.
        roof: seconds that the cores need at least; `why` is the arithmetic.
    """

    row: Row
    title: str
    against: str
    found: float | None
    found_cpu: float | None
    ours: float
    theirs: float
    scaled: float
    says: str
    facts: dict[str, float] = field(default_factory=dict)
    cold: float = 0.0
    within: dict[str, float] = field(default_factory=dict)
    apart: float = 0.0
    given: float = 0.0
    roof: float = 0.0
    why: str = ""

    @property
    def timed(self) -> bool:
        """Whether it is of time."""
        return self.row.measure in ("speed", "seconds")

    @property
    def reached(self) -> float | None:
        """The share of the goal that was reached."""
        return None if self.found is None else self.row.reached(self.found)

    @property
    def reached_of_check(self) -> float | None:
        """The share of the part of the goal that the check asks for, in CPU seconds where it is of time."""
        found = self.found_cpu if self.timed else self.found
        return None if found is None else self.row.reached(found, part=CHECKED)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reached": self.reached, "reached_of_check": self.reached_of_check}


def measure(row: Row, bench: Bench, *, peers: Iterable[str], whole: bool) -> Line:
    """Measures one line; equal answers of all sides of its workload are asserted first.

    Args:
        row: what.
        bench: where.
        peers: sides that rows of this workload are compared with.
        whole: whether what no goal asks for is timed too: the first call without compiled code, and parts of ours.
    """
    known, size = load(row.workload), bench.size(row.workload)
    says = bench.agreement(row.workload, {"ours", *known.judges, *peers})
    title = known.title.format(**size)
    peer = known.sides[row.peer] if row.peer else None
    given, against = known.holds(size), peer.words if peer else ""
    if row.measure in ("memory", "megabytes"):
        ours = bench.memory(row.workload, "ours")
        theirs = bench.memory(row.workload, row.peer) if row.peer else 0.0
        found = None
        if ours is not None and theirs is not None:
            found = theirs / max(ours, 1.0) if row.peer else ours / 1e6
        return Line(row, title, against, found, None, ours or 0.0, theirs or 0.0, 1.0, says, given=given)
    ours = bench.time(row.workload, "ours")
    theirs = bench.time(row.workload, row.peer) if row.peer else None
    found = theirs["whole_wall"] / ours["whole_wall"] if theirs else ours["wall"]
    found_cpu = theirs["whole_cpu"] / ours["whole_cpu"] if theirs else ours["cpu"]
    work, able = known.work(size, ours["facts"]), bench.probe()
    return Line(
        row, title, against, found, found_cpu, ours["wall"],
        theirs["whole_wall"] if theirs else 0.0, theirs["share"] if theirs else 1.0, says, ours["facts"],
        cold=bench.cold(row.workload, "ours") if whole else 0.0,
        within={known.sides[part].words: bench.time(row.workload, part)["wall"] for part in known.within if whole},
        apart=theirs.get("apart", 0.0) if theirs else 0.0,
        given=given,
        roof=max(work.operations / able["operations"], work.bytes / able["bytes"]),
        why=work.words,
    )  # fmt: skip
