"""Facility location and its conditional gain on kernels in memory, against submodlib and apricot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray

from benchmarks.selection.data import embeddings, similarities
from benchmarks.selection.peers import peer
from benchmarks.selection.workload import Answer, Data, Facts, Run, Side, Size, Work, Workload
from nncift.objective.base import Kernels
from nncift.objective.coverage import ConditionalGain, FacilityLocation
from nncift.objective.greedy import Search, greedy
from nncift.objective.problem import CoverageProblem

DIMENSION, SHARE, TOLERANCE = 384, 0.3, 1e-6
_SILENT = {"optimizer": "LazyGreedy", "stopIfZeroGain": False, "stopIfNegativeGain": False, "show_progress": False}


def budget(size: Size) -> int:
    """How many are chosen."""
    return round(SHARE * size["n"])


def _square(size: Size) -> Mapping[str, ndarray]:
    rows = embeddings(size["n"], DIMENSION, "pool")
    upper = np.triu(similarities(rows, rows))
    return {"kernel": upper + np.triu(upper, 1).T}  # symmetric to the last bit, whatever the product did


def _with_existing(size: Size) -> Mapping[str, ndarray]:
    """Candidate-major for us, row-major for the peer: each gets its existing rows as it wants them."""
    rows, existing = (embeddings(count, DIMENSION, name) for name, count in (("pool", size["n"]), ("old", size["p"])))
    private = similarities(rows, existing)
    return {**_square(size), "private": private, "existing": private.T}


def _ours(data: Data, size: Size, threads: int, *, conditional: bool) -> Run:
    values, existing = data["kernel"], data["existing"] if conditional else None

    def run() -> Answer:
        kernels = replace(Kernels.dense(values, existing=existing), threads=threads)
        problem = _problem(kernels, conditional=conditional)
        found = greedy(problem, budget(size), rest=kernels.means, search=Search(threads=threads))
        facts = {"positive": found.positive, "evaluations": found.evaluations, "picks": len(found.order)}
        return Answer(found.order, float(found.gains.sum()), facts)

    return run


def _problem(kernels: Kernels, *, conditional: bool) -> CoverageProblem:
    """Influences count from 0, as the peers count them."""
    return (ConditionalGain() if conditional else FacilityLocation()).problem(kernels, floor=0.0)


def _submodlib(data: Data, size: Size, threads: int, *, conditional: bool) -> Run:
    library, n = peer("submodlib"), size["n"]
    values, private = data["kernel"], data["private"] if conditional else None

    def run() -> Answer:
        if private is None:
            function = library.FacilityLocationFunction(n=n, mode="dense", sijs=values, separate_rep=False)
        else:
            function = library.FacilityLocationConditionalGainFunction(
                n=n, num_privates=size["p"], privacyHardness=1.0, data_sijs=values, private_sijs=private
            )
        return _picked(function.maximize(budget=budget(size), **_SILENT))

    return run


def _picked(found: list[tuple[int, float]]) -> Answer:
    order, gains = zip(*found, strict=True)
    return Answer(np.array(order), float(np.sum(gains)), {"picks": len(order)})


def _apricot(data: Data, size: Size, threads: int) -> Run:
    return _fit(data["kernel"], budget(size))


def _apricot_compiles(data: Data, size: Size, threads: int) -> Run:
    """A fit of next to nothing takes as long as compiling does, which happens in every fit."""
    return _fit(np.eye(32), 2)


def _fit(values: ndarray, picks: int) -> Run:
    library = peer("apricot")

    def run() -> Answer:
        chooser: Any = library.FacilityLocationSelection(picks, metric="precomputed", optimizer="lazy")
        chooser.fit(values)
        return Answer(np.array(chooser.ranking), float(np.sum(chooser.gains)), {"picks": len(chooser.ranking)})

    return run


def _agree(data: Data, size: Size, answers: Mapping[str, Answer], *, conditional: bool) -> str:
    """Every side's picks have the same worth by one definition, in float64, and the sides count it the same."""
    kernels = Kernels.dense(data["kernel"], existing=data["existing"] if conditional else None)
    problem = _problem(kernels, conditional=conditional)
    worth = {name: problem.value(answer.values) for name, answer in answers.items()}
    for name, answer in answers.items():
        assert len(set(answer.values.tolist())) == budget(size), name
        assert abs(worth[name] / worth["ours"] - 1) <= TOLERANCE, worth
        assert abs(answer.total / worth[name] - 1) <= 10 * TOLERANCE, (name, answer.total, worth[name])
    common = min(
        len(np.intersect1d(answers["ours"].values, answer.values)) / budget(size) for answer in answers.values()
    )
    furthest = max(abs(value / worth["ours"] - 1) for value in worth.values())
    return f"objective {worth['ours']:.4f}, sides differ by {furthest:.0e} of it and share {common:.1%} of their picks"


def _work(size: Size, facts: Facts) -> Work:
    """A term of a gain is five operations in float64, so ten lanes; the surveys and the gains read every line they need."""
    n = size["n"]
    terms, surveyed = facts["evaluations"] * n, float(n * (n + size.get("p", 0)))
    return Work(
        operations=10.0 * terms,
        bytes=4.0 * (terms + surveyed),
        words=f"{facts['evaluations']:,.0f} gains of {n:,} terms and one walk over the kernels, read from memory",
    )


def _workload(title: str, size: Size, tiny: Size, *, conditional: bool) -> Workload:
    sides = {
        "ours": Side("lazy greedy", partial(_ours, conditional=conditional)),
        "submodlib": Side("submodlib LazyGreedy", partial(_submodlib, conditional=conditional)),
    }
    if not conditional:
        sides["apricot"] = Side("apricot lazy `fit`", _apricot, apart=_apricot_compiles)
    return Workload(
        title=title,
        size=size,
        tiny=tiny,
        prepare=_with_existing if conditional else _square,
        sides=sides,
        agree=partial(_agree, conditional=conditional),
        work=_work,
        holds=lambda size: 4.0 * size["n"] * (size["n"] + size.get("p", 0)),
    )


FACILITY = _workload("facility location, n = {n:,}, 30 %", {"n": 4000}, {"n": 70}, conditional=False)
CONDITIONAL = _workload(
    "FLCG, n = {n:,}, p = {p:,}, 30 %", {"n": 2000, "p": 2000}, {"n": 70, "p": 20}, conditional=True
)
