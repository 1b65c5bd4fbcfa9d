"""How many labels there are after each round, and when more of them would change little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, sqrt

from nncift.estimator.budget import LabelBudget

SHARE = 0.2
"""Of the pairs: what these labels would teach is what fewer are held against."""
SLACK = 0.02
"""By how much the rank correlation of candidates' means may fall short of that. It is a forecast, so less than the .03 that are
allowed."""

_PER_CANDIDATE = 40
_LARGE = 100_000  # pairs: an hour of a 270M model on two cores; a larger pool gets a stripe of five for each candidate
_STRIPE = 5
_ALL = 400  # so few pairs are all labelled
_FEWEST = 32  # an estimator of fewer labels tells nothing of the next round
_POINTWISE = 64
_ROUNDS = 16  # the last round has as many times the labels of the first
_GROWTH = 1.25  # a round that adds less is not worth a fit
_SURE = 0.7  # a forecast below it rests on next to nothing


@dataclass(frozen=True, slots=True)
class Schedule:
    """When labels are drawn in rounds, how many.

    Attributes:
        first: labels of the first round.
        most: labels after the last.
        reference: labels that a forecast is held against: a fifth of the pairs.
        stops: whether it may stop before `most`.
    """

    first: int
    most: int
    reference: int
    stops: bool

    @classmethod
    def auto(cls, m: int, n: int) -> Schedule | None:
        """As many labels as it takes, at most a fifth of the pairs, or 40 for each candidate, or 100,000 (of a pool of more
        than 20,000 rows five for each); of a pointwise influence at least 64. None where all pairs are so few."""
        if m * n <= (_POINTWISE if m == 1 else _ALL):
            return None
        share = round(SHARE * m * n)
        most = max(_POINTWISE, share) if m == 1 else min(share, _PER_CANDIDATE * n, max(_LARGE, _STRIPE * n))
        return cls(max(most // _ROUNDS, min(most, _FEWEST)), most, max(share, most), stops=True)

    @classmethod
    def fixed(cls, total: int, m: int, n: int) -> Schedule | None:
        """So many labels, the first quarter without a look at an estimator; None where a quarter is too few for one."""
        if total < 2 * _FEWEST:
            return None
        return cls(max(total // 4, _FEWEST), total, max(round(SHARE * m * n), total), stops=False)

    @property
    def least(self) -> int:
        """Labels after the first round at which it may stop: a forecast takes two changes."""
        return min(self.most, 4 * self.first) if self.stops else self.most

    def record(self) -> dict[str, int | bool]:
        """Plain values for JSON and for keys."""
        return asdict(self)

    def after(self, labels: int, forecast: Forecast | None) -> int | None:
        """Labels after the next round; None where there is none."""
        if labels >= self.most:
            return None
        wanted = 2 * labels
        if self.stops and forecast is not None:
            if forecast.enough(labels):
                return None
            wanted = min(wanted, max(forecast.needed, round(_GROWTH * labels)))
        return min(self.most, wanted)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What more labels would teach, told from how much the last ones changed.

    With L labels the predicted means of candidates have the correlation sqrt(L / (L + half)) with the true ones: the mean of
    noisy labels has, and on real labels an estimator that reads features is close to it. What a later round adds is not known
    to the one before it, so that the correlation of the predictions of two rounds is the ratio of theirs with the truth; that
    gives `half`.

    Attributes:
        half: labels by which half of the variance of candidates' means is known; infinite where the last labels changed as
            much as if nothing had been known before.
        reference: labels that it is held against.
    """

    half: float
    reference: int

    @classmethod
    def of(cls, now: int, earlier: Sequence[tuple[int, float]], reference: int) -> Forecast:
        """From the labels that there are `now`, and those of earlier rounds with the rank correlation of their means with the
        present ones."""
        halves = [_half(labels, now, likeness) for labels, likeness in earlier]
        return cls(sum(halves) / len(halves), reference)

    def reached(self, labels: int) -> float:
        """The correlation of predicted means with true ones that so many labels give."""
        return 0.0 if self.half == inf else sqrt(labels / (labels + self.half))

    @property
    def wanted(self) -> float:
        """The correlation that is enough."""
        return self.reached(self.reference) - SLACK

    @property
    def needed(self) -> int:
        """The fewest labels that give as much."""
        if self.half == inf or self.wanted <= 0:
            return self.reference
        square = self.wanted**2
        return min(self.reference, -int(-self.half * square / (1 - square) // 1))

    def enough(self, labels: int) -> bool:
        """Whether so many labels come close enough."""
        return self.reached(labels) >= max(self.wanted, _SURE)


def _half(earlier: int, now: int, likeness: float) -> float:
    """Labels by which half is known: of `earlier` and `now` labels the predictions correlate as the root of
    earlier (now + half) / (now (earlier + half))."""
    square = max(0.0, likeness) ** 2
    if square * now <= earlier:
        return inf
    return earlier * now * (1 - square) / (square * now - earlier)


def in_rounds(budget: LabelBudget, m: int, n: int, *, most: int, adaptive: bool) -> Schedule | None:
    """The rounds of a budget in a kernel of which at most so many pairs can have a label; None where it is drawn at once."""
    if budget.kind == "auto":
        found = Schedule.auto(m, n)
    else:
        fixed = adaptive and budget.kind in ("share", "count")
        found = Schedule.fixed(min(most, budget.pairs(m, n)), m, n) if fixed else None
    return None if found is None or found.first >= most else replace(found, most=min(found.most, most))
