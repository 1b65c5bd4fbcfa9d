"""What was measured, as records: every subset's mean, and how it stands beside random rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from jaxtyping import Float
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.evaluation.options import By, Control
from nncift.evaluation.statistics import Difference, Verdict, difference, holm, mean_interval, verdict
from nncift.seeds import generator


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scored:
    """The scores of one subset under one metric.

    Attributes:
        subset: its name, such as `random` or that of a file.
        control: which control it is; None for what the user named.
        matched: of random rows of as many tokens, the subset whose tokens are matched.
        by: how it was put to use: `icl`, `lora`.
        metric: `loss` (nats per response token), `rouge1`, `bge` (up to 1), `judge` (1 to 5).
        scores: [draws, seeds, items], NaN where one is missing; a chosen subset has one draw.
        size: of the random rows that it is compared with.
        rows: how many rows were taught, the mean over draws.
        seeds: how many different seeds are behind the scores; random draws take them in turn.
    """

    subset: str
    control: Control | None
    matched: str | None
    by: By
    metric: str
    scores: Float[ndarray, "D S n"]
    size: int
    rows: float
    seeds: int


class Record(TypedDict):
    """One subset under one metric, ready for JSON: None is what is not known.

    `ci`, `diff_ci` and `diff_random_tokens_ci` are [low, high] at 95 %. `diff_random` is the subset minus as many random
    rows, `diff_random_tokens` minus random rows of as many tokens, in the metric's unit; the p-values and verdicts of both
    are there for the subsets that the user named, not for controls. `rows` were taught, `size` is what it is compared
    at. `cells` are draws × trainings (or answers) of each, `seeds` how many of these differ; `n` is scores asked for,
    `n_scored` those there are.
    """

    subset: str
    control: Control | None
    matched: str | None
    by: By
    metric: str
    size: int
    rows: float
    draws: int
    cells: int
    seeds: int
    n: int
    n_scored: int
    mean: float | None
    ci: list[float] | None
    diff_random: float | None
    diff_ci: list[float] | None
    p_holm: float | None
    verdict: Verdict | None
    diff_random_tokens: float | None
    diff_random_tokens_ci: list[float] | None
    p_holm_tokens: float | None
    verdict_tokens: Verdict | None


@dataclass(frozen=True, slots=True)
class _Compared:
    """One difference, and what may be said of it."""

    diff: float | None = None
    ci: list[float] | None = None
    p: float | None = None
    words: Verdict | None = None


def higher_is_better(metric: str) -> bool:
    """Whether more is better: for all but the loss."""
    return metric != "loss"


def summarise(scored: Sequence[Scored], *, seed: int, replicates: int = 10_000) -> list[Record]:
    """Means, their intervals, and each subset beside random rows: as many of them, and as many tokens.

    The p-values are adjusted over all comparisons of the user's subsets in `scored`, so hand over at once all that is
    shown at once. Controls stand beside random with an interval each and make no claim, so that they are not in that
    family. All are resampled alike: a number depends on the scores behind it and the seed alone, that adjustment
    excepted.

    Args:
        scored: in the order of the records wanted; the items of one `by` and metric are the same test rows.
        seed: of the resampling.
        replicates: how often to resample.

    Raises:
        ConfigError: a subset is there twice, or it and its random rows are scored on different numbers of test rows.
    """
    yardsticks = {(one.by, one.metric, one.size): one for one in scored if one.control == "random"}
    texts = {(one.by, one.metric, one.size, one.matched): one for one in scored if one.control == "random-tokens"}
    seen: set[tuple[str, str, str, int]] = set()
    found: list[list[Difference | None]] = []
    for one in scored:
        place = (one.by, one.metric, one.size)
        if (one.subset, *place) in seen:
            raise ConfigError(f"{one.subset} ({one.size:,} rows, by {one.by}) is scored twice by {one.metric}.")
        seen.add((one.subset, *place))
        beside = [yardsticks.get(place), None if one.control else texts.get((*place, one.subset))]
        found.append([_compare(one, other, seed, replicates) for other in beside])
    family = (pair for one, pair in zip(scored, found, strict=True) if one.control is None)
    adjusted = iter(holm([each.p for pair in family for each in pair if each is not None and each.p is not None]))
    return [_record(one, pair, adjusted, seed, replicates) for one, pair in zip(scored, found, strict=True)]


def comparisons(records: Sequence[Record]) -> int:
    """How many comparisons with random rows the p-values are adjusted for."""
    return sum((record["p_holm"] is not None) + (record["p_holm_tokens"] is not None) for record in records)


def _compare(one: Scored, other: Scored | None, seed: int, replicates: int) -> Difference | None:
    if other is None or other is one:
        return None
    if one.scores.shape[2] != other.scores.shape[2]:
        raise ConfigError(
            f"{one.subset} (by {one.by}) is scored by {one.metric} on {one.scores.shape[2]} test rows and {other.subset} "
            f"on {other.scores.shape[2]}. Score both on the same."
        )
    return difference(one.scores, other.scores, generator(seed, "evaluation gain"), replicates=replicates)


def _judged(one: Scored, found: Difference | None, adjusted: Iterator[float]) -> _Compared:
    """Takes the next adjusted p-value where there was a comparison that is claimed."""
    if found is None:
        return _Compared()
    if found.diff is None or found.low is None or found.high is None or found.p is None:
        return _Compared(found.diff)
    ends = [found.low, found.high]
    if one.control is not None:
        return _Compared(found.diff, ends)
    p = next(adjusted)
    words = verdict(found.diff, *ends, p_adjusted=p, higher_is_better=higher_is_better(one.metric))
    return _Compared(found.diff, ends, p, words)


def _record(
    one: Scored, pair: Sequence[Difference | None], adjusted: Iterator[float], seed: int, replicates: int
) -> Record:
    of_mean = mean_interval(one.scores, generator(seed, "evaluation mean"), replicates=replicates)
    rows, tokens = (_judged(one, found, adjusted) for found in pair)
    draws, per_draw, _ = one.scores.shape
    return Record(
        subset=one.subset,
        control=one.control,
        matched=one.matched,
        by=one.by,
        metric=one.metric,
        size=one.size,
        rows=one.rows,
        draws=draws,
        cells=draws * per_draw,
        seeds=one.seeds,
        n=of_mean.n,
        n_scored=of_mean.n_scored,
        mean=of_mean.mean,
        ci=None if of_mean.low is None or of_mean.high is None else [of_mean.low, of_mean.high],
        diff_random=rows.diff,
        diff_ci=rows.ci,
        p_holm=rows.p,
        verdict=rows.words,
        diff_random_tokens=tokens.diff,
        diff_random_tokens_ci=tokens.ci,
        p_holm_tokens=tokens.p,
        verdict_tokens=tokens.words,
    )
