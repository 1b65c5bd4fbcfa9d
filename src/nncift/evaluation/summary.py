"""What was measured, as records; and what may be said of it, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from jaxtyping import Float
from numpy import ndarray
from rich import box
from rich.markup import escape
from rich.table import Table

from nncift.errors import ConfigError
from nncift.evaluation.statistics import Difference, Verdict, difference, holm, mean_interval, verdict
from nncift.seeds import generator

UNITS = {"loss": "nats per response token", "judge": "of 1 to 5"}
"""Of the metrics that do not end at 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The scores of one subset under one metric.

    Attributes:
        subset: its name, such as `random` or that of a file.
        by: how it was put to use: `icl`, `lora`.
        metric: `loss` (nats per response token), `rouge1`, `bge` (up to 1), `judge` (1 to 5).
        scores: [draws, seeds, items], NaN where one is missing; a chosen subset has one draw.
        size: rows in the subset; it is compared with random rows of the same number.
    """

    subset: str
    by: str
    metric: str
    scores: Float[ndarray, "D S n"]
    size: int


class Record(TypedDict):
    """One subset under one metric, ready for JSON: None is what is not known.

    `ci` and `diff_ci` are [low, high] at 95 %; `diff_random` is subset minus random in the metric's unit; `n` is scores
    asked for (draws × seeds × items) and `n_scored` those there are.
    """

    subset: str
    by: str
    metric: str
    size: int
    draws: int
    seeds: int
    n: int
    n_scored: int
    mean: float | None
    ci: list[float] | None
    diff_random: float | None
    diff_ci: list[float] | None
    p_holm: float | None
    verdict: Verdict | None


def higher_is_better(metric: str) -> bool:
    """Whether more is better: for all but the loss."""
    return metric != "loss"


def summarise(scored: Sequence[Scored], *, seed: int, random: str = "random", replicates: int = 10_000) -> list[Record]:
    """Means, their intervals, and each subset beside random rows of the same number, way and metric.

    The p-values are adjusted over all comparisons in `scored`, so hand over at once all that is shown at once. All are
    resampled alike, so that a number depends on the scores behind it and the seed alone, that adjustment excepted.

    Args:
        scored: in the order of the records wanted; the items of one `by` and metric are the same test rows.
        seed: of the resampling.
        random: which subset is the yardstick.
        replicates: how often to resample.

    Raises:
        ConfigError: a subset is there twice, or it and its random rows are scored on different numbers of test rows.
    """
    yardsticks = {(one.by, one.metric, one.size): one for one in scored if one.subset == random}
    compared: list[Difference | None] = []
    seen: set[tuple[str, str, str, int]] = set()
    for one in scored:
        place = (one.subset, one.by, one.metric, one.size)
        if place in seen:
            raise ConfigError(f"{_called(one.subset, one.size, one.by)} is scored twice by {one.metric}.")
        seen.add(place)
        yardstick = yardsticks.get(place[1:])
        compared.append(None if yardstick is None or one is yardstick else _compare(one, yardstick, seed, replicates))
    adjusted = iter(holm([found.p for found in compared if found is not None and found.p is not None]))
    return [_record(one, found, adjusted, seed, replicates) for one, found in zip(scored, compared, strict=True)]


def comparisons(records: Sequence[Record]) -> int:
    """How many comparisons with random the p-values are adjusted for."""
    return sum(record["p_holm"] is not None for record in records)


def _compare(one: Scored, yardstick: Scored, seed: int, replicates: int) -> Difference:
    if one.scores.shape[2] != yardstick.scores.shape[2]:
        raise ConfigError(
            f"{_called(one.subset, one.size, one.by)} is scored by {one.metric} on {one.scores.shape[2]} test rows and "
            f"{yardstick.subset} on {yardstick.scores.shape[2]}. Score both on the same."
        )
    return difference(one.scores, yardstick.scores, generator(seed, "evaluation gain"), replicates=replicates)


def _record(one: Scored, found: Difference | None, adjusted: Iterator[float], seed: int, replicates: int) -> Record:
    """Takes the next adjusted p-value where there was a comparison."""
    of_mean = mean_interval(one.scores, generator(seed, "evaluation mean"), replicates=replicates)
    gain, said, p_holm, words = None, None, None, None
    if found is not None:
        gain = found.diff
        if found.diff is not None and found.low is not None and found.high is not None and found.p is not None:
            said, p_holm = [found.low, found.high], next(adjusted)
            better = higher_is_better(one.metric)
            words = verdict(found.diff, *said, p_adjusted=p_holm, higher_is_better=better)
    return Record(
        subset=one.subset,
        by=one.by,
        metric=one.metric,
        size=one.size,
        draws=one.scores.shape[0],
        seeds=one.scores.shape[1],
        n=of_mean.n,
        n_scored=of_mean.n_scored,
        mean=of_mean.mean,
        ci=None if of_mean.low is None or of_mean.high is None else [of_mean.low, of_mean.high],
        diff_random=gain,
        diff_ci=said,
        p_holm=p_holm,
        verdict=words,
    )


def sentences(records: Sequence[Record]) -> list[str]:
    """One line for each record, and a last one that says what the comparisons are worth."""
    return [*map(_sentence, records), _closing(records)]


def table(records: Sequence[Record]) -> Table:
    """The same for a terminal, for `nncift.catalogue.print_table`."""
    heads = ("subset", "rows", "by", "metric", "mean [95 %]", "scored", "trained", "minus random [95 %]", "p", "")
    drawn = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False, caption=_closing(records), caption_justify="left")
    for record in records:
        metric = record["metric"]
        cells = (
            record["subset"],
            f"{record['size']:,}",
            record["by"],
            metric,
            _number(record["mean"], record["ci"], metric),
            _scored(record),
            _trained(record),
            _number(record["diff_random"], record["diff_ci"], metric),
            "" if record["p_holm"] is None else _p(record["p_holm"]),
            record["verdict"] or "",
        )
        drawn.add_row(*map(escape, cells))
    return drawn


def _sentence(record: Record) -> str:
    metric, gain = record["metric"], record["diff_random"]
    mean = _number(record["mean"], record["ci"], metric) or "no score"
    unit = f" {UNITS[metric]}" if metric in UNITS and record["mean"] is not None else ""
    line = f"{_called(record['subset'], record['size'], record['by'])}: {metric} {mean}{unit}"
    line += f" ({_scored(record)} scored, {_trained(record)})"
    if gain is None:
        return line
    line += f"; {_number(abs(gain), None, metric)} {'lower' if gain < 0 else 'higher'} than random"
    if record["diff_ci"] is None or record["p_holm"] is None:
        return f"{line}, with too few random draws or test rows to judge by"
    return f"{line} {_ends(record['diff_ci'], metric)}, p {_p(record['p_holm'])}: {record['verdict']}"


def _closing(records: Sequence[Record]) -> str:
    count = comparisons(records)
    if not count:
        return "Nothing could be compared with random draws."
    return (
        f"p is adjusted for {count} comparison{'' if count == 1 else 's'} with random rows of the same number (Holm); the "
        "interval of a difference (95 %, each for itself) allows for what one more random draw would give."
    )


def _called(subset: str, size: int, by: str) -> str:
    return f"{subset}, {size:,} rows, by {by}"


def _scored(record: Record) -> str:
    return f"{record['n_scored']:,} of {record['n']:,}"


def _trained(record: Record) -> str:
    seeds = f"{record['seeds']} seed{'' if record['seeds'] == 1 else 's'}"
    return seeds if record["draws"] == 1 else f"{record['draws']} draws × {seeds}"


def _number(value: float | None, ends: list[float] | None, metric: str) -> str:
    if value is None:
        return ""
    return f"{value:.{_decimals(metric)}f}" + (f" {_ends(ends, metric)}" if ends else "")


def _ends(ends: list[float], metric: str) -> str:
    low, high = (f"{end:.{_decimals(metric)}f}" for end in ends)
    return f"[{low}, {high}]"


def _decimals(metric: str) -> int:
    return 2 if metric == "judge" else 4


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
