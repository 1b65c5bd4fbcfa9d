"""`make bench-memory`: what the plan says a run will hold in memory at most, beside what it held.

    python -m benchmarks.memory [--only NAME,NAME] [--folder DIR] [--write]

Five runs on generated rows, each in processes of its own and with an empty cache: `nncift select … --dry-run --json` says
`memory`, and the same command without `--dry-run` is measured, from starting Python to the report: the highest resident
memory of the process, which Linux keeps, or of one of its stages, each of which starts the count anew. Pages of mapped files
count. `--write` puts the figures of all five into docs/results/memory.json and the table into docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.watching import watch
from nncift.cachedir import MODELS, cache_folder
from nncift.version import __version__

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "docs" / "results" / "memory.json", ROOT / "docs" / "memory.md"
BEGIN, END = "<!-- make bench-memory -->", "<!-- end -->"
WITHIN = (0.7, 1.3)
"""Planned over measured: what is promised."""

TEXT = """the a of to in and is that for it as with on by this from at an are be or was one all can more time some would
which their what so up out if about who get when make like just know take people into year your good could them see other
than then now look only come over think also back after use two how our work first well way even new want because any these
give day most water river house number answer question small large write list name short long find explain"""
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Workload:
    """One run.

    Attributes:
        name: of it.
        words: what it is.
        pool, target: (rows, words a row) of each.
        width: numbers of a vector in files beside them; 0 where they are embedded.
        options: of `nncift select`; `{folder}` is where the files are.
        recorded: whether a file of influences of all pairs lies beside them.
    """

    name: str
    words: str
    pool: tuple[int, int]
    target: tuple[int, int]
    width: int
    options: tuple[str, ...]
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What came out, in bytes."""

    name: str
    words: str
    planned: int
    measured: int
    stage: str

    @property
    def ratio(self) -> float:
        """Planned over measured."""
        return self.planned / self.measured


FILES = ("--embedder", "{folder}/pool.npy,{folder}/target.npy")
WORKLOADS = (
    Workload(
        "similarity", "3,000 rows embedded with MiniLM, similarity to 300 targets", (3000, 40), (300, 40), 0,
        ("--influence", "similarity", "--embedder", "minilm"),
    ),
    Workload(
        "delift", "DELIFT with Gemma 3 270M, 2 % of 100 × 20 pairs", (100, 16), (20, 16), 0,
        ("--influence", "delift", "--model", "gemma-3-270m", "--embedder", "minilm", "--labels", "2%"),
    ),
    Workload(
        "less", "LESS with Gemma 3 270M, 100 rows forward and backward, 512 tokens at once", (100, 16), (20, 16), 0,
        ("--influence", "less", "--model", "gemma-3-270m", "--embedder", "minilm", "--batch-tokens", "512",
         "--option", "share=0.2", "--option", "epochs=1"),
    ),
    Workload(
        "vectors", "100,000 vectors of 384 numbers in a file, a stored kernel for 1,000 targets", (100_000, 20), (1000, 20),
        384, ("--influence", "similarity", *FILES, "--budget", "1000"),
    ),
    Workload(
        "disk", "300,000 rows that stay on disk, a Gaussian process over 1,000 recorded labels", (300_000, 20), (40, 20), 64,
        ("--influence", "recorded", "--option", "matrix={folder}/labels.npz", *FILES, "--labels", "1000", "--budget", "300"),
        recorded=True,
    ),
)  # fmt: skip


def write_inputs(workload: Workload, folder: Path) -> None:
    """Rows, and the vectors and influences that belong to them."""
    vectors = {}
    for seed, (role, (count, words)) in enumerate((("pool", workload.pool), ("target", workload.target))):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(words // 2, words + words // 2 + 1, count)
        with (folder / f"{role}.jsonl").open("w", encoding="utf-8") as stream:
            for k, length in enumerate(lengths.tolist()):
                text = " ".join(WORDS[word] for word in rng.integers(0, len(WORDS), length))
                row = {"id": f"{role}-{k:07d}", "prompt": f"Write about number {k}", "completion": text}
                stream.write(json.dumps(row) + "\n")
        if workload.width:
            vectors[role] = rng.standard_normal((count, workload.width), dtype=np.float32)
            np.save(folder / f"{role}.npy", vectors[role])
    if workload.recorded:
        ids = {
            f"{role}_ids": np.array([f"{role}-{k:07d}" for k in range(len(found))]) for role, found in vectors.items()
        }
        values = np.tanh(vectors["target"] @ vectors["pool"].T / 10)
        np.savez(folder / "labels.npz", allow_pickle=False, values=values, **ids)


def measure(workload: Workload, folder: Path) -> Measured:
    """Plans and does one run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_inputs(workload, folder)
    options = [option.format(folder=folder) for option in workload.options]
    command = [
        sys.executable,
        "-m",
        "nncift",
        "select",
        str(folder / "pool.jsonl"),
        "--target",
        str(folder / "target.jsonl"),
    ]
    command += [*options, "-o", str(folder / "run")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "NNCIFT_CACHE": str(folder / "cache")}
    (folder / "cache").mkdir()
    (cache_folder() / MODELS).mkdir(parents=True, exist_ok=True)
    (folder / "cache" / MODELS).symlink_to((cache_folder() / MODELS).resolve(), target_is_directory=True)
    told = subprocess.run(
        [*command, "--dry-run", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    planned = json.loads(told.stdout)["memory"]
    process = subprocess.Popen([*command, "--quiet"], env=environment, stdout=subprocess.DEVNULL)
    spent = watch(process)
    assert spent.status == 0, f"{command} ended with {spent.status}"
    stages = json.loads((folder / "run" / "stages.json").read_text(encoding="utf-8"))
    held = [int(stage["costs"]["peak_memory"]) for stage in stages.values()]
    most = max(spent.peak_bytes, *held)
    return Measured(workload.name, workload.words, int(planned["bytes"]), most, str(planned["stage"]))


def table(found: Sequence[Measured]) -> str:
    """As Markdown."""
    lines = ["| run | planned | measured | ratio |", "|---|--:|--:|--:|"]
    lines += [
        f"| {one.words} | {one.planned / 1e9:.2f} GB | {one.measured / 1e9:.2f} GB | {one.ratio:.2f} |" for one in found
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--folder", type=Path, help="where files and runs go, and stay; else a temporary folder")
    parser.add_argument(
        "--write", action="store_true", help="write docs/results/memory.json and the table in docs/memory.md"
    )
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [workload.name for workload in WORKLOADS]
    earlier = {one["name"]: Measured(**one) for one in read_results()["runs"]} if options.write and options.only else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        for workload in WORKLOADS:
            if workload.name in wanted:
                earlier[workload.name] = measure(workload, folder / workload.name)
                print(json.dumps(asdict(earlier[workload.name])), flush=True)
    found = [earlier[workload.name] for workload in WORKLOADS if workload.name in earlier]
    print(table(found))
    if options.write:
        body = {"nncift": __version__, "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"}
        RESULTS.write_text(
            json.dumps(body | {"runs": [asdict(one) for one in found]}, indent=2) + "\n", encoding="utf-8"
        )
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    sys.exit(0 if all(WITHIN[0] <= one.ratio <= WITHIN[1] for one in found) else 1)


def read_results() -> dict:
    """The figures that are kept."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"runs": []}


if __name__ == "__main__":
    main()
