"""Labelling in rounds: label some pairs, fit, look at what is chosen, and label more where that would change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator import agreement
from nncift.estimator.base import Fitted
from nncift.estimator.openings import Pairs
from nncift.estimator.schedule import SLACK, Forecast, Schedule

Draw = Callable[[int, int, Pairs | None, Fitted | None], Pairs]
"""(round from 0, how many pairs, those that were labelled before, what was fitted to these) -> the next pairs; both None in
the first round. Sorted by (j, i)."""

_FEWER = 0.75


@dataclass(frozen=True, slots=True)
class View:
    """What a fitted estimator makes of the candidates.

    Attributes:
        means: predicted mean influence of each candidate on the targets, [n].
        order: the subset, best first, [k].
        value: objective of that subset under the kernel that it was chosen from.
    """

    means: Float[ndarray, " n"]
    order: Int[ndarray, " k"]
    value: float


@dataclass(frozen=True, slots=True)
class Ahead:
    """How well the labels of the rounds before told those of a round: these were held out until it was labelled.

    Attributes:
        r2: against the mean of the labels before.
        spearman: over the pairs of the round.
        concordance: of two candidates for the same target, how often the better one was named; None where there were none.
    """

    r2: float
    spearman: float
    concordance: float | None


@dataclass(frozen=True, slots=True)
class Round:
    """A point of the learning curve.

    Attributes:
        labels: so far, those of this round with them.
        new: labels of this round.
        ahead: what the rounds before said of these; None in the first.
        likeness: rank correlation of the candidates' means with those of the round before; None in the first.
        jaccard: distance of the subset to that of the round before, 0 for the same rows; None in the first.
        value: objective of the subset.
        reached: forecast of the rank correlation of the candidates' means with the true ones; None before the third round.
        reference: the same for a fifth of the pairs.
    """

    labels: int
    new: int
    ahead: Ahead | None
    likeness: float | None
    jaccard: float | None
    value: float
    reached: float | None
    reference: float | None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def words(self) -> str:
        """The round in a line."""
        parts = [f"{self.labels:,} labels"]
        if self.ahead is not None:
            parts.append(f"R² {self.ahead.r2:.2f} on the {self.new:,} new ones before they were shown")
        if self.likeness is not None:
            parts.append(f"means of candidates as before to {self.likeness:.2f}, subset changed by {self.jaccard:.0%}")
        if self.reached is not None and self.reference is not None:
            parts.append(f"forecast {self.reached:.2f} of {self.reference:.2f}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What all rounds gave.

    Attributes:
        labels: finite ones, sorted by (j, i).
        pairs: all pairs that were labelled, sorted by (j, i).
        y: their influences, minus infinity where a candidate cannot be scored.
        fitted: the estimator, on all labels.
        rounds: the learning curve.
        why: why there was no further round, in words.
    """

    labels: Labels
    pairs: Pairs
    y: Float[ndarray, " L"]
    fitted: Fitted
    rounds: tuple[Round, ...]
    why: str


def learn_in_rounds(
    schedule: Schedule,
    shape: tuple[int, int],
    *,
    draw: Draw,
    label: Callable[[Pairs], Float[ndarray, " L"]],
    fit: Callable[[Labels], Fitted],
    predict: Callable[[Fitted, Pairs], Float[ndarray, " L"]],
    view: Callable[[Fitted, Labels], View],
    tell: Callable[[Round], None],
) -> Learnt:
    """Labels, fits and chooses until the schedule ends.

    Args:
        schedule: how many labels there are after each round.
        shape: (m, n) of the kernel.
        draw: gives the pairs of a round.
        label: exact influences of pairs; minus infinity where a candidate cannot be scored.
        fit: an estimator from labels.
        predict: what it says of pairs.
        view: what it makes of the candidates.
        tell: called at the end of each round.

    Raises:
        ConfigError: fewer than two labels are finite.

    *Cost*: a fit and a selection for each round, six or so of `Schedule.auto`.
    """
    pairs: Pairs | None = None
    labels, y, fitted = Labels(*_nothing(), shape), np.zeros(0, dtype=np.float32), None
    views: list[View] = []
    rounds: list[Round] = []
    total: int | None = schedule.first
    forecast: Forecast | None = None
    while total is not None:
        batch = draw(len(rounds), total - len(y), pairs, fitted)
        values = label(batch)
        shown = Labels(*batch, values, shape).take(np.isfinite(values))
        ahead = None if fitted is None or not len(shown) else _ahead(predict(fitted, (shown.i, shown.j)), shown, labels)
        pairs, y = _merged(pairs, y, batch, values)
        labels = Labels(*pairs, y, shape).take(np.isfinite(y))
        if len(labels) < 2:
            raise ConfigError("no two of the pairs that were labelled have an influence. Check the pool's responses.")
        fitted = fit(labels)
        views.append(view(fitted, labels))
        forecast = _forecast(views, rounds, len(y), schedule)
        rounds.append(_round(len(y), len(values), ahead, views, forecast))
        tell(rounds[-1])
        total = None if len(values) < 1 else schedule.after(len(y), forecast)
    assert pairs is not None and fitted is not None
    return Learnt(labels, pairs, y, fitted, tuple(rounds), _why(schedule, len(y), forecast))


def _nothing() -> tuple[ndarray, ndarray, ndarray]:
    return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)


def _merged(pairs: Pairs | None, y: ndarray, batch: Pairs, values: ndarray) -> tuple[Pairs, ndarray]:
    """The union in the order of (j, i)."""
    if pairs is None:
        return batch, values
    i, j = (np.concatenate(axis) for axis in zip(pairs, batch, strict=True))
    order = np.lexsort((i, j))
    return (i[order], j[order]), np.concatenate([y, values])[order]


def _ahead(predicted: Float[ndarray, " L"], new: Labels, before: Labels) -> Ahead:
    mean = float(before.y.mean(dtype=np.float64))
    same, of = agreement.concordance(new.y, predicted, agreement.rows_of(new.i, 2))
    return Ahead(
        agreement.r_squared(new.y, predicted, mean=mean),
        agreement.spearman(new.y, predicted),
        float(same.sum() / of.sum()) if of.sum() else None,
    )


def _round(labels: int, new: int, ahead: Ahead | None, views: list[View], forecast: Forecast | None) -> Round:
    now = views[-1]
    if len(views) == 1:
        return Round(labels, new, None, None, None, now.value, None, None)
    chosen, former = set(now.order.tolist()), set(views[-2].order.tolist())
    return Round(
        labels,
        new,
        ahead,
        likeness=agreement.spearman(views[-2].means, now.means),
        jaccard=1 - len(chosen & former) / len(chosen | former),
        value=now.value,
        reached=None if forecast is None else forecast.reached(labels),
        reference=None if forecast is None else forecast.reached(forecast.reference),
    )


def _forecast(views: list[View], rounds: list[Round], labels: int, schedule: Schedule) -> Forecast | None:
    """From the last two rounds that had clearly fewer labels: small steps change little but by chance."""
    before = [k for k, point in enumerate(rounds) if point.labels <= _FEWER * labels][-2:]
    if len(before) < 2:
        return None
    earlier = [(rounds[k].labels, agreement.spearman(views[k].means, views[-1].means)) for k in before]
    return Forecast.of(labels, earlier, schedule.reference)


def _why(schedule: Schedule, labels: int, forecast: Forecast | None) -> str:
    if not schedule.stops:
        return f"{labels:,} labels were asked for"
    told = ""
    if forecast is not None:
        reached, reference = forecast.reached(labels), forecast.reached(schedule.reference)
        told = (
            f": the order of the candidates is forecast to agree {reached:.2f} with the exact one, with a fifth of all pairs "
            f"labelled {reference:.2f}"
        )
    if labels >= schedule.most:
        return f"{labels:,} labels are the most that `auto` takes{told}"
    return f"more labels would add at most {SLACK}{told}"
