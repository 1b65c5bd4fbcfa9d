"""How far an estimator can be trusted: its agreement with exact influences that it was not shown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator import agreement
from nncift.estimator.base import Estimator
from nncift.estimator.baselines import baselines
from nncift.estimator.budget import DesignKind
from nncift.estimator.features import Features
from nncift.estimator.holdout import group_masks, hold_out, kernel_shares
from nncift.estimator.scoring import (
    FEWEST,
    Group,
    Predictions,
    TrainingScale,
    cluster_axis,
    score_group,
    unmeasurable,
)
from nncift.seeds import generator

logger = logging.getLogger(__name__)

AS_KERNEL = "as in the kernel"
_PICTURED = 400  # held-out pairs in the record: enough for a cloud, 10 kB
_COMMON = 0.01  # a kind of pair that is rarer in the kernel changes no headline
Verdict = Literal["beats", "within chance", "worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well an estimator agrees with held-out labels.

    Attributes:
        design: how the labels lie in the kernel (`stripes`, `block`, `spread`, `cross`, `all`, `pointwise`).
        trained_on: labels that the judged estimator was fitted to.
        held_out: labels that it was judged on.
        groups: the figures for all held-out labels (`all`), by whether target and candidate had training labels, and
            for all of them weighted as those groups are common among the pairs to predict (`as in the kernel`): the
            headline, because a tenth of the targets is hidden even where the kernel has no target without label.
        strongest: the baseline with the smallest squared error of the headline; None where nothing could be measured.
        verdict: whether the estimator's squared error is smaller, by a 90 % interval of the difference.
        pairs: exact and estimated influence of held-out labels, for a picture: at most 400 of them, evenly over the list.
    """

    design: DesignKind
    trained_on: int
    held_out: int
    groups: dict[str, Group]
    strongest: str | None
    verdict: Verdict
    pairs: tuple[tuple[float, float], ...] = ()

    def record(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "design": self.design,
            "trained_on": self.trained_on,
            "held_out": self.held_out,
            "strongest_baseline": self.strongest,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "groups": [group.record() for group in self.groups.values()],
            "pairs": {"exact": [pair[0] for pair in self.pairs], "estimated": [pair[1] for pair in self.pairs]},
        }

    def sentence(self) -> str:
        """The result in plain words."""
        headline = self.groups.get(AS_KERNEL, self.groups["all"])
        explained = headline.measures["r2"]
        if explained.value is None or self.strongest is None:
            return (
                f"Nothing can be said about the estimator: {self.held_out} labels could be held out, and it takes "
                f"{FEWEST}. Label more pairs."
            )
        weighted = ", weighted like the pairs it will fill in," if AS_KERNEL in self.groups else ""
        words = [
            f"On {headline.labels} held-out labels{weighted} the estimator explains {_percent(explained.value)} of the "
            f"variance{_interval(explained.low, explained.high)}.",
            _comparison(self.verdict, self.strongest, explained.baselines[self.strongest]),
        ]
        order = self.groups["all"].measures.get("concordance")
        if order is not None and order.value is not None:
            words.append(
                f"Of two candidates for the same target it names the better one in {100 * order.value:.0f} % of "
                f"{order.n} cases{_interval(order.low, order.high)}; chance is 50 %."
            )
        return " ".join(words)

    def warning(self) -> str | None:
        """What there is to warn of: that it does not beat what reads no text, or that this cannot be told; None else."""
        told = {
            "beats": None,
            "within chance": f"on held-out labels the estimator does not beat {self.strongest} by more than chance",
            "worse": f"on held-out labels the estimator is worse than {self.strongest}",
            "unknown": f"too few labels could be held out ({self.held_out}) to say whether the estimator beats guessing",
        }[self.verdict]
        return told and f"{told}: trust exact influences alone (--labels all), or label more"


def measure(
    labels: Labels,
    target: Features | None,
    pool: Features,
    *,
    design_kind: DesignKind,
    estimator: Estimator,
    seed: int,
) -> Fidelity:
    """Hides some of the labels, fits an estimator to the others, and scores it on the hidden ones alone.

    A tenth of the candidates, a tenth of the targets and a tenth of the remaining pairs are hidden (of a pointwise
    influence a fifth of the candidates). The estimator that is used afterwards is fitted to all labels, so it should
    be no worse.

    Args:
        labels: exact influences.
        target: features of all targets; None for a pointwise influence.
        pool: features of all candidates.
        design_kind: how the labels were drawn, for the record.
        estimator: what is judged.
        seed: of the split, the estimator and the bootstrap.

    *Cost*: no language-model call; one training, and 200 bootstrap replicates (a second per 10,000 held-out labels).
    *Reference*: NN-CIFT, arXiv 2502.09969, section 5 (quadrants and mean squared error; the other figures are ours).
    """
    pointwise = target is None
    held = hold_out(labels, pointwise=pointwise, seed=seed)
    train, test = labels.take(~held), labels.take(held)
    if len(test) < FEWEST or len(train) < FEWEST:
        logger.warning("%d labels are too few to measure the estimator", len(labels))
        nothing = unmeasurable("all", len(test), pointwise=pointwise)
        return Fidelity(design_kind, len(train), len(test), {"all": nothing}, None, "unknown")
    fitted = estimator.fit(train, target, pool, seed=seed)
    predicted = fitted.kernel(target, pool).at(test.i, test.j)
    pairs = _pictured(test.y, predicted)
    rng = generator(seed, "fidelity/bootstrap")
    others = baselines(train, test, rng)
    masks = {"all": np.ones(len(test), dtype=bool)}
    if not pointwise:
        masks |= {words: mask[held] for words, mask in group_masks(labels, held).items()}
    scale = TrainingScale.of(train.y)
    score = partial(score_group, scale=scale, rng=rng, pointwise=pointwise)
    groups = {
        words: score(words, test.take(mask), predicted[mask], _under(mask, others)) for words, mask in masks.items()
    }
    weights = _kernel_weights(labels, held, masks)
    if weights is not None:
        like = weights > 0
        test, predicted, others, weights = test.take(like), predicted[like], _under(like, others), weights[like]
        groups[AS_KERNEL] = score(AS_KERNEL, test, predicted, others, weights=weights)
    strongest, verdict = _verdict(test, predicted, others, weights, rng)
    return Fidelity(design_kind, len(train), int(held.sum()), groups, strongest, verdict, pairs)


def _pictured(exact: Float[ndarray, "K"], estimated: Float[ndarray, "K"]) -> tuple[tuple[float, float], ...]:
    """Some pairs of numbers, six digits of each."""
    at = np.unique(np.linspace(0, len(exact) - 1, min(len(exact), _PICTURED)).astype(np.int64))
    return tuple((float(f"{a:.6g}"), float(f"{b:.6g}")) for a, b in zip(exact[at], estimated[at], strict=True))


def _under(mask: Bool[ndarray, "L"], predictions: Predictions) -> Predictions:
    return {name: values[mask] for name, values in predictions.items()}


def _kernel_weights(
    labels: Labels, held: Bool[ndarray, "L"], masks: dict[str, Bool[ndarray, "K"]]
) -> Float[ndarray, "K"] | None:
    """Weights of the held-out labels that make their groups as common as among the pairs to predict; None where that is
    not possible because a common group has too few of them."""
    weights = np.zeros(int(held.sum()))
    for words, share in kernel_shares(labels).items():
        count = int(masks[words].sum()) if words in masks else 0
        if share >= _COMMON and count < FEWEST:
            return None
        if share >= _COMMON:
            weights[masks[words]] = share / count
    return weights * len(weights) / weights.sum() if weights.any() else None


def _verdict(
    test: Labels,
    predicted: Float[ndarray, "L"],
    others: Predictions,
    weights: Float[ndarray, "L"] | None,
    rng: np.random.Generator,
) -> tuple[str, Verdict]:
    """The strongest baseline, and whether the estimator's errors are smaller on the same labels."""
    weights = np.ones(len(test)) if weights is None else weights
    errors = {name: (test.y - values.astype(np.float64)) ** 2 for name, values in others.items()}
    strongest = min(errors, key=lambda name: float(np.average(errors[name], weights=weights)))
    saved = errors[strongest] - (test.y - predicted.astype(np.float64)) ** 2
    clusters = cluster_axis(test)
    bounds = agreement.interval(
        lambda draw: float(np.average(saved, weights=weights * draw[clusters])), int(clusters.max()) + 1, rng
    )
    if bounds is None:
        return strongest, "unknown"
    if bounds[0] > 0:
        return strongest, "beats"
    return strongest, "worse" if bounds[1] < 0 else "within chance"


def _comparison(verdict: Verdict, baseline: str, explained: float) -> str:
    rival = f"the strongest guess that reads no text ({baseline}: {_percent(explained)})"
    return {
        "beats": f"It beats {rival}.",
        "within chance": f"It does not beat {rival}: the difference is within chance.",
        "worse": f"It does not beat {rival}: it is worse.",
        "unknown": f"So few targets and candidates cannot tell whether it beats {rival}.",
    }[verdict]


def _percent(share: float) -> str:
    return f"{round(100 * share)} %" if share >= 0.005 else "none"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (90 % interval {round(100 * low)} to {round(100 * high)})"
