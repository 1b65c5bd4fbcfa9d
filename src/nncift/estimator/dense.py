"""How a predicted matrix agrees with the exact one: pair by pair, and candidate by candidate."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.estimator import agreement

Figures = dict[str, float | None]
"""Figures by name; None where one has no meaning."""

PAIRS = ("mse", "r2", "spearman", "row_spearman")
CANDIDATES = ("candidate_spearman", "top30_overlap", "coverage90")
_WIDTH = 1.645  # standard deviations on either side that hold nine of ten


def pair_figures(
    exact: Float[ndarray, "m n"], predicted: Float[ndarray, "m n"], judged: Bool[ndarray, "m n"], *, mean: float
) -> Figures:
    """How well the judged pairs are predicted.

    Args:
        exact, predicted: influences, finite where judged.
        judged: the pairs that count: those without a label.
        mean: of the training labels, which `r2` refers to.

    Returns:
        `mse` in squared label units; `r2`; `spearman` over all judged pairs; `row_spearman`, the mean over targets of
        Spearman within a target, of those whose judged influences are not all the same. All None where nothing is judged,
        and `row_spearman` where there is one target only, of which it would be `spearman`.

    *Cost*: two sorts of the judged pairs, twice.
    """
    i, _ = np.nonzero(judged)
    if not len(i):
        return dict.fromkeys(PAIRS)
    y, p = exact[judged], predicted[judged]
    rows = [row for row in agreement.rows_of(i, 2) if np.ptp(y[row]) > 0] if len(exact) > 1 else []
    return {
        "mse": agreement.mean_squared_error(y, p),
        "r2": agreement.r_squared(y, p, mean=mean),
        "spearman": agreement.spearman(y, p),
        "row_spearman": float(agreement.row_spearman(y, p, rows).mean()) if rows else None,
    }


def candidate_figures(
    exact: Float[ndarray, "m n"],
    predicted: Float[ndarray, "m n"],
    known: Bool[ndarray, "m n"],
    which: Int[ndarray, " c"],
    *,
    sd: Float[ndarray, " n"] | None = None,
) -> Figures:
    """How well the order of candidates by their mean influence is predicted.

    Args:
        exact, predicted: influences; predictions are taken for labelled pairs too.
        known: pairs whose exact influence there is; a candidate's means are over these, on either side.
        which: positions of the candidates that are compared; each has a known pair.
        sd: standard deviations of the predicted means, where the estimator gives them.

    Returns:
        `candidate_spearman`; `top30_overlap`, the share of the floor(0.3 c) best candidates (one at least) that are
        predicted to be among the best, ties by their chance; `coverage90`, the share of candidates whose mean, against that
        of all compared, lies in the 90 % interval that was predicted, None without `sd`. None for fewer than two candidates.

    *Cost*: one pass over the matrix.
    """
    if len(which) < 2:
        return dict.fromkeys(CANDIDATES)
    true, guess = (_means(values[:, which], known[:, which]) for values in (exact, predicted))
    k, off = max(1, 3 * len(which) // 10), true - guess
    return {
        "candidate_spearman": agreement.spearman(true, guess),
        "top30_overlap": agreement.shared_best(true, guess, k),
        "coverage90": None if sd is None else float(np.mean(np.abs(off - off.mean()) <= _WIDTH * sd[which])),
    }


def _means(values: Float[ndarray, "m c"], known: Bool[ndarray, "m c"]) -> Float[ndarray, " c"]:
    return np.where(known, values, 0).sum(axis=0, dtype=np.float64) / known.sum(axis=0)
