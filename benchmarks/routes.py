"""What each way to choose costs, by the size of the pool: seconds, memory, and what is lost of the objective.

    python -m benchmarks.routes [--minutes 5] [--write docs/routes.md]

The pool is its own target: n × n influences of a network, of which 10 % of the rows are chosen by facility location, on
one thread. Every cell is a process of its own; memory is what comes on top of the projections. A cell that would take longer
than what is left of the time, or more than half of the memory, is not run: its seconds are extrapolated from the size
before, in brackets.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.selection.routes import ROUTES, SHARE
from benchmarks.selection.running import THREAD_VARIABLES
from benchmarks.selection.table import processor
from nncift.version import __version__

ROOT = Path(__file__).parents[1]

SIZES = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="about how long it may take in all")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows of the pool")
    parser.add_argument("--json", type=Path, help="the numbers")
    parser.add_argument("--write", type=Path, help="the page")
    options = parser.parse_args()
    found = measured(options.sizes, 60 * options.minutes)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text = page(options.sizes, found, options.minutes)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


def measured(sizes: list[int], seconds: float) -> dict[str, dict[int, dict[str, float]]]:
    """Every cell that there is time for, by route and size; the others have `expected` seconds only.

    Of one size the quick cells come first; time is that of the processor, which others' work does not stretch.
    """
    found: dict[str, dict[int, dict[str, float]]] = {route.name: {} for route in ROUTES}
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    start = _spent()
    for n in sizes:
        expected = [_expected(found[route.name], n, route.power) for route in ROUTES]
        for at in sorted(range(len(ROUTES)), key=expected.__getitem__):
            route, left = ROUTES[at], seconds - (_spent() - start)
            if (route.stored and 4.0 * n * n > half) or expected[at] > left:
                found[route.name][n] = {"expected": expected[at], "needs": 4.0 * n * n if route.stored else 0.0}
            else:
                found[route.name][n] = _child({"n": n, "route": at})
    return found


def _expected(known: dict[int, dict[str, float]], n: int, power: float) -> float:
    """Seconds at a size from those at the size before; 0 where there is none."""
    if not known:
        return 0.0
    before = max(known)
    return known[before].get("seconds", known[before].get("expected", 0.0)) * (n / before) ** power


def _spent() -> float:
    """CPU seconds of the processes that were started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _child(task: dict[str, int]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "cell.json", Path(folder) / "out.json"
        given.write_text(json.dumps({**task, "out": str(out)}), encoding="utf-8")
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
        command = [sys.executable, "-m", "benchmarks.selection.routes", str(given)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return json.loads(out.read_text(encoding="utf-8"))


def page(sizes: list[int], found: dict[str, dict[int, dict[str, float]]], minutes: float) -> str:
    """The tables and the advice as Markdown."""
    head = [f"| n | {' | '.join(route.name for route in ROUTES)} |", "|--:|" + "--:|" * len(ROUTES)]

    def table(show: Any) -> list[str]:
        return [*head, *(f"| {n:,} | {' | '.join(show(found[route.name][n], n) for route in ROUTES)} |" for n in sizes)]

    def seconds(of: dict[str, float], n: int) -> str:
        if "seconds" in of:
            return f"{of['seconds']:.3g} s" if of["seconds"] < 100 else f"{of['seconds']:,.0f} s"
        return f"(needs {of['needs'] / 1e9:,.0f} GB)" if of["needs"] else f"({of['expected']:,.0f} s)"

    def memory(of: dict[str, float], n: int) -> str:
        if of.get("peak") is None:
            return ""
        return f"{of['peak'] / 1e6:,.0f} MB" if of["peak"] >= 1e8 else f"{of['peak'] / 1e6:.3g} MB"

    def kept(of: dict[str, float], n: int) -> str:
        best = found[ROUTES[1].name][n]
        if "value" not in of or "value" not in best:
            return ""
        return f"{(of['value'] - of['random']) / (best['value'] - best['random']):.4f}"

    return "\n".join(
        [
            "# Routes: which way to choose, at which size",
            "",
            f"Written by `python -m benchmarks.routes --minutes {minutes:g} --write docs/routes.md` on {processor()}, one",
            f"thread, nncift {__version__}. The pool is its own target: n × n influences of a network of 100 units that every",
            f"row's projections (800 bytes) are there for; {SHARE:.0%} of the rows are chosen by facility location. In",
            "brackets: not run, extrapolated from the size before, or more than half of this machine's memory.",
            "",
            "## CPU seconds",
            *table(seconds),
            "",
            "## Memory on top of the projections",
            *table(memory),
            "",
            "## What is kept of the objective",
            "On all target rows: 1 is what exact greedy gains over as many random rows, 0 are these.",
            "",
            *table(kept),
            "",
            "## Which to take",
            *[f"- **{route.name}**: {route.advice}." for route in ROUTES],
            "",
            "With m target rows in place of n, multiply seconds by m / n: a pool of a million rows for 500 targets is quicker",
            "than 50,000 rows for themselves.",
            "",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
