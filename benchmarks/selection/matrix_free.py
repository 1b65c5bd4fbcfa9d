"""The conditional gain over a network's kernel that is never stored."""

from __future__ import annotations

from collections.abc import Mapping

from numpy import ndarray

from benchmarks.selection.coverage import DIMENSION, budget
from benchmarks.selection.data import CLUSTERS, HIDDEN, embeddings, kernel, likeness_network, projections
from benchmarks.selection.workload import Answer, Data, Facts, Run, Side, Size, Work, Workload
from nncift.kernel.factorised import FactorisedKernel
from nncift.objective.base import Kernels
from nncift.objective.coverage import ConditionalGain
from nncift.objective.greedy import Search, greedy


def _prepare(size: Size) -> Mapping[str, ndarray]:
    """The existing rows come from half of the clusters, so that the other half is still to be covered."""
    network = likeness_network(DIMENSION)
    pool = embeddings(size["n"], DIMENSION, "pool")
    existing = embeddings(size["p"], DIMENSION, "old", clusters=CLUSTERS // 2)
    rows = projections(network, pool=pool, target=pool, existing=existing)
    return {**rows, "second": network["second"], "second_bias": network["second_bias"]}


def _kernels(data: Data) -> tuple[FactorisedKernel, FactorisedKernel]:
    second = data["second"], data["second_bias"]
    return kernel(data["pool"], data["target"], *second), kernel(data["existing"], data["target"], *second)


def _never_stored(data: Data, size: Size, threads: int) -> Run:
    new, old = _kernels(data)

    def run() -> Answer:
        return _choose(Kernels(new.lines(), existing=old.lines(), threads=threads), size, threads)

    return run


def _stored(data: Data, size: Size, threads: int) -> Run:
    new, old = _kernels(data)

    def run() -> Answer:
        return _choose(Kernels.dense(new.fill(threads), existing=old.fill(threads)), size, threads)

    return run


def _choose(kernels: Kernels, size: Size, threads: int) -> Answer:
    problem = ConditionalGain().problem(kernels)
    found = greedy(problem, budget(size), rest=kernels.means, search=Search(threads=threads))
    facts = {"positive": found.positive, "evaluations": found.evaluations, "picks": len(found.order)}
    return Answer(found.order, float(found.gains.sum()), facts)


def _agree(data: Data, size: Size, answers: Mapping[str, Answer]) -> str:
    """Asked at a size at which the kernel can be stored."""
    ours, stored = answers["ours"], answers["stored"]
    assert ours.values.tolist() == stored.values.tolist() and ours.total == stored.total
    assert ours.facts["positive"], "nothing was chosen for its gain: the workload is too easy"
    return f"at n = {size['n']:,} the picks and the objective are those of the stored kernel, bit by bit"


def _work(size: Size, facts: Facts) -> Work:
    n, p = size["n"], size["p"]
    pairs = n * (facts["evaluations"] + n + p)
    return Work(
        operations=(2.0 * HIDDEN + 10.0) * pairs,
        bytes=4.0 * HIDDEN * (n + p),
        words=f"{facts['evaluations']:,.0f} gains and a walk over both kernels are {pairs / 1e9:.2f} G pairs of {HIDDEN} "
        "units, three operations each",
    )


MATRIX_FREE = Workload(
    title="matrix-free FLCG, n = p = {n:,}, 30 %",
    size={"n": 20_000, "p": 20_000},
    tiny={"n": 90, "p": 40},
    agreed={"n": 1_500, "p": 1_000},
    judges=("stored",),
    prepare=_prepare,
    sides={"ours": Side("lazy greedy, lines computed", _never_stored), "stored": Side("stored kernel", _stored)},
    agree=_agree,
    work=_work,
    holds=lambda size: 4.0 * HIDDEN * (2 * size["n"] + size["p"]),
)
