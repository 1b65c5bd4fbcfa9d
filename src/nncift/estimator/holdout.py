"""Which exact labels the estimator must not see, so that a figure about them means something."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.seeds import generator

_SHARE = 0.1
_POINTWISE_SHARE = 0.2  # one label per candidate: a tenth of 64 candidates would be too few to measure anything
_FEWEST_ITEMS = 10

GROUPS = (
    "target seen, candidate seen",
    "target unseen, candidate seen",
    "target seen, candidate unseen",
    "target unseen, candidate unseen",
)
"""The quadrants in words; the paper calls them Q1 to Q4 in this order."""


def hold_out(labels: Labels, *, pointwise: bool, seed: int) -> Bool[ndarray, "L"]:
    """True where a label is held out.

    A tenth of the labelled candidates and a tenth of the labelled targets are hidden with all their labels (where
    there are at least ten), and a tenth of the labels that are left. Of a pointwise influence a fifth of the
    candidates is hidden.
    """
    rng = generator(seed, "fidelity/holdout")
    if pointwise:
        return np.isin(labels.j, _some(labels.j, _POINTWISE_SHARE, rng))
    held = np.isin(labels.j, _some(labels.j, _SHARE, rng)) | np.isin(labels.i, _some(labels.i, _SHARE, rng))
    left = np.flatnonzero(~held)
    held[rng.permutation(left)[: round(_SHARE * len(left))]] = True
    return held


def group_masks(labels: Labels, held: Bool[ndarray, "L"]) -> dict[str, Bool[ndarray, "L"]]:
    """Which held-out labels belong to which group, each to one. Seen is what has a training label."""
    target_seen = np.isin(labels.i, labels.i[~held])
    candidate_seen = np.isin(labels.j, labels.j[~held])
    kinds = (
        target_seen & candidate_seen,
        ~target_seen & candidate_seen,
        target_seen & ~candidate_seen,
        ~target_seen & ~candidate_seen,
    )
    return {words: held & kind for words, kind in zip(GROUPS, kinds, strict=True)}


def kernel_shares(labels: Labels) -> dict[str, float]:
    """How the pairs of the kernel that have no label fall into the groups; all 0 where every pair has one."""
    m, n = labels.shape
    targets, candidates = len(np.unique(labels.i)), len(np.unique(labels.j))
    counts = (
        targets * candidates - len(labels),
        (m - targets) * candidates,
        targets * (n - candidates),
        (m - targets) * (n - candidates),
    )
    return {words: count / max(1, m * n - len(labels)) for words, count in zip(GROUPS, counts, strict=True)}


def _some(positions: ndarray, share: float, rng: np.random.Generator) -> ndarray:
    """A random share of the items that occur; none of fewer than ten."""
    items = np.unique(positions)
    count = round(share * len(items)) if len(items) >= _FEWEST_ITEMS else 0
    return rng.choice(items, count, replace=False)
