"""Whether an estimator that was trained on other data can be trusted on these: what a few exact labels say of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator import agreement
from nncift.estimator.base import Estimator, Fitted
from nncift.estimator.baselines import baselines
from nncift.estimator.features import Features
from nncift.estimator.fidelity import Verdict
from nncift.estimator.scoring import FEWEST, Group, Measure, Predictions, TrainingScale, score_group, unmeasurable
from nncift.seeds import generator

ANEW = "trained anew on these labels"
"""The alternative that the labels of the probe themselves are."""

_FOLDS = 5
_ERRORS = ("mse", "mse_unit", "r2")
"""Figures that hold for cross-validated guesses. What is left out pulls the mean of the others away from itself, so that an
order is only told between labels of one part."""
_PAIRS = 500_000  # of labels that are compared at most
_REPLICATES = 200
_MEANS = ("row + column means", "predict the mean")


@dataclass(frozen=True, slots=True)
class Carried:
    """How an estimator of other data agrees with labels of these, none of which it has seen.

    Attributes:
        trained_on: labels of the other data that it was fitted to.
        group: the figures on all labels here, with the same of guesses that read no text and of an estimator trained anew
            on these labels; all of these are cross-validated over candidates, since most candidates have no label.
        verdict: whether it orders the candidates of a target better than chance, by a 90 % interval that redraws targets
            and candidates.
        rival: how much more often it names the better one than the estimator trained anew, with its 90 % interval; None
            where it cannot be told.
    """

    trained_on: int
    group: Group
    verdict: Verdict
    rival: Measure

    @property
    def advised(self) -> bool:
        """Whether its use can be advised: it is better than chance, and nothing shows that these labels alone do better."""
        return self.verdict == "beats" and not (self.rival.high is not None and self.rival.high < 0)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "trained_on": self.trained_on,
            "held_out": self.group.labels,
            "verdict": self.verdict,
            "against_training_anew": self.rival.record(),
            "sentence": self.sentence(),
            "groups": [self.group.record()],
        }

    def sentence(self) -> str:
        """The result in plain words."""
        order, explained = self.group.measures["concordance"], self.group.measures["r2"]
        if order.value is None or explained.value is None:
            return (
                f"Nothing can be said of how the estimator of other data does on these: {self.group.labels} labels are too few "
                "to check it. Label more pairs (--labels 300)."
            )
        anew = order.baselines.get(ANEW)
        beside = "" if anew is None else f", and {100 * anew:.0f} % {ANEW} (cross-validated)"
        said = {
            "beats": "It carries over to these data",
            "within chance": "It does not carry over to these data: the difference from chance is within chance",
            "worse": "It does not carry over to these data: it is worse than chance",
            "unknown": "So few targets and candidates cannot tell whether it carries over",
        }[self.verdict]
        if self.verdict == "beats" and not self.advised:
            said += ", but these labels alone teach more than it has kept"
        means = next((explained.baselines[name] for name in _MEANS if name in explained.baselines), 0.0)
        level = ""
        if self.verdict == "beats" and explained.value <= max(0.0, means):
            level = (
                " What it says of the level of single targets does not fit, which coverage of the target does not read."
            )
        return (
            f"Of two candidates for the same target of these data, the estimator of other data names the better one in "
            f"{100 * order.value:.0f} % of {order.n} cases{_interval(order)}; chance is 50 %{beside}. {said}. Of the variance "
            f"of {self.group.labels} labels it explains {_percent(explained.value)}, row + column means of these labels "
            f"{_percent(means)}.{level}"
        )


def judge(
    fitted: Fitted, estimator: Estimator, labels: Labels, target: Features | None, pool: Features, *, seed: int
) -> Carried:
    """Holds the predictions of an estimator of other data against labels of these.

    Args:
        fitted: the estimator.
        estimator: what trained it, to be trained anew beside it.
        labels: exact influences of the new data.
        target: features of all new targets; None for a pointwise influence.
        pool: features of all new candidates.
        seed: of folds, estimators and the bootstrap.

    *Cost*: five trainings on the labels; 200 bootstrap replicates. No language-model call.
    """
    pointwise = target is None
    if len(labels) < FEWEST or len(np.unique(labels.j)) < 2:
        group = unmeasurable("all", len(labels), pointwise=pointwise)
        nothing = Measure(None, len(labels), missing=f"not measurable with {len(labels)} labels")
        return Carried(
            fitted.labels, replace(group, measures=group.measures | {"concordance": nothing}), "unknown", nothing
        )
    predicted = fitted.kernel(target, pool).at(labels.i, labels.j)
    rng = generator(seed, "transfer")
    fold = _folds(labels, rng)
    others = _others(estimator, labels, target, pool, fold, rng, seed)
    group = score_group(
        "all", labels, predicted, others, scale=TrainingScale.of(labels.y), rng=rng, pointwise=pointwise
    )
    pairs = _Pairs.of(labels, rng)
    inside = pairs.take(fold[pairs.one] == fold[pairs.two])
    beside = {name: float(inside.right(values).mean()) for name, values in others.items()} if len(inside.one) else {}
    order = pairs.measure(pairs.right(predicted), rng, beside)
    verdict: Verdict = "unknown"
    if order.low is not None and order.high is not None:
        verdict = "beats" if order.low > 0.5 else "worse" if order.high < 0.5 else "within chance"
    rival = inside.measure(inside.right(predicted) - inside.right(others[ANEW]), rng)
    measures = {name: one if name in _ERRORS else replace(one, baselines={}) for name, one in group.measures.items()}
    return Carried(fitted.labels, replace(group, measures=measures | {"concordance": order}), verdict, rival)


def _folds(labels: Labels, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """The part of each label, all labels of a candidate in one."""
    _, candidate = np.unique(labels.j, return_inverse=True)
    count = int(candidate.max()) + 1
    return (rng.permutation(count) % min(_FOLDS, count))[candidate]


def _others(
    estimator: Estimator,
    labels: Labels,
    target: Features | None,
    pool: Features,
    fold: Int[ndarray, "L"],
    rng: np.random.Generator,
    seed: int,
) -> Predictions:
    """What is predicted for the labels of some candidates from those of the others, without text and by an estimator."""
    found: Predictions = {}
    for part in np.unique(fold):
        held = fold == part
        train, test = labels.take(~held), labels.take(held)
        guesses = baselines(train, test, rng)
        if len(train) >= 2:
            guesses[ANEW] = estimator.fit(train, target, pool, seed=seed).kernel(target, pool).at(test.i, test.j)
        else:
            guesses[ANEW] = guesses["predict the mean"]
        for name, values in guesses.items():
            found.setdefault(name, np.zeros(len(labels)))[held] = values
    return found


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Two labels of the same target, every such pair once.

    Attributes:
        better: 1 where the first label is the higher one, -1 where the second is, 0 where they are equal.
        one, two: positions of the two labels.
        target: their target.
        first, second: their candidates.
    """

    better: Float[ndarray, " q"]
    one: Int[ndarray, " q"]
    two: Int[ndarray, " q"]
    target: Int[ndarray, " q"]
    first: Int[ndarray, " q"]
    second: Int[ndarray, " q"]

    def take(self, which: Bool[ndarray, " q"]) -> _Pairs:
        """Some of the pairs."""
        return _Pairs(*(getattr(self, name)[which] for name in _Pairs.__slots__))

    @classmethod
    def of(cls, labels: Labels, rng: np.random.Generator) -> _Pairs:
        """All pairs, or of many about half a million."""
        rows = agreement.rows_of(labels.i, 2)
        most = max(2, isqrt(2 * _PAIRS // max(1, len(rows))))
        found = [np.zeros((2, 0), dtype=np.int64)]
        for row in rows:
            some = row if len(row) <= most else rng.choice(row, most, replace=False)
            found.append(some[np.stack(np.triu_indices(len(some), 1))])
        one, two = np.concatenate(found, axis=1)
        better = np.sign(labels.y[one].astype(np.float64) - labels.y[two])
        _, target = np.unique(labels.i[one], return_inverse=True)
        _, both = np.unique(np.concatenate([labels.j[one], labels.j[two]]), return_inverse=True)
        return cls(better, one, two, target, *np.split(both, 2))

    def right(self, predicted: Float[ndarray, "L"]) -> Float[ndarray, " q"]:
        """1 where the better one is named, a half where either side says that they are the same."""
        return 0.5 + 0.5 * self.better * np.sign(predicted[self.one] - predicted[self.two])

    def measure(
        self, values: Float[ndarray, " q"], rng: np.random.Generator, beside: dict[str, float] | None = None
    ) -> Measure:
        """The mean of a value over all pairs, with its 90 % interval: targets and candidates are drawn again, each where
        there are five of them."""
        if len(values) < FEWEST:
            return Measure(None, len(values), missing=f"not measurable with {len(values)} pairs of labels")
        sizes = int(self.target.max()) + 1, int(max(self.first.max(), self.second.max())) + 1
        drawn = []
        for _ in range(_REPLICATES if max(sizes) >= agreement.FEWEST_CLUSTERS else 0):
            targets, candidates = (_drawn(size, rng) for size in sizes)
            weights = targets[self.target] * candidates[self.first] * candidates[self.second]
            if weights.any():
                drawn.append(float(np.average(values, weights=weights)))
        low, high = np.quantile(drawn, (0.05, 0.95)).tolist() if drawn else (None, None)
        return Measure(float(values.mean()), len(values), low, high, beside or {})


def _drawn(size: int, rng: np.random.Generator) -> Int[ndarray, " c"]:
    """How often each of some things is drawn again; once each where they are too few for that."""
    if size < agreement.FEWEST_CLUSTERS:
        return np.ones(size, dtype=np.int64)
    return np.bincount(rng.integers(size, size=size), minlength=size)


def _interval(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f" (90 % interval {100 * measure.low:.0f} to {100 * measure.high:.0f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "none"
