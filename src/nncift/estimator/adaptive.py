"""The next labels where they are needed most: on candidates whose mean influence is least certain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.estimator.budget import PER_CANDIDATE
from nncift.estimator.dealing import deal, keys_of
from nncift.estimator.evening import even_out
from nncift.estimator.openings import PairList, Pairs, find_openings
from nncift.estimator.shares import fill_up


def adaptive_pairs(
    count: int,
    candidate_sd: Float[ndarray, "n"],
    *,
    row_count: Int[ndarray, "m"],
    taken: Pairs,
    rng: np.random.Generator,
    masked: PairList = (),
    among: Int[ndarray, "c"] | None = None,
    per_candidate: int = PER_CANDIDATE,
) -> Pairs:
    """Draws the next batch of pairs to label, in stripes of five targets for the candidates that are least certain.

    Candidates are drawn one after the other, with a probability proportional to their standard deviation among those that
    are left; those without any come last, in random order. The targets with the fewest labels are dealt first.

    Args:
        count: how many pairs; all that are left where there are fewer.
        candidate_sd: float [n], finite, at least 0: standard deviation of a candidate's mean influence, in any unit.
        row_count: int [m], labels that each target has, in all rounds.
        taken: targets i and candidates j of the pairs that have a label.
        rng: what is drawn from.
        masked: pairs (i, j) that are never labelled.
        among: candidates that may be labelled; None for all.
        per_candidate: labels for each candidate that is drawn; the last one gets what is left, and any one no more than it
            has room for.

    Returns:
        i, j: int32 [L], sorted by (j, i), no pair twice; empty where nothing is left.

    Raises:
        ValueError: a standard deviation is negative or no number.
        ConfigError: a pair lies outside the kernel.

    *Cost*: O(L + m + n log n).
    *Reference*: perturbing logarithms with Gumbel noise and taking the largest draws without replacement in proportion
    (Vieira 2014, Gumbel-max trick and weighted reservoir sampling).
    """
    if not np.all(np.isfinite(candidate_sd) & (candidate_sd >= 0)):
        raise ValueError("candidate_sd must be finite and at least 0.")
    openings = find_openings(len(row_count), len(candidate_sd), masked=masked, taken=taken, among=among)
    openings = replace(openings, row_count=row_count.astype(np.int64))
    count = min(count, len(openings))
    weights = np.maximum(candidate_sd[openings.columns].astype(np.float64), np.finfo(np.float64).tiny)
    order = np.argsort(-np.log(weights) - rng.gumbel(size=len(weights)), kind="stable")
    room = openings.room()[order]
    degrees = np.minimum(room, per_candidate)
    missing = count - int(degrees.sum())
    if missing > 0:
        degrees += fill_up(degrees, room - degrees, missing, rng)
    degrees = np.diff(np.minimum(np.cumsum(degrees), count), prepend=0)
    used = np.flatnonzero(degrees)
    dealt = deal(openings, openings.columns[order[used]], degrees[used], rng)
    even_out(dealt, openings, moves="none")
    keys = np.sort(keys_of(dealt, openings.m))
    return (keys % openings.m).astype(np.int32), (keys // openings.m).astype(np.int32)
