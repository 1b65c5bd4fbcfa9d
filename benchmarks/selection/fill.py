"""Filling a kernel from embeddings: projections and tiles, against one forward pass per pair, or per batch of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy import ndarray

from benchmarks.selection.data import HIDDEN, embeddings, kernel, start_network
from benchmarks.selection.workload import Answer, Data, Facts, Run, Side, Size, Work, Workload
from nncift.estimator.network import InfluenceNetwork

BATCH = 4096
LOOP, BATCHED = 2_000, 16 * BATCH


def _prepare(size: Size) -> Mapping[str, ndarray]:
    n, d = size["n"], size["d"]
    return {"pool": embeddings(n, d, "pool"), "target": embeddings(n, d, "target"), **start_network(d)}


def _ours(data: Data, size: Size, threads: int, *, projected: bool = False) -> Run:
    pool, target, second, bias = data["pool"], data["target"], data["second"], data["second_bias"]
    network = InfluenceNetwork(size["d"], (HIDDEN,), generator=torch.Generator())
    network.layers[0].load_state_dict({"weight": _tensor(data["first"]), "bias": _tensor(data["first_bias"])})

    def project() -> tuple[ndarray, ndarray]:
        return network.project_pool(pool), network.project_target(target)

    before = project() if projected else None

    def run() -> Answer:
        return Answer(kernel(*(before or project()), second, bias).fill(threads))

    return run


def _torch(data: Data, size: Size, threads: int, *, batched: bool) -> Run:
    torch.set_num_threads(threads)
    layers = torch.nn.Linear(2 * size["d"] + 1, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 1)
    network = torch.nn.Sequential(*layers)
    state = {"0.weight": data["first"], "0.bias": data["first_bias"]}
    state |= {"2.weight": data["second"][None, :], "2.bias": data["second_bias"]}
    network.load_state_dict({name: _tensor(array) for name, array in state.items()})
    pool, target = _tensor(data["pool"]), _tensor(data["target"])
    i, j = pairs(size, BATCHED if batched else LOOP)

    def one_by_one() -> Answer:
        separator, out = torch.zeros(1), []
        with torch.no_grad():
            for row, candidate in zip(i.tolist(), j.tolist(), strict=True):
                out.append(network(torch.cat([pool[candidate], separator, target[row]])).item())
        return Answer(np.array(out, dtype=np.float32))

    def in_batches() -> Answer:
        out = []
        with torch.no_grad():
            for first in range(0, len(i), BATCH):
                row, candidate = (_tensor(x[first : first + BATCH]) for x in (i, j))
                rows = torch.cat([pool[candidate], torch.zeros(len(row), 1), target[row]], dim=1)
                out.append(network(rows)[:, 0])
        return Answer(torch.cat(out).numpy())

    return in_batches if batched else one_by_one


def _tensor(array: ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def pairs(size: Size, count: int) -> tuple[ndarray, ndarray]:
    """The pairs that a peer is timed on."""
    rng = np.random.default_rng(0)
    n, count = size["n"], min(count, size["n"] ** 2)
    return rng.integers(0, n, count), rng.integers(0, n, count)


def _share(count: int, size: Size) -> float:
    return min(count, size["n"] ** 2) / size["n"] ** 2


def _agree(data: Data, size: Size, answers: Mapping[str, Answer]) -> str:
    values, worst = answers["ours"].values, 0.0
    for name, count in (("loop", LOOP), ("batches", BATCHED)):
        if name in answers:
            i, j = pairs(size, count)
            worst = max(worst, float(np.abs(values[j, i] - answers[name].values).max()))
    assert worst <= 1e-6 * np.abs(values).max(), f"entries differ by {worst}"
    return f"entries differ by at most {worst:.0e}, the largest being {np.abs(values).max():.2f}"


def _work(size: Size, facts: Facts) -> Work:
    n, d = size["n"], size["d"]
    return Work(
        operations=2.0 * HIDDEN * n * n + 2.0 * n * d * HIDDEN,
        bytes=4.0 * n * n + 8.0 * n * d,
        words=f"a comparison and a fused product for each of {HIDDEN} units and {n * n:,} pairs, and the projections",
    )


FILL = Workload(
    title="fill {n:,} × {n:,} influences, d = {d:,}",
    size={"n": 2000, "d": 1024},
    tiny={"n": 30, "d": 12},
    within=("tiles",),
    prepare=_prepare,
    sides={
        "ours": Side("projections and tiles", _ours),
        "tiles": Side("tiles alone, rows projected before", partial(_ours, projected=True)),
        "loop": Side("torch, pair by pair", partial(_torch, batched=False), share=partial(_share, LOOP)),
        "batches": Side(f"torch, batches of {BATCH:,}", partial(_torch, batched=True), share=partial(_share, BATCHED)),
    },
    agree=_agree,
    work=_work,
    holds=lambda size: 8.0 * size["n"] * size["d"],
)
