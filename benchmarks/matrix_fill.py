"""How fast the pairwise network fills a kernel, and greedy ranks it, against the plain ways of doing both.

    python benchmarks/matrix_fill.py [--n 3000 --m 1000 --json out.json]

Equal results are asserted before anything is timed. The two plain fills are timed on a sample of pairs, at full width,
and reported as pairs per second; their time for the whole kernel is extrapolated and marked so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from nncift.kernel.factorised import FactorisedKernel
from nncift.objective.base import Kernels
from nncift.objective.coverage import FacilityLocation
from nncift.objective.greedy import greedy

DIMENSION, HIDDEN, BATCH, REPEATS = 1024, 100, 4096, 5
LOOP_PAIRS, BATCHED_PAIRS = 2_000, 16 * BATCH


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: the median of five runs."""

    path: str
    threads: int
    pairs: int
    seconds: float
    rate: float
    whole_kernel_seconds: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """Unit-norm embeddings of both sides and a network of the published shape."""

    pool: torch.Tensor
    target: torch.Tensor
    network: torch.nn.Sequential

    @classmethod
    def make(cls, n: int, m: int) -> Setting:
        generator = torch.Generator().manual_seed(0)
        pool, target = (torch.randn(rows, DIMENSION, generator=generator) for rows in (n, m))
        torch.manual_seed(0)
        layers = torch.nn.Linear(2 * DIMENSION + 1, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1)
        normal = torch.nn.functional.normalize
        return cls(normal(pool), normal(target), torch.nn.Sequential(*layers))

    def factorise(self) -> FactorisedKernel:
        """Projects every row once."""
        first, second = self.network[0], self.network[2]
        assert isinstance(first, torch.nn.Linear) and isinstance(second, torch.nn.Linear)
        weights = first.weight.detach()
        return FactorisedKernel(
            (self.pool @ weights[:, :DIMENSION].T).numpy(),
            (self.target @ weights[:, DIMENSION + 1 :].T + first.bias.detach()).numpy(),
            second.weight.detach()[0].numpy(),
            second.bias.item(),
        )

    def one_by_one(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """One concatenation and one forward pass per pair."""
        separator = torch.zeros(1)
        out = []
        with torch.no_grad():
            for target, candidate in zip(i.tolist(), j.tolist(), strict=True):
                pair = torch.cat([self.pool[candidate], separator, self.target[target]])
                out.append(self.network(pair).item())
        return np.array(out, np.float32)

    def batched(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """One concatenation and one forward pass per 4,096 pairs."""
        out = []
        with torch.no_grad():
            for first in range(0, len(i), BATCH):
                target, candidate = (torch.from_numpy(x[first : first + BATCH]) for x in (i, j))
                separator = torch.zeros(len(target), 1)
                pairs = torch.cat([self.pool[candidate], separator, self.target[target]], dim=1)
                out.append(self.network(pairs)[:, 0])
        return torch.cat(out).numpy()


def median_seconds(run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def cold_compile_seconds() -> float:
    """The first call in a fresh process that finds no compiled code on disk."""
    code = (
        "import time, numpy as np; from nncift.kernel.factorised import FactorisedKernel\n"
        "one = np.ones((1, 1), np.float32); start = time.perf_counter()\n"
        "FactorisedKernel(one, one, one[0], 0.0).fill(); print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def fill_lines(setting: Setting, threads: list[int]) -> list[Line]:
    """The table of fills, equal results asserted first."""
    kernel = setting.factorise()
    m, n = kernel.shape
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, m, BATCHED_PAIRS), rng.integers(0, n, BATCHED_PAIRS)
    values = kernel.fill()
    batched = setting.batched(i, j)
    np.testing.assert_allclose(values[j, i], batched, rtol=1e-5, atol=1e-6)
    few = slice(0, LOOP_PAIRS)
    np.testing.assert_allclose(values[j[few], i[few]], setting.one_by_one(i[few], j[few]), rtol=1e-5, atol=1e-6)

    def line(path: str, count: int, pairs: int, run: Callable[[], object]) -> Line:
        seconds = median_seconds(run)
        return Line(path, count, pairs, seconds, pairs / seconds, seconds * n * m / pairs, pairs < n * m)

    lines = []
    for count in threads:
        torch.set_num_threads(count)
        lines.append(line("pair by pair", count, LOOP_PAIRS, lambda: setting.one_by_one(i[few], j[few])))
        lines.append(line("batches of 4,096", count, BATCHED_PAIRS, lambda: setting.batched(i, j)))
        lines.append(line("tiles", count, n * m, lambda count=count: kernel.fill(count)))
        whole = line("projections + tiles", count, n * m, lambda count=count: setting.factorise().fill(count))
        lines.append(whole)
    return lines


def plain_greedy(values: np.ndarray, start: np.ndarray, budget: int) -> list[int]:
    """Recomputes every gain in every step, with NumPy over the whole kernel."""
    covered, chosen = start.copy(), []
    for _ in range(budget):
        gains = np.maximum(values - covered, 0.0).sum(axis=1)
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        covered = np.maximum(covered, values[chosen[-1]])
    return chosen


def greedy_record(n: int, m: int, budget: int) -> dict[str, float]:
    """Both greedies on a kernel in which every pick gains something; equal picks are asserted first."""
    rng = np.random.default_rng(1)
    kernels = Kernels.dense((rng.normal(size=(n, 16)) @ rng.normal(size=(16, m))).astype(np.float32))
    problem = FacilityLocation().problem(kernels)
    rest = kernels.means
    start = time.perf_counter()
    first = greedy(problem, budget, rest=rest, threads=1)
    compiling = time.perf_counter() - start
    start = time.perf_counter()
    plain = plain_greedy(problem.values, problem.start, budget)
    plain_seconds = time.perf_counter() - start
    assert first.positive == budget and first.order.tolist() == plain
    lazy_seconds = median_seconds(lambda: greedy(problem, budget, rest=rest, threads=1))
    return {
        "n": n,
        "m": m,
        "budget": budget,
        "first_call_seconds": compiling,
        "plain_seconds": plain_seconds,
        "lazy_seconds": lazy_seconds,
        "ratio": plain_seconds / lazy_seconds,
    }


def table(lines: list[Line]) -> str:
    rows = [f"{'path':<20}{'threads':>8}{'pairs/s':>14}{'× pair by pair':>16}{'× batches':>12}{'whole kernel':>18}"]
    for line in lines:
        loop, batches = (x.rate for x in lines if x.threads == line.threads and "tiles" not in x.path)
        whole = f"{line.whole_kernel_seconds:.3f} s{' (est.)' if line.extrapolated else ''}"
        ratios = f"{line.rate / loop:>16,.1f}{line.rate / batches:>12,.1f}"
        rows.append(f"{line.path:<20}{line.threads:>8}{line.rate:>14,.0f}{ratios}{whole:>18}")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=3000, help="pool rows")
    parser.add_argument("--m", type=int, default=1000, help="target rows")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    arguments = parser.parse_args()
    n, m = arguments.n, arguments.m
    compiling = cold_compile_seconds()
    lines = fill_lines(Setting.make(n, m), [1, 2])
    ranking = greedy_record(1000, 600, 100)
    print(f"{n:,} candidates × {m:,} targets, d = {DIMENSION}, h = {HIDDEN}; median of {REPEATS} runs; equal to 1e-5")
    print(table(lines))
    print(f"compiling the tiles, once per machine and not counted above: {compiling:.2f} s")
    print(
        f"facility location, {ranking['budget']} of {ranking['n']:,} on {ranking['m']} rows, equal picks asserted: "
        f"NumPy {ranking['plain_seconds']:.2f} s, lazy {ranking['lazy_seconds'] * 1e3:.2f} ms, {ranking['ratio']:.0f}×"
    )
    if arguments.json:
        machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
        fill = [asdict(line) for line in lines]
        record = {"machine": machine, "n": n, "m": m, "compile_seconds": compiling, "fill": fill, "greedy": ranking}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
