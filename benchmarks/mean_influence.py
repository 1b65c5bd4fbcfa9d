"""How fast every candidate gets its mean influence on all targets in linear time, against evaluating every pair.

    python benchmarks/mean_influence.py [--n 100000 --m 100000 --threads 1 --json out.json]

The peer is this package's own compiled fill, a block of targets at a time, each block reduced to sums. It is timed on some
candidates and all targets; its time for all candidates is extrapolated and marked so.

Equal results are asserted before anything is timed. The fill rounds every entry to float32, so a mean that nearly cancels
has lost relative digits there: the two are compared relative to the root mean square of the means. The candidates on which
they differ most, relative to the mean itself, are computed once more in float64, and each must equal the sums to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from nncift.kernel.factorised import FactorisedKernel

HIDDEN, SAMPLE, BLOCK, REPEATS = 100, 2_000, 512, 3
LATER, WORST = 1_000, 10
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: the median of three runs."""

    path: str
    candidates: int
    seconds: float
    all_seconds: float
    extrapolated: bool


def random_kernel(n: int, m: int) -> FactorisedKernel:
    """Projections as they are at the start of a training: about half of all units answer to a pair."""
    rng = np.random.default_rng(0)
    pool, target, weights = (rng.normal(size=s).astype(np.float32) for s in ((n, HIDDEN), (m, HIDDEN), (HIDDEN,)))
    return FactorisedKernel(pool, target, weights / np.float32(HIDDEN**0.5), 0.5)


def pair_by_pair(kernel: FactorisedKernel, threads: int) -> np.ndarray:
    """The means by filling every entry; a block of targets serves all candidates, so that it is laid out once."""
    m, n = kernel.shape
    sums = np.zeros(n)
    for first in range(0, m, BLOCK):
        block = replace(kernel, target=kernel.target[first : first + BLOCK])
        sums += block.fill(threads).sum(axis=1, dtype=np.float64)
    return sums / m


def in_float64(kernel: FactorisedKernel, j: int) -> float:
    """The mean of one candidate from the definition, without a rounding to float32."""
    total = 0.0
    for unit, weight in enumerate(kernel.weights.tolist()):
        total += weight * np.maximum(kernel.target[:, unit].astype(np.float64) + float(kernel.pool[j, unit]), 0.0).sum()
    return kernel.offset + kernel.scale * (total / len(kernel.target) + kernel.bias)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the linear-time means are from the others: `fill` relative to the size of the means, and at worst relative to
    the single mean (not asserted); `exact` relative to the single mean in float64, of the worst candidates."""

    fill: float
    fill_single: float
    exact: float

    @classmethod
    def asserted(cls, kernel: FactorisedKernel, means: np.ndarray, brute: np.ndarray) -> Difference:
        """Refuses unequal results."""
        single = np.abs(means - brute) / np.abs(brute)
        worst = np.argsort(-single)[:WORST]
        truth = np.array([in_float64(kernel, j) for j in worst.tolist()])
        found = cls(
            float(np.max(np.abs(means - brute)) / np.sqrt(np.mean(brute**2))),
            float(single.max()),
            float(np.max(np.abs(means[worst] / truth - 1))),
        )
        assert found.fill <= TOLERANCE and found.exact <= TOLERANCE, found
        return found


def median_seconds(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measured(kernel: FactorisedKernel, threads: int) -> tuple[list[Line], Difference]:
    """The lines of the table; equal results are asserted first."""
    n = kernel.shape[1]
    few = replace(kernel, pool=kernel.pool[:SAMPLE])
    count = len(few.pool)
    brute, means = pair_by_pair(few, threads), kernel.candidate_means(threads)
    difference = Difference.asserted(few, means[:count], brute)
    frozen = kernel.frozen_targets(threads)
    later = kernel.pool[-LATER:]
    assert frozen.means(later, threads=threads).tobytes() == means[-LATER:].tobytes()

    def line(path: str, candidates: int, run: Callable[[], object], *, scaled: bool = False) -> Line:
        seconds = median_seconds(run)
        return Line(path, candidates, seconds, seconds * n / candidates if scaled else seconds, scaled)

    return [
        line("every pair", count, lambda: pair_by_pair(few, threads), scaled=count < n),
        line("linear-time sums", n, lambda: kernel.candidate_means(threads)),
        line("  freezing targets", n, lambda: kernel.frozen_targets(threads)),
        line("  frozen targets", n, lambda: frozen.means(kernel.pool, threads=threads)),
        line("  later candidates", len(later), lambda: frozen.means(later, threads=threads)),
    ], difference


def table(lines: list[Line]) -> str:
    rows = [f"{'path':<20}{'candidates':>12}{'seconds':>12}{'all candidates':>20}{'× every pair':>14}"]
    for line in lines:
        whole = f"{line.all_seconds:.3f} s{' (est.)' if line.extrapolated else ''}"
        per_candidate = line.seconds / line.candidates
        ratio = f"{lines[0].seconds / lines[0].candidates / per_candidate:,.1f}"
        rows.append(f"{line.path:<20}{line.candidates:>12,}{line.seconds:>12.4f}{whole:>20}{ratio:>14}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="pool rows")
    parser.add_argument("--m", type=int, default=100_000, help="target rows")
    parser.add_argument("--threads", type=int, default=1, help="of both paths; 0 means all cores")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    n, m = arguments.n, arguments.m
    lines, difference = measured(random_kernel(n, m), arguments.threads)
    ratio = lines[0].all_seconds / lines[1].all_seconds
    print(
        f"{n:,} candidates on {m:,} targets, h = {HIDDEN}, {arguments.threads or os.cpu_count()} threads; median of "
        f"{REPEATS} runs"
    )
    print(table(lines))
    print(f"linear-time sums: {ratio:.0f} times as fast as every pair, of which {lines[0].candidates:,} were timed")
    print(
        f"equal to {difference.fill:.0e} of the means' root mean square (at worst {difference.fill_single:.0e} of a single "
        f"mean, where the float32 fill cancels); the {WORST} worst equal float64 to {difference.exact:.0e}"
    )
    if arguments.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "numpy": np.__version__}
        record = {"machine": machine, "n": n, "m": m, "h": HIDDEN, "threads": arguments.threads, "ratio": ratio}
        record |= {"difference": asdict(difference), "lines": [asdict(line) for line in lines]}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
