"""What the cores can do, by two tiny probes: arithmetic by a matrix product that stays in the caches, and reading."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_SIDE, _READ, _REPEATS = 1024, 1 << 26, 9


def probe(threads: int) -> dict[str, float]:
    """Float32 lanes through fused products, and bytes read from memory, both per second."""
    torch.set_num_threads(threads)
    a, b, long = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE), torch.ones(_READ)
    out = torch.empty(_SIDE, _SIDE)
    return {
        "operations": _SIDE**3 / _best(lambda: torch.mm(a, b, out=out)),
        "bytes": 4 * _READ / _best(long.sum),
    }


def _best(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)  # what the cores can do, not what others left of them
