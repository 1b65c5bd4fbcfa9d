"""The lines as a table for the screen, as a page, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.selection.measuring import Line
from nncift.version import __version__

_PACKAGES = ("numpy", "numba", "torch", "submodlib-py", "apricot-select")
_HEAD = ("measure", "against", "goal", "measured", "reached", "by CPU time", "ours", "theirs", "of the roof")


def machine(threads: int, able: dict[str, float]) -> dict[str, Any]:
    """Where it was measured, and what the cores could do meanwhile."""
    found: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "threads": threads}
    found |= {"python": platform.python_version(), "nncift": __version__, "able": able}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def processor() -> str:
    """Its name as the system says it, with the widest registers: names of virtual machines say little."""
    lines = _cpuinfo()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "")
    wide = next((words for flag, words in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if f" {flag}" in flags), "")
    return f"{name}, {wide}" if wide else name


def _cpuinfo() -> list[str]:
    place = Path("/proc/cpuinfo")
    return place.read_text(encoding="utf-8", errors="replace").splitlines() if place.exists() else []


def cells(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The table without its head."""
    return [
        (
            line.title + {"memory": ": memory", "megabytes": ": memory"}.get(line.row.measure, ""),
            line.against,
            _measure(line, line.row.goal),
            "not said here" if line.found is None else _measure(line, line.found),
            "" if line.reached is None else f"{line.reached:.2f}",
            "" if line.found_cpu is None else _measure(line, line.found_cpu),
            _amount(line, line.ours),
            (_amount(line, line.theirs) + ("*" if line.scaled < 1 else "")) if line.theirs else "",
            f"{line.roof / line.ours:.0%}" if line.roof else "",
        )
        for line in lines
    ]


def screen(lines: Sequence[Line]) -> str:
    """The table in columns."""
    rows = [_HEAD, *cells(lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def markdown(lines: Sequence[Line]) -> list[str]:
    """The table for a page."""
    rows = [f"| {' | '.join(row)} |" for row in cells(lines)]
    return [f"| {' | '.join(_HEAD)} |", "|---|---|" + "--:|" * (len(_HEAD) - 2), *rows]


def remarks(lines: Sequence[Line], able: dict[str, float]) -> list[str]:
    """What stands below the table: equal answers, parts, cold starts, and how far a missed goal is from what can be done."""
    said, of = [], {}
    for line in lines:
        of.setdefault(line.title, []).append(line)
    for title, several in of.items():
        texts = list(dict.fromkeys(text for line in several for text in _remarks(line)))
        said.append(f"{title[0].upper()}{title[1:]}: {'; '.join(texts)}.")
    if any(line.scaled < 1 for line in lines):
        said.append("* timed on a part of the work and scaled.")
    said.append(
        f"The cores did {able['operations'] / 1e9:,.0f} G fused products a second in a matrix product and read "
        f"{able['bytes'] / 1e9:,.1f} GB/s during the same run; the roof is the time that our side would take at these rates."
    )
    return [*said, *(_missed(line) for line in lines if line.reached is not None and line.reached < 1)]


def _remarks(line: Line) -> list[str]:
    found = [line.says]
    if line.facts.get("picks"):
        found.append(
            f"{line.facts['positive']:,.0f} of {line.facts['picks']:,.0f} picks had a positive gain, "
            f"{line.facts['evaluations']:,.0f} gains were computed"
        )
    if line.scaled < 1:
        found.append(f"{line.against} was timed on {line.scaled:.2%} of the work")
    found += [f"{words}: {_seconds(seconds)}" for words, seconds in line.within.items()]
    if line.apart:
        rest = max(line.theirs - line.apart, 0.0) / line.ours
        found.append(f"every {line.against} compiles for {_seconds(line.apart)}; without that it would be {rest:.1f}×")
    if line.cold:
        found.append(f"ours compiles for {_seconds(line.cold)}, once on a machine, which is counted nowhere")
    if line.row.measure == "memory":
        kept = (line.theirs + line.given) / (line.ours + line.given)
        found.append(
            f"memory is what comes on top of inputs of {line.given / 1e6:,.0f} MB that both are given; with them it is "
            f"{kept:.1f}× less"
        )
    return found


def _missed(line: Line) -> str:
    text = f"Missed: {line.row.name}, {line.reached:.2f} of the goal."
    if not line.roof:
        return text
    return (
        f"{text} {line.why[0].upper()}{line.why[1:]}: at least {_seconds(line.roof)} on these cores. Ours took "
        f"{_seconds(line.ours)}, {line.roof / line.ours:.0%} of the roof."
    )


def _measure(line: Line, value: float) -> str:
    unit = {"speed": "×", "memory": "× less", "seconds": " s", "megabytes": " MB"}[line.row.measure]
    return f"{_number(value)}{unit}"


def _amount(line: Line, value: float) -> str:
    return _seconds(value) if line.timed else f"{_number(value / 1e6)} MB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{_number(value)} s" if value >= 1 else f"{_number(1e3 * value)} ms"
