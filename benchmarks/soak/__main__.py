"""`make soak`: faults while the program works, and what is left of its results.

    python -m benchmarks.soak [--seed 0] [--minutes 20] [--only WORDS [--into RECORD]] [--tiny] [--json out.json]
        [--write docs/reliability.md]

Every trial is a process of its own, made by a fork of one that has imported everything. It writes a record and, with
`--write`, the table of the page and `docs/results/soak.json`, which belong together. The exit code is 1 where a trial failed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.forking import STEADY

os.environ.update(STEADY)

from benchmarks.soak import change, damage, scarce, sudden
from benchmarks.soak.campaign import Campaign, Tally
from benchmarks.soak.real import real_work
from benchmarks.soak.table import failures, markdown, summary, write_page
from benchmarks.soak.works import ROOT, make_works, warm_up

OUT = ROOT / "benchmarks" / "out" / "soak.json"
RESULT = ROOT / "docs" / "results" / "soak.json"
MAIN = ("select", "evaluate", "experiment")
Step = tuple[str, Callable[[Campaign], None]]


def steps(*, tiny: bool) -> list[Step]:
    """Every line of the table, the dearest promises first; `tiny` is the part that tests run."""
    every: list[Step] = []

    def add(name: str, act: Callable[[Campaign, str, int], None], works: Sequence[str], count: int, least: int) -> None:
        """A line for each work, with so many trials, or `least` where it is tiny; none for 0."""
        for work in works:
            if number := least if tiny else count:
                every.append((f"{name} {work}", lambda c, w=work, n=number: act(c, w, n)))

    add("kill", sudden.killed_at_moments, MAIN, 25, 2)
    add("kill", sudden.killed_at_moments, ("shards",), 25, 2)
    add("kill", sudden.killed_in_time, MAIN, 25, 0)
    add("kill", sudden.killed_in_time, ("gemma",), 3, 0)
    add("kill", sudden.killed_at_moments, ("rounds", "less", "label"), 20, 0)
    add("kill", sudden.killed_again_and_again, ("select",), 8, 0)
    for name in sudden.SIGNALS:
        add("signal", lambda c, w, n, name=name: sudden.stopped(c, w, name, n), ("select",), 4, 1)
        add("signal", lambda c, w, n, name=name: sudden.stopped(c, w, name, n), ("evaluate", "experiment"), 4, 0)
    add("full", scarce.full_by_injection, ("select", "experiment"), 8, 1)
    add("full", scarce.full_by_injection, ("evaluate", "less"), 8, 0)
    add("full", scarce.full_file_system, ("select",), 4, 1)
    add("full", scarce.full_file_system, ("evaluate", "experiment"), 4, 0)
    add("full", scarce.files_too_large, ("select",), 2, 1)
    add("closed", lambda c, w, _: scarce.read_only(c, w), ("select",), 1, 1)
    add("closed", lambda c, w, _: scarce.read_only(c, w), ("evaluate", "experiment"), 1, 0)
    add("closed", scarce.second_process, ("select",), 2, 1)
    add("closed", scarce.second_process, ("evaluate", "experiment"), 2, 0)
    add("closed", lambda c, w, _: scarce.foreign_folder(c, w), MAIN, 1, 1)
    add("damage", damage.results, ("select",), 40, 4)
    add("damage", damage.blocks, ("select",), 30, 2)
    add("damage", damage.caches, ("select",), 16, 2)
    add("damage", damage.blocks, ("rounds",), 16, 0)
    add("damage", damage.caches, ("less",), 16, 0)
    add("damage", damage.results, ("label",), 4, 0)
    add("damage", damage.results, ("evaluate",), 24, 2)
    for pattern, also in (("cells/**/*", ""), ("select/**/*", "cells/evaluate/**/*.json"), ("data/**/*", "")):
        add(
            "damage",
            lambda c, w, n, p=pattern, a=also: damage.results(c, w, n, pattern=p, also=a),
            ("experiment",),
            12,
            1,
        )
    add("change", change.clocks, ("select",), 2, 1)
    add("change", change.newer_stages, ("select",), 5, 2)
    add("change", change.newer_stages, ("rounds",), 5, 0)
    add("change", change.newer_packages, ("select",), 2, 1)
    return every


def main() -> None:
    """Runs what was asked for."""
    options = _options()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        chosen = [(name, act) for name, act in steps(tiny=options.tiny) if options.only in name]
        used = {name.split()[1] for name, _ in chosen}
        works = {name: work for name, work in make_works(folder).items() if name in used}
        warm_up(works, folder)
        for path in folder.rglob("*"):  # some trials run as nobody, and weights are written for their owner alone
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        real = real_work(folder) if "gemma" in used else None
        campaign = Campaign(works | ({"gemma": real} if real else {}), folder, seed=options.seed, tell=_tell)
        for name, act in chosen:
            over = time.monotonic() - started > 60 * options.minutes
            work = name.split()[1]
            if over or (work == "gemma" and real is None):
                why = "no time was left" if over else "the extra `offline` is not installed"
                campaign.tallies.append(Tally(name.split()[0], work, skipped=why))
                continue
            act(campaign)
    record = {
        "seed": options.seed,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "machine": f"{os.cpu_count()} cores",
        "lines": [tally.record() for tally in campaign.tallies],
    }
    if options.into:
        record = renewed(json.loads(options.into.read_text(encoding="ascii")), record)
    text = json.dumps(record, indent=2, ensure_ascii=True) + "\n"
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(text, encoding="ascii")
    if options.write:
        RESULT.write_text(text, encoding="ascii")
        write_page(options.write, record)
    print(markdown(record), *failures(record["lines"]), sep="\n")
    print(f"{summary(record)} {options.json}")
    raise SystemExit(int(bool(failures(record["lines"]))))


def renewed(before: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """An earlier record of the same seed with the lines that were tried again in place of its own."""
    if before["seed"] != record["seed"]:
        raise SystemExit(f"the record is of seed {before['seed']}, not {record['seed']}")
    new = {(line["fault"], line["work"]): line for line in record["lines"]}
    lines = [new.get((line["fault"], line["work"]), line) for line in before["lines"]]
    return before | {"minutes": round(before["minutes"] + record["minutes"], 1), "lines": lines}


def _tell(tally: Tally) -> None:
    told = tally.skipped or f"{tally.survived} of {tally.tried} survived"
    print(f"{tally.fault}, {tally.work}: {told} ({tally.seconds:.0f} s)", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=19, help="after which no line is begun")
    parser.add_argument("--only", default="", help="lines with this in their kind and work, such as `kill select`")
    parser.add_argument("--tiny", action="store_true", help="the part that tests run")
    parser.add_argument("--into", type=Path, help="an earlier record, whose lines that are tried again are replaced")
    parser.add_argument("--json", type=Path, default=OUT)
    parser.add_argument("--write", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
