"""The mean influence of every candidate on all targets in linear time, against evaluating every pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from benchmarks.selection.coverage import DIMENSION
from benchmarks.selection.data import HIDDEN, embeddings, kernel, projections, start_network
from benchmarks.selection.workload import Answer, Data, Facts, Run, Side, Size, Work, Workload
from nncift.kernel.factorised import FactorisedKernel

SAMPLE, BLOCK, WORST, TOLERANCE = 2_000, 512, 10, 1e-6


def _prepare(size: Size) -> Mapping[str, ndarray]:
    network = start_network(DIMENSION)
    rows = {name: embeddings(size["n"], DIMENSION, name) for name in ("pool", "target")}
    return {**projections(network, **rows), "second": network["second"], "second_bias": network["second_bias"]}


def _kernel(data: Data) -> FactorisedKernel:
    return kernel(data["pool"], data["target"], data["second"], data["second_bias"])


def _ours(data: Data, size: Size, threads: int) -> Run:
    whole = _kernel(data)
    return lambda: Answer(whole.candidate_means(threads))


def _every_pair(data: Data, size: Size, threads: int) -> Run:
    """Our own compiled fill for some candidates; a block of targets serves all of them, and is reduced while it is hot."""
    whole = _kernel(data)
    few = replace(whole, pool=whole.pool[:SAMPLE])

    def run() -> Answer:
        m, sums = few.shape[0], np.zeros(len(few.pool))
        for first in range(0, m, BLOCK):
            block = replace(few, target=few.target[first : first + BLOCK])
            sums += block.fill(threads).sum(axis=1, dtype=np.float64)
        return Answer(sums / m)

    return run


def in_float64(whole: FactorisedKernel, j: int) -> float:
    """The mean of one candidate from the definition, without a rounding to float32."""
    sums = np.zeros(len(whole.target))
    for unit, weight in enumerate(whole.weights.tolist()):
        sums += weight * np.maximum(whole.target[:, unit].astype(np.float64) + float(whole.pool[j, unit]), 0.0)
    return whole.offset + whole.scale * (float(sums.mean()) + whole.bias)


def _agree(data: Data, size: Size, answers: Mapping[str, Answer]) -> str:
    """The fill rounds every entry to float32, so where the two differ most the definition in float64 has the last word."""
    ours, pairs = answers["ours"].values, answers["pairs"].values
    few: Float64[ndarray, " k"] = ours[: len(pairs)]
    apart = float(np.abs(few - pairs).max() / np.sqrt(np.mean(pairs**2)))
    worst = np.argsort(-np.abs(few / pairs - 1))[:WORST]
    whole = _kernel(data)
    exact = float(max(abs(few[j] / in_float64(whole, int(j)) - 1) for j in worst))
    assert apart <= TOLERANCE and exact <= TOLERANCE, (apart, exact)
    return f"relative error {exact:.0e} against float64 at worst, {apart:.0e} against the float32 fill"


def _work(size: Size, facts: Facts) -> Work:
    """A step of a search compares and moves; sorting takes as many steps."""
    n = size["n"]
    steps = HIDDEN * n * (int(n - 1).bit_length() + 1)
    return Work(
        operations=4.0 * steps,
        bytes=3 * 12.0 * HIDDEN * n,
        words=f"{HIDDEN} sorts and {HIDDEN * n:,} binary searches, {2 * steps / 1e9:.2f} G steps that wait for the caches",
    )


MEANS = Workload(
    title="mean influence of {n:,} on {n:,}, exact",
    size={"n": 100_000},
    tiny={"n": 600},
    prepare=_prepare,
    sides={
        "ours": Side("sorted units, sums by search", _ours),
        "pairs": Side("every pair, our own fill", _every_pair, share=lambda size: min(1.0, SAMPLE / size["n"])),
    },
    agree=_agree,
    work=_work,
    holds=lambda size: 8.0 * HIDDEN * size["n"],
)
