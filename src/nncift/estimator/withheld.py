"""Cross-validation inside the labels: what an estimator says of pairs, targets and candidates that it was not shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator.base import Estimator
from nncift.estimator.features import Features
from nncift.estimator.holdout import GROUPS, group_masks, kernel_shares
from nncift.estimator.scoring import cluster_axis
from nncift.seeds import generator

PARTS = 10
"""Parts of the labels, each of which is withheld once."""

_SHOWN = 10_000  # labels that an estimator is fitted to in all: of more labels fewer parts are withheld, and say enough
_COMMON = 0.01  # a kind of pair that is rarer in the kernel is not withheld
_FEWEST_ITEMS = 10  # targets or candidates, below which none of them is withheld as a whole
_FEWEST = 10  # withheld labels of a kind, below which they say nothing of it


@dataclass(frozen=True, slots=True)
class Trials:
    """What some estimators made of the same withheld labels.

    Attributes:
        parts: how many parts of the labels were withheld, one after the other.
        labels: how many labels that were, each as often as it was withheld.
        error: mean squared error of each estimator by name, weighted like the pairs that it will fill; 0 labels have none.
        spread: that of the mean of the labels that were shown.
        beyond: standard error of the difference of two estimators' errors, by their names.
        flops: estimated operations of all fits.
    """

    parts: int
    labels: int
    error: dict[str, float]
    spread: float
    beyond: dict[tuple[str, str], float]
    flops: int

    def explained(self, name: str) -> float:
        """Share of the squared error of the mean that an estimator removes."""
        return 1 - self.error[name] / self.spread if self.spread > 0 else 0.0

    def first(self) -> str | None:
        """The first of the estimators, in the order in which they were given, whose error is no more than one standard error
        of the difference above the least; None where there was nothing to judge by."""
        if not self.labels:
            return None
        best = min(self.error, key=self.error.__getitem__)
        near = (
            name for name in self.error if self.error[name] - self.error[best] <= self.beyond.get((name, best), 0.0)
        )
        return next(near)


def cross_validate(
    estimators: Mapping[str, Estimator], labels: Labels, target: Features | None, pool: Features, *, seed: int
) -> Trials:
    """Fits estimators to the labels but for a part, for part after part, and holds them against that part.

    A part is a tenth of the single labels; where the kernel has pairs of candidates (or targets) without any label also a
    tenth of the candidates (or targets) with all their labels; of a pointwise influence a tenth of the candidates. Errors are
    weighted so that each kind of pair counts as much as it will among the pairs that have no label.

    Args:
        estimators: by name.
        labels: exact influences.
        target: features of all targets; None for a pointwise influence.
        pool: features of all candidates.
        seed: of the parts and of the fits.

    *Cost*: at most ten fits of each estimator, and of all together no more than on some 10,000 labels.
    """
    names, rounds = tuple(estimators), withheld_parts(labels, pointwise=target is None, seed=seed)
    errors: list[Float[ndarray, "names K"]] = []
    around: list[Float[ndarray, " K"]] = []
    tested: list[Int[ndarray, " K"]] = []
    kinds: list[Int[ndarray, " K"]] = []
    flops = 0
    for held in rounds:
        train, test = labels.take(~held), labels.take(held)
        found = []
        for name in names:
            fitted = estimators[name].fit(train, target, pool, seed=seed)
            flops += fitted.flops
            found.append((fitted.kernel(target, pool).at(test.i, test.j).astype(np.float64) - test.y) ** 2)
        errors.append(np.stack(found))
        around.append((train.y.mean(dtype=np.float64) - test.y.astype(np.float64)) ** 2)
        tested.append(np.flatnonzero(held))
        masks = group_masks(labels, held)
        kinds.append(np.sum([place * masks[words][held] for place, words in enumerate(GROUPS)], axis=0))
    if not rounds:
        return Trials(0, 0, dict.fromkeys(names, 0.0), 0.0, {}, 0)
    which = np.concatenate(tested)
    weights = _weights(labels, np.concatenate(kinds), pointwise=target is None)
    table = np.concatenate(errors, axis=1)
    error = {name: float(table[k] @ weights) for k, name in enumerate(names)}
    clusters = cluster_axis(labels)[which]
    beyond = {
        (a, b): _standard_error((table[k] - table[q]) * weights, clusters)
        for k, a in enumerate(names)
        for q, b in enumerate(names)
        if k != q
    }
    return Trials(len(rounds), len(which), error, float(np.concatenate(around) @ weights), beyond, flops)


def withheld_parts(labels: Labels, *, pointwise: bool, seed: int) -> list[Bool[ndarray, "L"]]:
    """Where labels are withheld, part after part; none where there are too few labels to show some and withhold some."""
    rng, count = generator(seed, "estimator/withheld parts"), len(labels)
    if count < 2 * PARTS:
        return []
    by: list[Int[ndarray, "L"]] = []
    if pointwise:
        by.append(_parts(labels.j, rng))
    else:
        shares = kernel_shares(labels)
        for positions, kinds in ((labels.i, (GROUPS[1], GROUPS[3])), (labels.j, (GROUPS[2], GROUPS[3]))):
            if sum(shares[words] for words in kinds) >= _COMMON and len(np.unique(positions)) >= _FEWEST_ITEMS:
                by.append(_parts(positions, rng))
        if shares[GROUPS[0]] >= _COMMON or not by:
            by.append(_parts(np.arange(count), rng))
    held = [np.any([parts == k for parts in by], axis=0) for k in range(PARTS)]
    return [mask for mask in held if mask.any()][: max(1, min(PARTS, _SHOWN // count))]


def _parts(items: Int[ndarray, "L"], rng: np.random.Generator) -> Int[ndarray, "L"]:
    """A part for each label, the same for labels of one item; parts differ by one item at most."""
    unique, which = np.unique(items, return_inverse=True)
    return (rng.permutation(len(unique)) % PARTS)[which]


def _weights(labels: Labels, kinds: Int[ndarray, " K"], *, pointwise: bool) -> Float[ndarray, " K"]:
    """Weights of withheld labels, of sum 1: each kind as its share among the pairs to fill, where it was withheld at all."""
    counts = np.bincount(kinds, minlength=len(GROUPS))
    shares = np.ones(len(GROUPS)) if pointwise else np.array(list(kernel_shares(labels).values()))
    shares = np.where(counts >= min(_FEWEST, len(kinds)), shares, 0.0)
    if not shares.any():  # every pair has a label, or none of the kinds to fill could be withheld
        shares = counts.astype(np.float64)
    weights = (shares / np.maximum(counts, 1))[kinds]
    return weights / weights.sum()


def _standard_error(parts: Float[ndarray, " K"], clusters: Int[ndarray, " K"]) -> float:
    """Of a sum whose parts hang together by cluster."""
    sums = np.bincount(clusters, weights=parts)
    count = len(sums)
    return float(np.sqrt(count / max(1, count - 1) * ((sums - sums.mean()) ** 2).sum()))
