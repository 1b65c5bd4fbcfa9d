"""Scores and costs of made-up subsets."""

from __future__ import annotations

import numpy as np

from nncift.data.rows import Example, Turn
from nncift.evaluation.bench import Cell
from nncift.evaluation.options import By, Control
from nncift.evaluation.payoff import Measured
from nncift.evaluation.subjects import Subject
from nncift.evaluation.summary import Scored


def scores(quality: float, draws: int, seed: int, items: int = 40) -> np.ndarray:
    """[draws, 2, items] around a quality, the draws 0.01 apart."""
    hard = np.random.default_rng(0).normal(0, 0.3, items)
    rng = np.random.default_rng(seed)
    return quality + hard + rng.normal(0, 0.01, (draws, 1, 1)) + rng.normal(0, 0.005, (draws, 2, items))


def scored(
    subset: str,
    values: np.ndarray,
    *,
    by: By = "lora",
    metric: str = "loss",
    size: int = 30,
    rows: float | None = None,
    control: Control | None = None,
    matched: str | None = None,
) -> Scored:
    """A subset whose rows are one fewer than it is compared at, where nothing else is said."""
    return Scored(
        subset=subset, control=control, matched=matched, by=by, metric=metric, scores=values, size=size,
        rows=size - 1 if rows is None else rows, seeds=values.shape[1],
    )  # fmt: skip


def example() -> list[Scored]:
    """Loss by lora and rouge1 by icl at 30 rows, loss also at 60; two controls of other sizes."""
    return [
        scored("initial", scores(2.0, 1, 1), size=0, rows=0, control="initial"),
        scored("random", scores(1.5, 6, 2), control="random"),
        scored("mine", scores(1.2, 1, 3)),
        scored("bad", scores(1.8, 1, 4)),
        scored("alike", scores(1.5, 1, 5)),
        scored("random", scores(1.4, 1, 6), size=60, control="random"),
        scored("mine", scores(1.1, 1, 7), size=60),
        scored("full", scores(1.0, 1, 8), size=500, control="full"),
        scored("random", scores(0.3, 6, 9), by="icl", metric="rouge1", control="random"),
        scored("mine", scores(0.6, 1, 10), by="icl", metric="rouge1"),
        scored("bad", scores(0.1, 1, 11), by="icl", metric="rouge1"),
    ]


def measured(
    name: str,
    rows: int,
    *flops: float,
    control: Control | None = None,
    by: By = "lora",
    cost: float | None = None,
    draws: bool = False,
) -> Measured:
    """One cell per number, seconds a thousandth of it; as many draws, or as many seeds of one."""
    made = tuple(Example(str(k), (Turn("assistant", "x"),), k, k, b"") for k in range(rows))
    cells = [Cell("", [], [], rows, 10 * rows, 3, {"flops": f, "seconds": f / 1000}, {}) for f in flops]
    chosen = None if cost is None else {"flops": cost, "seconds": 7.0, "cpu_seconds": 1.0}
    subject = Subject(name, control, rows, (made,), chosen)
    return Measured(subject, by, [[cell] for cell in cells] if draws else [cells])
