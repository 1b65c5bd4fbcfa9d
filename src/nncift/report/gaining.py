"""The gain curve: what the subset is worth as it grows, beside random rows of the same number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.objective.functions import SetFunction
from nncift.objective.problem import CoverageProblem
from nncift.report.reading import Run
from nncift.seeds import generator

DRAWS = 5
_STEPS = 16  # sizes at which the function is computed
_POINTS = 300  # of the recorded curve
_ENTRIES = 200_000_000  # of the kernel that are looked at for it: about a second
_HEAVY = 200  # picks up to which a function that is no coverage is computed from its definition


@dataclass(frozen=True, slots=True)
class Growth:
    """Values of growing subsets.

    Attributes:
        sizes: int [s], rows.
        chosen: float64 [s], the objective of the first so many picks.
        random: float64 [DRAWS, s], that of as many random rows of the pool; None where it cannot be had cheaply.
        positive: picks that had a positive gain, kept rows not counted.
        why: why there is no random curve; empty where there is.
    """

    sizes: Int[ndarray, " s"]
    chosen: Float64[ndarray, " s"]
    random: Float64[ndarray, "r s"] | None
    positive: int
    why: str


def growth(run: Run) -> Growth:
    """The gain curve of a run; its own is summed from the recorded gains where the function cannot be had.

    *Cost*: the objective of six subsets at each of 16 sizes, where that takes about a second.
    """
    positive = int(run.facts.get("positive", 0))
    function, why = _function(run)
    if function is None:
        sizes = np.unique(np.linspace(1, len(run), min(len(run), _POINTS)).astype(np.int64))
        return Growth(sizes, np.cumsum(run.gains)[sizes - 1], None, positive, why)
    sizes = np.unique(np.geomspace(1, len(run), _STEPS).round().astype(np.int64))
    draw = generator(run.config.seed, "report/random")
    orders = [draw.choice(run.of, len(run), replace=False) for _ in range(DRAWS)]
    return Growth(sizes, values(function, run.order, sizes), np.array([values(function, one, sizes) for one in orders]),
                  positive, "")  # fmt: skip


def values(function: SetFunction, order: Int[ndarray, " k"], sizes: Int[ndarray, " s"]) -> Float64[ndarray, " s"]:
    """The function of the first so many of an order, from its definition."""
    return np.array([function.value(np.asarray(order[:size], dtype=np.int64)) for size in sizes])


def _function(run: Run) -> tuple[SetFunction | None, str]:
    """The set function, or why it is not asked."""
    inside = run.inside
    if inside is None:
        return None, run.why_not_inside
    function = inside.function()
    if function is None:
        return None, f"`{run.objective}` is a rule that ranks, and gives a subset no value"
    if isinstance(function, CoverageProblem):
        steps = np.geomspace(1, len(run), _STEPS).sum()
        if steps * max(1, function.rows) * (DRAWS + 1) > _ENTRIES:
            return None, "computing the objective of random subsets would take longer than the page is worth"
    elif len(run) > _HEAVY:
        return None, f"`{run.objective}` of random subsets of {len(run):,} rows takes long to compute"
    return function, ""
