"""The figures about one group of held-out labels, each with its interval and beside what the baselines reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator import agreement

FEWEST = 10  # labels, pairs of labels, candidates, or common targets, below which a figure would be noise
ROW_LABELS = 5  # of a target, below which the order within it is mostly chance
_POINTWISE = ("mse", "mse_unit", "r2", "spearman", "top_overlap")
_PAIRWISE = ("mse", "mse_unit", "r2", "spearman", "concordance", "row_spearman", "candidate_spearman", "top_overlap")

Predictions = dict[str, Float[ndarray, "L"]]
_Weighted = Callable[[ndarray, ndarray, ndarray | None], float]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        value: the figure, or None where the labels do not support it.
        n: what it was computed on: labels, pairs of labels, rows, or candidates.
        low, high: 90 % bootstrap interval; None where there are too few targets or candidates to resample.
        baselines: the same figure for each baseline, by name.
        missing: why there is no value.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    baselines: dict[str, float] = field(default_factory=dict)
    missing: str | None = None

    def record(self) -> dict[str, object]:
        """Plain values for JSON."""
        if self.value is None:
            return {"value": None, "missing": self.missing}
        return {"value": self.value, "n": self.n, "low": self.low, "high": self.high, "baselines": dict(self.baselines)}


@dataclass(frozen=True, slots=True)
class Group:
    """The figures about one group of labels, by name: `mse` in label units, `mse_unit` in min-max units of the training
    labels, `r2` against their mean, `spearman` over pairs, `concordance` and `row_spearman` within targets,
    `candidate_spearman` and `top_overlap` over candidates' mean influence."""

    words: str
    labels: int
    measures: dict[str, Measure]

    def record(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "group": self.words,
            "labels": self.labels,
            "measures": {name: measure.record() for name, measure in self.measures.items()},
        }


@dataclass(frozen=True, slots=True)
class TrainingScale:
    """Mean, least and greatest of the training labels: what R² and min-max units refer to."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, y: Float[ndarray, "L"]) -> TrainingScale:
        """The scale of some labels."""
        return cls(float(y.mean(dtype=np.float64)), float(y.min()), float(y.max()))

    def unit(self, values: Float[ndarray, "L"]) -> Float[ndarray, "L"]:
        """Values in min-max units; constant labels have none and keep theirs."""
        return (values.astype(np.float64) - self.low) / ((self.high - self.low) or 1.0)


def score_group(
    words: str,
    held: Labels,
    predicted: Float[ndarray, "L"],
    baselines: Predictions,
    *,
    scale: TrainingScale,
    rng: np.random.Generator,
    pointwise: bool,
    weights: Float[ndarray, "L"] | None = None,
) -> Group:
    """All figures about one group of held-out labels; with weights, only those over pairs."""
    if len(held) < FEWEST:
        return unmeasurable(words, len(held), pointwise=pointwise)
    found = _pair_measures(held, predicted, baselines, scale, rng, weights)
    if weights is not None:
        return Group(words, len(held), found)
    if not pointwise:
        found |= _row_measures(held, predicted, baselines, rng)
    found |= _candidate_measures(held, predicted, baselines, rng, pointwise)
    return Group(words, len(held), found)


def unmeasurable(words: str, labels: int, *, pointwise: bool = False) -> Group:
    """A group with too few labels for any figure."""
    return Group(words, labels, {name: _missing(labels) for name in (_POINTWISE if pointwise else _PAIRWISE)})


def cluster_axis(held: Labels) -> Int[ndarray, "L"]:
    """The cluster of each label, numbered from 0: its target or its candidate, whichever axis has fewer items,
    because the
    scarcer one bounds what is known; the other one where that has fewer than five."""
    axes = sorted((np.unique(side, return_inverse=True) for side in (held.i, held.j)), key=lambda axis: len(axis[0]))
    scarce, plenty = axes
    return (scarce if len(scarce[0]) >= agreement.FEWEST_CLUSTERS else plenty)[1]


def _pair_measures(
    held: Labels,
    predicted: ndarray,
    baselines: Predictions,
    scale: TrainingScale,
    rng: np.random.Generator,
    weights: Float[ndarray, "L"] | None,
) -> dict[str, Measure]:
    unit = {name: np.zeros(len(held)) if name == "predict 0" else scale.unit(p) for name, p in baselines.items()}
    weights = np.ones(len(held)) if weights is None else weights
    measure = partial(_weighted_measure, weights=weights, clusters=cluster_axis(held), rng=rng)
    squared = agreement.mean_squared_error
    return {
        "mse": measure(squared, held.y, predicted, baselines),
        "mse_unit": measure(squared, scale.unit(held.y), scale.unit(predicted), unit),
        "r2": measure(partial(agreement.r_squared, mean=scale.mean), held.y, predicted, baselines),
        "spearman": measure(agreement.spearman, held.y, predicted, baselines),
    }


def _weighted_measure(
    statistic: _Weighted,
    exact: ndarray,
    predicted: ndarray,
    baselines: Predictions,
    *,
    weights: Float[ndarray, "L"],
    clusters: Int[ndarray, "L"],
    rng: np.random.Generator,
) -> Measure:
    bounds = agreement.interval(
        lambda draw: statistic(exact, predicted, weights * draw[clusters]), int(clusters.max()) + 1, rng
    )
    others = {name: statistic(exact, p, weights) for name, p in baselines.items()}
    return _measure(statistic(exact, predicted, weights), len(exact), bounds, others)


def _row_measures(
    held: Labels, predicted: ndarray, baselines: Predictions, rng: np.random.Generator
) -> dict[str, Measure]:
    return {
        "concordance": _concordance(held, predicted, baselines, rng),
        "row_spearman": _row_spearman(held, predicted, baselines, rng),
    }


def _concordance(held: Labels, predicted: ndarray, baselines: Predictions, rng: np.random.Generator) -> Measure:
    rows = agreement.rows_of(held.i, 2)
    same, pairs = agreement.concordance(held.y, predicted, rows)
    if pairs.sum() < FEWEST:
        return _missing(len(held))
    bounds = agreement.interval(lambda draw: float((draw * same).sum() / (draw * pairs).sum()), len(rows), rng)
    others = {
        name: float(agreement.concordance(held.y, p, rows)[0].sum() / pairs.sum()) for name, p in baselines.items()
    }
    return _measure(float(same.sum() / pairs.sum()), int(pairs.sum()), bounds, others)


def _row_spearman(held: Labels, predicted: ndarray, baselines: Predictions, rng: np.random.Generator) -> Measure:
    rows = [row for row in agreement.rows_of(held.i, ROW_LABELS) if np.ptp(held.y[row]) > 0]
    if not rows:
        return _missing(len(held))
    each = agreement.row_spearman(held.y, predicted, rows)
    bounds = agreement.interval(lambda draw: float(np.average(each, weights=draw)), len(rows), rng)
    others = {name: float(agreement.row_spearman(held.y, p, rows).mean()) for name, p in baselines.items()}
    return _measure(float(each.mean()), len(rows), bounds, others)


def _candidate_measures(
    held: Labels, predicted: ndarray, baselines: Predictions, rng: np.random.Generator, pointwise: bool
) -> dict[str, Measure]:
    """Order of the candidates' mean influence, over targets that all of them were labelled on: means over different
    targets would differ by their targets."""
    statistics = {"candidate_spearman": agreement.spearman, "top_overlap": agreement.top_overlap}
    if pointwise:
        del statistics["candidate_spearman"]  # it is `spearman`
    candidates, column = np.unique(held.j, return_inverse=True)
    common = _on_common_targets(held, column, len(candidates), 1 if pointwise else FEWEST)
    if common is None or len(candidates) < FEWEST:
        return {name: _missing(len(held)) for name in statistics}
    mean = partial(_means, common=common, column=column)
    exact, guess = mean(held.y), mean(predicted)
    others = {name: mean(p) for name, p in baselines.items()}
    return {
        name: _measure(
            statistic(exact, guess),
            len(candidates),
            agreement.interval(lambda draw, f=statistic: _on_drawn(f, exact, guess, draw), len(candidates), rng),
            {other: statistic(exact, p) for other, p in others.items()},
        )
        for name, statistic in statistics.items()
    }


def _on_common_targets(held: Labels, column: ndarray, candidates: int, fewest: int) -> ndarray | None:
    """The labels on targets that every candidate has a label on; None where there are too few such targets."""
    targets, row = np.unique(held.i, return_inverse=True)
    common = np.bincount(row, minlength=len(targets)) == candidates  # no pair occurs twice
    return common[row] if common.sum() >= fewest else None


def _means(values: ndarray, *, common: ndarray, column: ndarray) -> Float[ndarray, "c"]:
    return np.bincount(column[common], values[common]) / np.bincount(column[common])


def _on_drawn(statistic: Callable[[ndarray, ndarray], float], exact: ndarray, guess: ndarray, draw: ndarray) -> float:
    chosen = np.repeat(np.arange(len(draw)), draw)
    return statistic(exact[chosen], guess[chosen])


def _measure(value: float, n: int, bounds: tuple[float, float] | None, others: dict[str, float]) -> Measure:
    low, high = bounds or (None, None)
    return Measure(value, n, low, high, others)


def _missing(labels: int) -> Measure:
    return Measure(None, labels, missing=f"not measurable with {labels} labels")
