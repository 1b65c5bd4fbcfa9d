"""`make bench`: selection side by side with its peers; `make bench-check`: whether half of every goal is reached.

    python -m benchmarks.selection [--only ROW …] [--threads 2] [--json out.json] [--write docs/selection-speed.md]
    python -m benchmarks.selection --check

Every row asserts equal answers before anything is timed; both sides run in processes of their own, on the same cores, with
the same number of threads; a time is the median of five runs behind a first one. The check takes one thread and compares
CPU seconds, so that it can run where others work too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.selection.measuring import Line, measure
from benchmarks.selection.peers import PACKAGES, refuse_missing
from benchmarks.selection.rows import ROWS, Row
from benchmarks.selection.running import ROOT, Bench
from benchmarks.selection.table import machine, markdown, remarks, screen
from nncift.errors import NnciftError
from nncift.kernel.compiled import cores

OUT = ROOT / "benchmarks" / "out"
ONCE_IN_A_CHECK = ("matrix-free",)
COMMAND = "python -m benchmarks.selection --write docs/selection-speed.md"


def main() -> None:
    options = _options()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    try:
        refuse_missing(sorted({row.peer for row in rows if row.peer in PACKAGES}))
    except NnciftError as error:
        raise SystemExit(str(error)) from error
    threads = options.threads or (1 if options.check else cores())
    with tempfile.TemporaryDirectory() as folder:
        once = ONCE_IN_A_CHECK if options.check else ()
        bench = Bench(Path(folder), threads, options.repeats, once, options.tiny)
        lines = [_measured(row, rows, bench, whole=not options.check) for row in rows]
        able = bench.probe()
    record = {"machine": machine(threads, able), "repeats": options.repeats, "rows": [line.record() for line in lines]}
    out = options.json or OUT / ("bench-check.json" if options.check else "bench.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if options.write:
        options.write.write_text(page(lines, record["machine"]), encoding="utf-8")
    if options.check:
        raise SystemExit(checked(lines))
    print(screen(lines), *remarks(lines, able), sep="\n")
    met = sum(line.reached is not None and line.reached >= 1 for line in lines)
    print(f"{met} of {len(lines)} goals reached on {threads} threads: {out}")


def _measured(row: Row, rows: list[Row], bench: Bench, *, whole: bool) -> Line:
    print(f"measuring {row.name} …", flush=True)
    peers = {other.peer for other in rows if other.workload == row.workload and other.peer}
    return measure(row, bench, peers=peers, whole=whole)


def checked(lines: list[Line]) -> int:
    """Prints every row with the share of half its goal that was reached, the worst last; 1 where one falls below."""
    held = [line for line in lines if line.reached_of_check is not None]
    for line in lines:
        if line.reached_of_check is None:
            print(f"skipped  {line.row.name}: this system does not say how much memory a process took")
    held.sort(key=lambda line: -(line.reached_of_check or 0.0))
    for line in held:
        reached = line.reached_of_check or 0.0
        found = line.found_cpu if line.timed else line.found
        sense = "at most" if line.row.limit else "at least"
        asked = line.row.goal * 2 if line.row.limit else line.row.goal / 2
        print(
            f"{'passed' if reached >= 1 else 'FAILED':<8} {line.row.name}: {line.row.measure} {found:,.3g}, "
            f"{sense} {asked:,.3g} asked, {reached:.2f} of it"
        )
    return int(any((line.reached_of_check or 0.0) < 1 for line in held))


def page(lines: list[Line], where: dict[str, Any]) -> str:
    """The results as Markdown."""
    packages = ", ".join(
        f"{name} {where[name]}" for name in ("numpy", "numba", "torch", "submodlib-py", "apricot-select")
    )
    return "\n".join(
        [
            "# How fast selection is",
            "",
            f"Written by `{COMMAND}` (`make bench`). Equal answers are asserted before anything is timed; both sides run in",
            "processes of their own, on the same cores with the same number of threads, and a time is the median of five",
            "runs behind a first one. The ratio is by wall clock, beside it by CPU time.",
            "",
            f"Machine: {where['processor']}, {where['threads']} threads on {where['cores']} cores; Python "
            f"{where['python']}, {packages}, nncift {where['nncift']}.",
            "",
            *markdown(lines),
            "",
            *[f"- {text}" for text in remarks(lines, where["able"])],
            "",
            "`make bench-check` asks for half of each goal, in CPU seconds on one thread, and fails where a row falls below.",
            "Seconds and memory of each route by the size of the pool: [routes](routes.md). The language model's side of a",
            "run: [benchmarks](benchmarks.md).",
            "",
        ]
    )  # fmt: skip


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="ask for half of each goal, on one thread; exit 1 below")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[row.name for row in ROWS], help="some rows")
    parser.add_argument("--threads", type=int, default=0, help="of both sides; 0 for all cores, for one in a check")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side behind the first")
    parser.add_argument("--tiny", action="store_true", help="sizes that show that it works, and nothing else")
    parser.add_argument("--json", type=Path, help="the numbers; benchmarks/out/ unless given")
    parser.add_argument("--write", type=Path, help="the page")
    return parser.parse_args()


if __name__ == "__main__":
    main()
