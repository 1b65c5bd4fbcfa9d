"""How well predictions agree with exact influences, and how sure one can be of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

TOP_SHARE = 0.3
FEWEST_CLUSTERS = 5  # resampling fewer gives an interval that only looks like one
_REPLICATES = 200


def average_ranks(values: Float[ndarray, "L"], weights: Float[ndarray, "L"] | None = None) -> Float[ndarray, "L"]:
    """Ranks from 1 on, equal values sharing their mean rank; an entry of weight w counts as w equal entries."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    if weights is not None:
        counts = np.bincount(where, weights=weights, minlength=len(counts))
    return (np.cumsum(counts) - (counts - 1) / 2)[where]


def spearman(
    exact: Float[ndarray, "L"], predicted: Float[ndarray, "L"], weights: Float[ndarray, "L"] | None = None
) -> float:
    """Rank correlation with average ties; 0 where either side is constant, which orders nothing."""
    w = np.ones(len(exact)) if weights is None else weights
    a, b = average_ranks(exact, w), average_ranks(predicted, w)
    a, b = a - np.average(a, weights=w), b - np.average(b, weights=w)
    spread = np.sqrt((w * a * a).sum() * (w * b * b).sum())
    return float((w * a * b).sum() / spread) if spread > 0 else 0.0


def mean_squared_error(
    exact: Float[ndarray, "L"], predicted: Float[ndarray, "L"], weights: Float[ndarray, "L"] | None = None
) -> float:
    """Mean of the squared differences, in float64."""
    return float(np.average((exact.astype(np.float64) - predicted) ** 2, weights=weights))


def r_squared(
    exact: Float[ndarray, "L"],
    predicted: Float[ndarray, "L"],
    weights: Float[ndarray, "L"] | None = None,
    *,
    mean: float,
) -> float:
    """Share of the squared error of predicting `mean` (of the training labels) that the prediction removes; 0 where all
    values are that mean."""
    around = float(np.average((exact.astype(np.float64) - mean) ** 2, weights=weights))
    return 1 - mean_squared_error(exact, predicted, weights) / around if around > 0 else 0.0


def rows_of(i: Int[ndarray, "L"], fewest: int) -> list[Int[ndarray, "k"]]:
    """The positions of each target row that has at least so many labels."""
    order = np.argsort(i, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(i[order])) + 1)
    return [row for row in rows if len(row) >= fewest]


def concordance(
    exact: Float[ndarray, "L"], predicted: Float[ndarray, "L"], rows: list[Int[ndarray, "k"]]
) -> tuple[Float[ndarray, "r"], Float[ndarray, "r"]]:
    """Per row: the pairs of labels that are ordered the same way (a tie on either side counts half), and all pairs."""
    same = np.zeros(len(rows))
    pairs = np.zeros(len(rows))
    for place, row in enumerate(rows):
        y, p = exact[row], predicted[row]
        agree = 0.0
        for start in range(0, len(row), 256):  # bounds the memory of a long row
            block = slice(start, start + 256)
            agree += float((np.sign(y[block, None] - y) * np.sign(p[block, None] - p)).sum())
        pairs[place] = len(row) * (len(row) - 1) / 2
        same[place] = pairs[place] / 2 + agree / 4
    return same, pairs


def row_spearman(
    exact: Float[ndarray, "L"], predicted: Float[ndarray, "L"], rows: list[Int[ndarray, "k"]]
) -> Float[ndarray, "r"]:
    """Spearman within each row."""
    return np.array([spearman(exact[row], predicted[row]) for row in rows])


def top_overlap(exact: Float[ndarray, "c"], predicted: Float[ndarray, "c"], share: float = TOP_SHARE) -> float:
    """Share of the truly best candidates that are predicted among the best; ties at the edge count by their chance."""
    return shared_best(exact, predicted, max(1, round(share * len(exact))))


def shared_best(exact: Float[ndarray, "c"], predicted: Float[ndarray, "c"], k: int) -> float:
    """How much the k highest of both sides have in common, of k; ties at the edge count by their chance."""
    return float((_membership(exact, k) * _membership(predicted, k)).sum() / k)


def _membership(values: Float[ndarray, "c"], k: int) -> Float[ndarray, "c"]:
    """The chance of each value to be among the k highest when ties are broken at random."""
    edge = np.partition(values, len(values) - k)[len(values) - k]
    above, tied = values > edge, values == edge
    return above + tied * ((k - above.sum()) / tied.sum())


def interval(
    statistic: Callable[[Int[ndarray, "c"]], float], clusters: int, rng: np.random.Generator
) -> tuple[float, float] | None:
    """90 % bootstrap interval of a statistic of how often each cluster is drawn; None for fewer than five clusters."""
    if clusters < FEWEST_CLUSTERS:
        return None
    draws = (np.bincount(rng.integers(clusters, size=clusters), minlength=clusters) for _ in range(_REPLICATES))
    low, high = np.quantile([statistic(draw) for draw in draws], (0.05, 0.95))
    return float(low), float(high)
