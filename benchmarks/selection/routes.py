"""One way to choose at one size, in a process of its own.

    python -m benchmarks.selection.routes CELL.json

`python -m benchmarks.routes` starts it for every cell of its table.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.selection.data import embeddings, kernel, likeness_network, projections
from benchmarks.selection.memory import peak_over_baseline
from nncift.kernel.factorised import FactorisedKernel
from nncift.objective.base import Kernels
from nncift.objective.coverage import FacilityLocation
from nncift.objective.greedy import Optimizer, Search, greedy
from nncift.objective.ranking import Ranking
from nncift.seeds import generator

SHARE, SAMPLED, PARTS, EPSILON, DIMENSION = 0.1, 2_000, 4, 0.1, 384


@dataclass(frozen=True, slots=True)
class Route:
    """One way to choose.

    Attributes:
        name: in the table.
        stored: whether the kernel is filled first.
        sampled: whether only some target rows, drawn by a seed, are looked at.
        optimizer, parts: of the search.
        power: how the time grows with n: n to this power.
        advice: when to take it.
    """

    name: str
    stored: bool
    sampled: bool
    optimizer: Optimizer
    parts: int
    power: float
    advice: str


ROUTES = (
    Route("stored, lazy", True, False, "lazy", 1, 2, "exact greedy; the quickest where 4 n m bytes of memory are there"),
    Route("computed, lazy", False, False, "lazy", 1, 2,
          "the same picks bit by bit, from the projections alone: the kernel is computed when it is asked for"),
    Route("computed, stochastic", False, False, "stochastic", 1, 2,
          f"the best of a random sample in each step (ε = {EPSILON}): a quarter or so of the time is saved, and some per "
          "cent of the gain lost"),
    Route("computed, threshold", False, False, "threshold", 1, 2,
          f"whatever reaches a falling threshold (ε = {EPSILON}), in few walks over the pool; lazy is usually as quick"),
    Route(f"computed, {PARTS} parts", False, False, "lazy", PARTS, 2,
          "each random part searched by itself, then their picks together: for as many threads as parts, no saving on one"),
    Route(f"{SAMPLED:,} target rows, lazy", False, True, "lazy", 1, 1,
          "what `--max-targets` does: time and memory grow with n alone; the way to go beyond 50,000 rows"),
)  # fmt: skip


def choose(whole: FactorisedKernel, route: Route, n: int) -> Ranking:
    """The first n rows of a pool as one route chooses among them."""
    targets = whole.target[:n]
    if route.sampled and n > SAMPLED:
        targets = whole.target[np.sort(generator(0, "targets").choice(n, SAMPLED, replace=False))]
    some = kernel(whole.pool[:n], targets, whole.weights, np.array([whole.bias], dtype=np.float32))
    kernels = Kernels.dense(some.fill(1)) if route.stored else Kernels(some.lines(), threads=1)
    search = Search(optimizer=route.optimizer, epsilon=EPSILON, parts=route.parts, threads=1)
    return greedy(FacilityLocation().problem(kernels), round(SHARE * n), rest=kernels.means, search=search)


def cell(route: Route, n: int) -> dict[str, float | None]:
    """CPU seconds, bytes over the projections, and the objective on all rows, beside that of as many random rows."""
    network, rows = likeness_network(DIMENSION), embeddings(n, DIMENSION, "pool")
    sides = projections(network, pool=rows, target=rows)
    whole = kernel(sides["pool"], sides["target"], network["second"], network["second_bias"])
    del rows
    choose(whole, route, min(n, 300))  # compiles
    picked: list[Ranking] = []
    start = time.process_time()
    peak = peak_over_baseline(lambda: picked.append(choose(whole, route, n)))
    seconds = time.process_time() - start
    problem = FacilityLocation().problem(Kernels(whole.lines(), threads=1), floor=0.0)
    random = generator(0, "random rows").choice(n, round(SHARE * n), replace=False)
    return {
        "seconds": seconds,
        "peak": peak,
        "value": problem.value(picked[0].order),
        "random": problem.value(random),
        "evaluations": picked[0].evaluations,
        "positive": picked[0].positive,
    }


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = cell(ROUTES[task["route"]], task["n"])
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
