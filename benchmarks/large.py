"""`make bench-large`: the subset of a million rows on one machine, from files to the run folder.

    python -m benchmarks.large [--sizes 10000,100000,1000000] [--estimators paper,gaussian-process] [--folder DIR]
        [--executor ray --workers 2 --parts 8] [--write docs/large.md]

Rows are generated: short instructions of a few hundred kinds, their 384-dimensional vectors around the centre of their kind,
in files beside them. A small run labels some thousand pairs of such rows with a planted influence and trains each estimator;
every size then selects 30 % of its rows for 1,000 targets with it, no label of its own, in a process of its own whose seconds
and peak memory are measured. The largest is killed once in its last stage and started again. What comes out is checked: as
many rows as asked for, each once, and a share of the planted kinds beside that of random rows.

With `--executor` every size is selected from once more by the workers of that executor, in `--parts` parts; what the subset
is worth is then set beside that of one process, and the largest worker's peak memory is that of the receipt. That is the
table of docs/cluster.md.

The growth exponent is the slope of the processor seconds between the smallest and the largest size, starting Python included.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.watching import Spent, watch
from nncift.version import __version__

D, KINDS, WANTED, TARGETS = 384, 300, 60, 1_000
BLOCK = 50_000
LABELS = {"paper": 60_000, "gaussian-process": 6_000}
GOAL_SECONDS, GOAL_BYTES, GOAL_EXPONENT = 900.0, 4e9, 1.15
GOAL_WORKER = 1.5e9

INFLUENCE = '''
"""A planted influence: rows of one kind help targets of that kind."""
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from nncift.influence.base import Direct, Traits


@dataclass(frozen=True, slots=True)
class Planted:
    """One where both rows are of one kind, else near 0. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="planted", pairwise=True, objective="facility-location", uses_target=True)

    def start(self, context):
        kinds = [[int(row.prompt.split()[1]) for row in rows] for rows in (context.targets, context.pool)]
        targets, pool = map(np.array, kinds)

        def values(i, j, on_progress):
            on_progress(len(i))
            near = np.abs(targets[i] - pool[j])
            return (np.exp(-near / 10) + 0.02 * np.sin(i * 7.0 + j)).astype(np.float32)

        return Direct(values)
'''


@dataclass(frozen=True, slots=True)
class Size:
    """One pool and what selecting from it took."""

    estimator: str
    rows: int
    chosen: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    wanted_share: float
    random_share: float
    killed: bool
    value: float
    executor: str = "serial"
    shards: int = 0
    worker_bytes: int = 0


def centres() -> np.ndarray:
    """Unit vectors of the kinds; neighbours are alike, so that a network can learn from some what holds for others."""
    rng = np.random.default_rng(7)
    steps = rng.standard_normal((KINDS, D)) * 0.35
    walk = np.cumsum(steps, axis=0) + rng.standard_normal(D)
    return walk / np.linalg.norm(walk, axis=1, keepdims=True)


def write_pool(folder: Path, name: str, kinds: np.ndarray, seed: int) -> tuple[Path, Path]:
    """Rows and their vectors, written in blocks."""
    rows, vectors = folder / f"{name}.jsonl", folder / f"{name}.npy"
    if rows.is_file() and vectors.is_file():
        return rows, vectors
    middle, rng = centres(), np.random.default_rng(seed)
    array = np.lib.format.open_memmap(vectors, mode="w+", dtype=np.float32, shape=(len(kinds), D))
    part = rows.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream:
        for first in range(0, len(kinds), BLOCK):
            some = kinds[first : first + BLOCK]
            noisy = middle[some] + rng.standard_normal((len(some), D)) * (0.5 / math.sqrt(D))
            array[first : first + len(some)] = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
            words = rng.integers(0, 9_999, size=(len(some), 40))
            for k, (kind, said) in enumerate(zip(some.tolist(), words.tolist(), strict=True), start=first):
                text = " ".join(f"w{word:04d}" for word in said)
                row = {"id": f"{name}-{k:08d}", "prompt": f"kind {kind} number {k}", "completion": text}
                stream.write(json.dumps(row) + "\n")
    array.flush()
    part.replace(rows)
    return rows, vectors


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "nncift", "select", *map(str, arguments), "--quiet"]


def trained(folder: Path, estimator: str, target: tuple[Path, Path], environment: dict[str, str]) -> Path:
    """The small run whose estimator is reused."""
    place = folder / f"trained-{estimator}"
    rng = np.random.default_rng(1)
    rows, vectors = write_pool(folder, "small", rng.integers(0, KINDS, 3_000), 1)
    subprocess.run(
        command(
            rows, "--target", target[0], "--embedder", f"{vectors},{target[1]}", "--influence", "planted:Planted",
            "--estimator", estimator, "--labels", LABELS.get(estimator, 6_000), "--budget", "10%", "-o", place,
        ),
        env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return place


def select(
    folder: Path,
    rows: int,
    target: tuple[Path, Path],
    run: Path,
    environment: dict[str, str],
    *,
    kill: bool,
    spread: tuple[object, ...] = (),
) -> Size:
    """Selects from one pool, killed once where that is asked for."""
    kinds = np.random.default_rng(rows).integers(0, KINDS, rows)
    pool, vectors = write_pool(folder, f"pool{rows}", kinds, rows)
    place = folder / f"run{rows}"
    shutil.rmtree(place, ignore_errors=True)
    arguments = command(
        pool, "--target", target[0], "--embedder", f"{vectors},{target[1]}", "--estimator", run, "--labels", "none",
        "--budget", "30%", "-o", place, *spread,
    )  # fmt: skip
    started = time.perf_counter()
    spent = [_kill_once(arguments, place, environment, rows / 400_000)] if kill else []
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)
    last = watch(process)
    assert last.status == 0, f"{arguments} ended with {last.status}"
    seconds = time.perf_counter() - started
    spent.append(last)
    with (place / "subset.jsonl").open(encoding="utf-8") as stream:
        chosen = [json.loads(line)["id"] for line in stream]
    assert len(set(chosen)) == len(chosen) == round(0.3 * rows), "not as many rows as were asked for, each once"
    assert (place / "done.json").is_file()
    with (place / "selection.jsonl").open(encoding="utf-8") as stream:
        value = math.fsum(json.loads(line)["gain"] for line in stream)
    told = json.loads((place / "stages.json").read_text(encoding="utf-8"))["select"]["facts"].get("shards", {})
    near = kinds < WANTED
    return Size(
        run.name.removeprefix("trained-"),
        rows,
        len(chosen),
        seconds,
        sum(one.cpu_seconds for one in spent),
        max(one.peak_bytes for one in spent),
        float(near[[int(name.rpartition("-")[2]) for name in chosen]].mean()),
        float(near.mean()),
        kill,
        value,
        told.get("executor", "serial"),
        told.get("shards", 0),
        told.get("peak_memory", 0),
    )


def _kill_once(arguments: list[str], place: Path, environment: dict[str, str], seconds: float) -> Spent:
    """Starts the run and kills it so many seconds after its vectors are laid out, while it works on the subset."""
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    watching = ThreadPoolExecutor(1).submit(watch, process)
    until = time.monotonic() + GOAL_SECONDS
    while time.monotonic() < until and not (place / "embeddings" / "columns.npy").is_file():
        time.sleep(0.2)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    spent = watching.result()
    assert not (place / "done.json").is_file(), "it was done before it could be killed"
    return spent


def page(sizes: list[Size], exponents: dict[str, float]) -> str:
    lines = [
        "# A million rows",
        "",
        "Written by `python -m benchmarks.large --write docs/large.md` (`make bench-large`).",
        "",
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, nncift {__version__}. "
        f"Rows with vectors of {D} numbers in files, {TARGETS:,} targets, a trained estimator, no label; 30 % are chosen by "
        "facility location. Peak memory counts the pages of mapped files.",
        "",
        "| estimator | rows | chosen | seconds | processor seconds | peak memory | wanted kinds | of random rows |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for size in sizes:
        again = " (killed once, resumed)" if size.killed else ""
        lines.append(
            f"| {size.estimator} | {size.rows:,} | {size.chosen:,} | {size.seconds:,.0f}{again} | {size.cpu_seconds:,.0f} | "
            f"{size.peak_bytes / 1e9:.2f} GB | {size.wanted_share:.0%} | {size.random_share:.0%} |"
        )
    grown = ", ".join(f"{name} {value:.2f}" for name, value in exponents.items())
    return "\n".join(
        [
            *lines,
            "",
            f"Growth exponent of the processor seconds from {min(size.rows for size in sizes):,} to "
            f"{max(size.rows for size in sizes):,} rows: {grown} (goal {GOAL_EXPONENT}); goals for a million: "
            f"{GOAL_SECONDS / 60:.0f} minutes, {GOAL_BYTES / 1e9:.0f} GB.",
            "",
        ]
    )


def cluster_page(sizes: list[Size], workers: int, parts: int) -> str:
    """The table of runs by one process and by workers."""
    lines = [
        f"| rows | by | shards | seconds | peak memory here | of the largest of {workers} workers | value of the subset |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    alone = {(size.estimator, size.rows): size.value for size in sizes if size.executor == "serial"}
    for size in sizes:
        far = size.executor != "serial"
        by = f"{size.executor}, {parts} parts" if far else "one process"
        worker = f"{size.worker_bytes / 1e9:.2f} GB" if far else ""
        share = size.value / alone[size.estimator, size.rows]
        lines.append(
            f"| {size.rows:,} | {size.estimator}, {by} | {size.shards or ''} | {size.seconds:,.0f} | "
            f"{size.peak_bytes / 1e9:.2f} GB | {worker} | {size.value:,.2f} ({share:.3%}) |"
        )
    return "\n".join(lines)


def growth(sizes: list[Size]) -> dict[str, float]:
    """By estimator the slope of the processor seconds between its smallest and its largest pool."""
    found = {}
    for name in dict.fromkeys(size.estimator for size in sizes):
        first, *_, last = sorted((size for size in sizes if size.estimator == name), key=lambda size: size.rows)
        found[name] = math.log(last.cpu_seconds / first.cpu_seconds) / math.log(last.rows / first.rows)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--estimators", default="paper,gaussian-process")
    parser.add_argument("--folder", type=Path, help="where rows and runs go, and stay; else a temporary folder")
    parser.add_argument("--executor", help="every size once more by the workers of ray, or of a cluster's address")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path, help="write the page here as Markdown")
    options = parser.parse_args()
    sizes = [int(word) for word in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "planted.py").write_text(INFLUENCE, encoding="utf-8")
        source = str(Path(__file__).parents[1] / "src")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, str(folder)])}
        target = write_pool(folder, "target", np.random.default_rng(0).integers(0, WANTED, TARGETS), 0)
        found = []
        for name in options.estimators.split(","):
            run = trained(folder, name, target, environment)
            for rows in sizes:
                kill = rows == sizes[-1] and len(sizes) > 1 and not options.executor
                found.append(select(folder, rows, target, run, environment, kill=kill))
                print(json.dumps(asdict(found[-1])), flush=True)
                if options.executor:
                    spread = ("--executor", options.executor, "--workers", options.workers, "--parts", options.parts)
                    found.append(select(folder, rows, target, run, environment, kill=False, spread=spread))
                    print(json.dumps(asdict(found[-1])), flush=True)
    if options.executor:
        print(cluster_page(found, options.workers, options.parts))
        worse = any(size.worker_bytes > GOAL_WORKER for size in found)
        alone = {(size.estimator, size.rows): size.value for size in found if size.executor == "serial"}
        lost = any(size.value < 0.99 * alone[size.estimator, size.rows] for size in found)
        sys.exit(1 if worse or lost else 0)
    exponents = growth(found) if len(sizes) > 1 else {}
    text = page(found, exponents)
    print(text)
    if options.json:
        options.json.write_text(json.dumps([asdict(size) for size in found], indent=2) + "\n", encoding="utf-8")
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    large = [size for size in found if size.rows >= 1_000_000]
    missed = any(size.seconds > GOAL_SECONDS or size.peak_bytes > GOAL_BYTES for size in large)
    sys.exit(1 if missed or (large and max(exponents.values(), default=0.0) > GOAL_EXPONENT) else 0)


if __name__ == "__main__":
    main()
