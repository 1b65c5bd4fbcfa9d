"""Random projection of gradients: a count sketch against a dense matrix of signs, on the same vectors.

    python benchmarks/projection.py [--p 1000000] [--r 8192] [--rows 8]

The peer never holds the matrix either: blocks of its columns are drawn anew from a seed for every batch and multiplied, as
projectors on a CPU do. Before a time is printed, the inner products of both must be off by what the Johnson-Lindenstrauss
lemma allows, 1/√r of the lengths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from nncift.tuning.projection import CountSketch

BLOCK = 64  # columns drawn at once
GOAL = 20.0


def dense(vectors: torch.Tensor, r: int) -> torch.Tensor:
    """The peer: blocks of a matrix of signs, drawn and multiplied."""
    blocks = []
    for start in range(0, r, BLOCK):
        draw = torch.Generator().manual_seed(start)
        signs = torch.randint(0, 2, (vectors.shape[1], min(BLOCK, r - start)), generator=draw, dtype=torch.int8)
        blocks.append(vectors @ (2.0 * signs - 1.0))
    return torch.cat(blocks, dim=1) / r**0.5


def sketch(vectors: torch.Tensor, projector: CountSketch) -> torch.Tensor:
    """Ours."""
    result = projector.zeros(len(vectors))
    projector.add(result, "all", vectors)
    return result


def error(projected: torch.Tensor, vectors: torch.Tensor) -> float:
    """Root mean square error of the inner products of different unit vectors."""
    different = np.triu_indices(len(vectors), 1)
    return float((projected @ projected.T - vectors @ vectors.T)[different].square().mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--p", type=int, default=1_000_000)
    parser.add_argument("--r", type=int, default=8192)
    parser.add_argument("--rows", type=int, default=16, help="rows at once; the published code projects 16")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(options.rows, options.p, generator=draw) * torch.rand(options.p, generator=draw) ** 4
    vectors = torch.nn.functional.normalize(vectors + 0.3 * vectors[:1], dim=1)
    started = time.perf_counter()
    projector = CountSketch({"all": options.p}, buckets=options.r, seed=0)
    drawn = time.perf_counter() - started
    level = options.r**-0.5
    sketch(vectors[:1], projector)
    seconds: dict[str, list[float]] = {"dense": [], "sketch": []}
    errors: dict[str, float] = {}
    for _ in range(options.repeats):
        for name in seconds:
            started = time.perf_counter()
            projected = dense(vectors, options.r) if name == "dense" else sketch(vectors, projector)
            seconds[name].append(time.perf_counter() - started)
            errors[name] = error(projected, vectors)
            assert 0 < errors[name] < 2 * level, f"inner products of {name} are off by {errors[name]}"
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "p": options.p,
        "r": options.r,
        "rows": options.rows,
        "threads": torch.get_num_threads(),
        "ms_per_row": {name: 1000 * value / options.rows for name, value in medians.items()},
        "ms_to_draw_the_sketch_once": 1000 * drawn,
        "error": errors,
        "johnson_lindenstrauss": level,
        "ratio": medians["dense"] / medians["sketch"],
        "goal": GOAL,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result["ratio"] < GOAL:
        raise SystemExit(
            f"the count sketch is {result['ratio']:.2f} times as fast as the peer; at least {GOAL} is required."
        )


if __name__ == "__main__":
    main()
