"""The cost model of `docs/scaling.md`: what 10⁴ to 10⁸ candidates take, by arithmetic, and how well that holds where measured.

    python -m benchmarks.scaling measure [--sizes 1000,10000,100000,1000000] [--folder DIR]    # docs/results/scaling.json
    python -m benchmarks.scaling write                                                        # the tables of docs/scaling.md

Measured is choosing: rows and vectors in files, an estimator trained before, no label; processor seconds and peak memory of
the whole process. The model of the seconds is a constant and a share per row, fitted on all sizes but the largest, and held
against that one; memory of larger pools is the slope to the largest that was measured, where kernels are no longer stored.
Counted, by the package's own functions, are labels and language-model calls. Assumed, and named in the page, are tokens a row
and what a GPU does in a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import large
from nncift.estimator.schedule import Schedule
from nncift.influence.base import Asked, Calls
from nncift.influence.delift import Delift
from nncift.influence.less import Less

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "docs" / "results" / "scaling.json", ROOT / "docs" / "scaling.md"
ESTIMATOR = "gaussian-process"

TARGETS = 1_000
WIDTH = 1_024  # of the vectors of the default encoder on a GPU
TOKENS = 300  # a row
LM_WEIGHTS, ENCODER_WEIGHTS = 7e9, 335e6
GPU = 312e12 * 0.4  # bf16 operations a second: an A100's peak, and the share of it that inference reaches
ROW_BYTES = 100  # of a row that stays in its file
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
WORKERS = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Line:
    """A constant and a share per row."""

    constant: float
    per_row: float

    @classmethod
    def through(cls, rows: list[int], values: list[float]) -> Line:
        """The line of least relative error, neither part below 0."""
        n, y = np.array(rows, dtype=float), np.array(values)
        columns = np.stack([1 / y, n / y], axis=1)
        found = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)[0]
        if found[0] < 0:
            found = np.array([0.0, (n / y).sum() / ((n / y) ** 2).sum()])
        return cls(float(found[0]), float(found[1]))

    def at(self, rows: float) -> float:
        """The value for so many rows."""
        return self.constant + self.per_row * rows


def fitted(sizes: list[dict[str, float]]) -> Line:
    """Processor seconds, fitted on all sizes but the largest."""
    small = sorted(sizes, key=lambda size: size["rows"])[:-1]
    return Line.through([int(size["rows"]) for size in small], [size["cpu_seconds"] for size in small])


def sloped(sizes: list[dict[str, float]]) -> Line:
    """Peak bytes from the smallest to the largest size."""
    low, *_, high = sorted(sizes, key=lambda size: size["rows"])
    slope = (high["peak_bytes"] - low["peak_bytes"]) / (high["rows"] - low["rows"])
    return Line(low["peak_bytes"] - slope * low["rows"], slope)


def labelling(n: int) -> tuple[int, Calls, Calls]:
    """Labels that `--labels auto` asks for at most, the calls of DELIFT for them, and those of LESS for every row."""
    rounds = Schedule.auto(TARGETS, n)
    labels = TARGETS * n if rounds is None else rounds.most
    return (
        labels,
        Delift().calls(Asked(TARGETS, n, labels, n)),
        Less().calls(Asked(TARGETS, n, TARGETS * n, n)),
    )


def gpu_hours(forwards: float, backwards: float = 0.0, *, weights: float, tokens: float = TOKENS) -> float:
    """Two operations per weight and token forward; a backward pass through frozen weights takes as many."""
    return 2 * weights * tokens * (forwards + backwards) / GPU / 3600


def checked(sizes: list[dict[str, float]]) -> list[str]:
    """The table of what was measured beside what the model says."""
    seconds, largest = fitted(sizes), max(size["rows"] for size in sizes)
    told = [
        "| candidates | processor seconds | model | ratio | in the fit | peak memory |",
        "|--:|--:|--:|--:|---|--:|",
    ]
    for size in sorted(sizes, key=lambda size: size["rows"]):
        n, taken = size["rows"], size["cpu_seconds"]
        told.append(
            f"| {n:,} | {taken:,.1f} | {seconds.at(n):,.1f} | {taken / seconds.at(n):.2f} | "
            f"{'no' if n == largest else 'yes'} | {size['peak_bytes'] / 1e9:.2f} GB |"
        )
    return told


def calls_table() -> list[str]:
    """Labels, calls and GPU-hours by size."""
    told = [
        "| candidates | vectors | embedding | DELIFT: labels at most | forwards | GPU-hours | every pair "
        "| LESS: passes each way | GPU-hours |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n in SIZES:
        labels, delift, less = labelling(n)
        told.append(
            f"| {n:,} | {_bytes(4 * WIDTH * n)} | {_hours(gpu_hours(n, weights=ENCODER_WEIGHTS))} | {labels:,} | "
            f"{delift.forwards:,} | {_hours(gpu_hours(delift.forwards, weights=LM_WEIGHTS, tokens=2 * TOKENS))} | "
            f"{_hours(gpu_hours(TARGETS * n, weights=LM_WEIGHTS, tokens=2 * TOKENS))} | {less.forwards:,} | "
            f"{_hours(gpu_hours(less.forwards, less.backwards, weights=LM_WEIGHTS))} |"
        )
    return told


def workers_table(sizes: list[dict[str, float]]) -> list[str]:
    """Choosing 1 % in as many parts as there are workers."""
    seconds, peaks = fitted(sizes), sloped(sizes)
    told = [
        "| candidates | workers | seconds of a part | of the parts' picks together | bytes to a worker | bytes back "
        "| memory of a worker | of the head |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for n in SIZES:
        for workers in WORKERS:
            part, budget = n / workers, n // 100
            together = 0.0 if workers == 1 else seconds.per_row * budget * workers
            sent = 0 if workers == 1 else 4 * WIDTH * part
            told.append(
                f"| {n:,} | {workers} | {seconds.at(part):,.0f} | {together:,.0f} | {_bytes(sent)} | "
                f"{_bytes(8 * budget * workers * (workers > 1))} | {_bytes(peaks.at(part))} | "
                f"{_bytes(peaks.constant + ROW_BYTES * n)} |"
            )
    return told


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB" if count else "0"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def assumptions(machine: str) -> list[str]:
    """What is measured, and what is taken for granted."""
    return [
        f"Measured on {machine}: {TARGETS:,} targets, vectors of {large.D} numbers in files, 30 % chosen by facility location "
        f"from an estimator (`{ESTIMATOR}`) trained before. Assumed: {TOKENS} tokens a row, a language model of "
        f"{LM_WEIGHTS / 1e9:.0f} thousand million weights and an encoder of {ENCODER_WEIGHTS / 1e6:.0f} million ({WIDTH:,} "
        f"numbers a vector), two operations per weight and token each way, {GPU / 1e12:.0f} TFLOP/s of a GPU (40 % of an "
        f"A100's bf16 peak), {ROW_BYTES} bytes of memory for a row that stays in its file.",
    ]


def blocks(record: dict) -> dict[str, list[str]]:
    """The generated parts of the page by name."""
    return {
        "assumptions": assumptions(record["machine"]),
        "checked": checked(record["sizes"]),
        "calls": calls_table(),
        "workers": workers_table(record["sizes"]),
    }


def filled(text: str, record: dict) -> str:
    """The page with its generated parts made anew."""
    for name, told in blocks(record).items():
        head, begin, rest = text.partition(f"<!-- scaling: {name} -->\n")
        assert begin, f"the page has no part {name}"
        _, end, tail = rest.partition("<!-- end -->")
        text = "".join([head, begin, "\n".join(told), "\n", end, tail])
    return text


def measure(options: argparse.Namespace) -> None:
    """Runs every size and keeps what it took."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "planted.py").write_text(large.INFLUENCE, encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(folder)])}
        kinds = np.random.default_rng(0).integers(0, large.WANTED, TARGETS)
        target = large.write_pool(folder, "target", kinds, 0)
        run = large.trained(folder, ESTIMATOR, target, environment)
        sizes = []
        for rows in (int(word) for word in options.sizes.split(",")):
            sizes.append(asdict(large.select(folder, rows, target, run, environment, kill=False)))
            print(json.dumps(sizes[-1]), flush=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    RECORD.write_text(json.dumps({"machine": machine, "sizes": sizes}, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measures, or writes the page from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "write"))
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--folder", type=Path, help="where rows and runs go, and stay; else a temporary folder")
    options = parser.parse_args()
    if options.what == "measure":
        measure(options)
        return
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), record), encoding="utf-8")
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
