"""How sure one can be of a score, and of one subset's gain over another random draw.

Scores of one subset are an array [draws, seeds, items], NaN where a score is missing. A chosen subset has one draw;
`random` is drawn anew several times, and trained with several seeds per draw. All are scored on the same test items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.estimator.agreement import FEWEST_CLUSTERS

LEVEL = 0.05
Verdict = Literal["beats random", "loses to random", "no difference shown"]

_TAILS = (LEVEL / 2, 1 - LEVEL / 2)
_BLOCK = 1 << 22  # item weights that are alive at once
_NOTHING = 1e-12  # a difference of means this small beside the scores is rounding


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: of the scores there are; None without any.
        low: lower end; None where fewer than five items have a score.
        high: upper end.
        n: scores asked for: draws × seeds × items.
        n_scored: scores there are.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    n_scored: int


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a subset's mean lies above that of random draws, and the 95 % interval of what one more draw would leave.

    Attributes:
        diff: subset minus random; None where no item is scored on both sides.
        low: lower end; None where one random draw or fewer than five items tell too little.
        high: upper end.
        p: two-sided; None as `low`.
    """

    diff: float | None
    low: float | None
    high: float | None
    p: float | None


def mean_interval(scores: Float[ndarray, "D S n"], rng: np.random.Generator, *, replicates: int = 10_000) -> Interval:
    """The mean of a subset's scores with its 95 % interval, by the hierarchical bootstrap.

    Use it to print a score. A replicate resamples the draws, the seeds within each draw that it took, and the items once
    for all of them; its value is the mean of the scores there are. Percentiles of few draws make a narrow interval (five
    draws: the spread is a tenth too small); what it says of random's mean is not what `difference` asks.

    Args:
        scores: one subset's, in any unit; NaN is a missing score. A cell without any score is not resampled.
        rng: the only source of chance.
        replicates: how often to resample, 1 or more.
    """
    present = ~np.isnan(scores)
    n, n_scored = present.size, int(present.sum())
    if not n_scored:
        return Interval(None, None, None, n, 0)
    mean = float(scores[present].mean(dtype=np.float64))
    draws, items = np.any(present, axis=(1, 2)), np.any(present, axis=(0, 1))
    if items.sum() < FEWEST_CLUSTERS:
        return Interval(mean, None, None, n, n_scored)
    sums, counts = _resample_items(scores[draws][:, :, items], rng, replicates)
    times = _resample_seeds(
        np.any(present[draws], axis=2),
        rng.multinomial(draws.sum(), np.full(draws.sum(), 1 / draws.sum()), size=replicates),
        rng,
    )
    total, weight = (times * sums).sum(axis=(1, 2)), (times * counts).sum(axis=(1, 2))
    low, high = np.quantile(total[weight > 0] / weight[weight > 0], _TAILS)
    return Interval(mean, float(low), float(high), n, n_scored)


def difference(
    subset: Float[ndarray, "E T n"],
    random: Float[ndarray, "D S n"],
    rng: np.random.Generator,
    *,
    replicates: int = 10_000,
) -> Difference:
    """Whether a subset is better than one more random draw would be: subset minus random, paired by item.

    Use it before any claim of a gain. A score is

        x[d, s, i] = item i + draw d + seed s of d + (what d and s make of i),

    and the mean over n items of one cell row d varies by  v = σ²_draw + σ²_seed / S + σ²_rest / n  between draws; how
    hard the items are is the same for all of them and cancels. A subset that is nothing but one more draw differs from
    the mean of D draws with variance v · (1 + 1/D), and the variance s² (D - 1 degrees of freedom) of the draws' means
    estimates v whole, seeds and items included. So diff / (s · √(1 + 1/D)) is Student's t with D - 1 degrees, exactly
    so for normal scores: no resampling of five draws could tell that. The bootstrap over items (crossed) and seeds
    (within draws) is there for what s cannot see: a subset whose gains differ more from item to item, or from seed to
    seed, than those of a random draw. Its replicates give the variance b² of the difference and, from the same
    resamples, the part c² of s² that is due to items and seeds. Only the excess b² - c² · (1 + 1/D), where positive, is
    added, so that nothing is counted twice. Noise = excess (resampled differences, shrunk) + s · √(1 + 1/D) · t. A limit:
    three seeds resampled show two thirds of their variance, so a subset whose seeds scatter seven times as far as those
    of random draws is miscalled in 11 % of cases instead of 5 %.

    A score counts as its distance from the item's mean over all random cells, which changes nothing where none is
    missing, and keeps a hard item that one cell lacks from flattering it. Items that either side lacks in all cells are
    left out; so are draws and cells without a score. Where the subset has fewer seeds than random, the seeds' variance
    that s misses is added. A subset of E draws is judged by its mean: 1/E + 1/D, with the spread of both sides.

    Args:
        subset: scores of the subset; seeds may be as many as random's or not.
        random: scores of the random draws of the same size, on the same items.
        rng: the only source of chance.
        replicates: how often to resample, 1 or more; p is never below 2 / (replicates + 1).
    """
    both = ~np.isnan(subset).all(axis=(0, 1)) & ~np.isnan(random).all(axis=(0, 1))
    if not both.any():
        return Difference(None, None, None, None)
    centre = np.nanmean(random[:, :, both], axis=(0, 1), dtype=np.float64)
    x, first = _stacked(subset[:, :, both] - centre, random[:, :, both] - centre)
    present = ~np.isnan(x)
    means = np.nanmean(x, axis=(1, 2))
    diff = float(_gap(means, first))
    if abs(diff) <= _NOTHING * np.abs(centre).max():
        diff = 0.0
    if len(x) - first < 2 or both.sum() < FEWEST_CLUSTERS:
        return Difference(diff, None, None, None)

    sums, counts = _resample_items(x, rng, replicates)
    cells = np.any(present, axis=2)
    times = _resample_seeds(cells, np.ones((replicates, len(x)), dtype=np.int64), rng)
    total, weight = (times * sums).sum(axis=2), (times * counts).sum(axis=2)
    moved = np.divide(total, weight, out=np.tile(means, (replicates, 1)), where=weight > 0) - means
    scale = 1 / first + 1 / (len(x) - first)
    resampled = _gap(moved, first)
    excess = max(0.0, resampled.var() - scale * _spread(moved, first).mean())
    shrink = np.sqrt(excess / resampled.var()) if excess else 0.0
    lacking = _lacking_seeds(np.nanmean(np.where(cells[:, :, None], x, 0), axis=2), cells, first)
    values = diff + shrink * resampled
    values += np.sqrt(scale * _spread(means, first)) * rng.standard_t(len(x) - 2, size=replicates)
    values += np.sqrt(lacking) * rng.standard_normal(replicates)
    low, high = np.quantile(values, _TAILS)
    beyond = min((values <= 0).sum(), (values >= 0).sum())
    return Difference(diff, float(low), float(high), float(min(1.0, 2 * (beyond + 1) / (replicates + 1))))


def _stacked(subset: Float[ndarray, "E T n"], random: Float[ndarray, "D S n"]) -> tuple[Float[ndarray, "C U n"], int]:
    """The draws of both sides that have a score, the subset's first, and how many of them are the subset's."""
    sides = [side[~np.isnan(side).all(axis=(1, 2))] for side in (subset, random)]
    seeds = max(side.shape[1] for side in sides)
    stacked = np.full((sum(map(len, sides)), seeds, subset.shape[2]), np.nan)
    stacked[: len(sides[0]), : sides[0].shape[1]], stacked[len(sides[0]) :, : sides[1].shape[1]] = sides
    return stacked, len(sides[0])


def _gap(means: Float[ndarray, "*R C"], first: int) -> Float[ndarray, "*R"]:
    """Mean of the first draws minus mean of the others."""
    return means[..., :first].mean(axis=-1) - means[..., first:].mean(axis=-1)


def _spread(means: Float[ndarray, "*R C"], first: int) -> Float[ndarray, "*R"]:
    """Variance between draws of one side, pooled over both; a side of one draw has none to tell."""
    squares = sum(side.var(axis=-1) * side.shape[-1] for side in (means[..., :first], means[..., first:]))
    return squares / (means.shape[-1] - 2)


def _lacking_seeds(cell_means: Float[ndarray, "C U"], cells: Bool[ndarray, "C U"], first: int) -> float:
    """The variance of the difference that seeds cause and the spread of the draws misses: the subset has fewer."""
    held = cells.sum(axis=1)
    lacking = (1 / held[:first]).mean() - (1 / held[first:]).mean()
    freedom = (held - 1).sum()
    if lacking <= 0 or not freedom:
        return 0.0
    around = cell_means - (cell_means.sum(axis=1, where=cells) / held)[:, None]
    return float(lacking / first * np.square(around).sum(where=cells) / freedom)


def _resample_items(
    scores: Float[ndarray, "C U n"], rng: np.random.Generator, replicates: int
) -> tuple[Float[ndarray, "R C U"], Float[ndarray, "R C U"]]:
    """Each cell's sum of scores, and how many there are, over items drawn with replacement: the same for all cells."""
    n = scores.shape[2]
    present = ~np.isnan(scores)
    flat = np.concatenate([np.where(present, scores, 0.0).reshape(-1, n), present.reshape(-1, n)]).T
    found = np.empty((replicates, flat.shape[1]))
    step = max(1, _BLOCK // n)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        found[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n) @ flat
    sums, counts = np.split(found, 2, axis=1)
    return sums.reshape(-1, *scores.shape[:2]), counts.reshape(-1, *scores.shape[:2])


def _resample_seeds(
    cells: Bool[ndarray, "C U"], draws: Int[ndarray, "R C"], rng: np.random.Generator
) -> Int[ndarray, "R C U"]:
    """How often each cell is taken: every time that a draw is taken, as many of its seeds as it has, with replacement."""
    held = cells.sum(axis=1)
    return rng.multinomial(draws * held, cells / held[:, None])


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's adjustment for how many there are, in the order given.

    *Reference*: Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def verdict(diff: float, low: float, high: float, *, p_adjusted: float, higher_is_better: bool) -> Verdict:
    """What may be said of a subset beside random draws: the interval must exclude zero and the adjusted p be below 0.05.

    Args:
        diff: subset minus random, in the metric's unit.
        low: lower end of its interval.
        high: upper end.
        p_adjusted: after `holm`, over all comparisons that are shown.
        higher_is_better: False for a loss.
    """
    if low <= 0 <= high or p_adjusted >= LEVEL:
        return "no difference shown"
    return "beats random" if (diff > 0) == higher_is_better else "loses to random"


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Rows of values, each sorted once, so that ranks within any resample of the columns are sums of counts.

    Attributes:
        order: which columns of a row come first.
        below: how many values of the row are smaller.
        upto: how many are no larger.
    """

    order: Int[ndarray, "m s"]
    below: Int[ndarray, "m s"]
    upto: Int[ndarray, "m s"]

    @classmethod
    def of(cls, values: Float[ndarray, "m s"]) -> Ranked:
        """Sorts the rows; a NaN may stand where a column is never taken."""
        order = np.argsort(values, axis=1, kind="stable")
        ordered = np.take_along_axis(values, order, axis=1)
        place = np.broadcast_to(np.arange(values.shape[1]), values.shape)
        edge = ordered[:, 1:] != ordered[:, :-1]
        first, end = np.zeros_like(order), np.full_like(order, values.shape[1])
        first[:, 1:], end[:, :-1] = np.where(edge, place[:, 1:], 0), np.where(edge, place[:, 1:], values.shape[1])
        below, upto = np.empty_like(order), np.empty_like(order)
        np.put_along_axis(below, order, np.maximum.accumulate(first, axis=1), axis=1)
        np.put_along_axis(upto, order, np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1], axis=1)
        return cls(order, below, upto)

    def among(self, times: Float[ndarray, "m s"]) -> Float[ndarray, "m s"]:
        """Ranks where each column is taken so many times: how many values are smaller minus how many are larger, which
        is twice the distance from the mean rank, equal values sharing theirs."""
        sums = np.zeros((times.shape[0], times.shape[1] + 1))
        np.cumsum(np.take_along_axis(times, self.order, axis=1), axis=1, out=sums[:, 1:])
        both = np.take_along_axis(sums, self.below, axis=1) + np.take_along_axis(sums, self.upto, axis=1)
        return both - sums[:, -1:]


def rank_correlation(
    predicted: Float[ndarray, "m s"], found: Float[ndarray, "m s"], times: Float[ndarray, "m s"]
) -> Float[ndarray, "m"]:
    """Spearman's correlation of each row, of ranks by `Ranked.among`: 0 where all predictions are equal, which predicts
    nothing; NaN where what was found cannot be ranked."""
    weighed = times * found
    across, spread = (weighed * predicted).sum(axis=1), (weighed * found).sum(axis=1)
    spread = np.sqrt(spread * (times * predicted * predicted).sum(axis=1))
    rho = np.divide(across, spread, out=np.zeros(len(across)), where=spread > 0)
    return np.where((weighed != 0).any(axis=1), rho, np.nan)
