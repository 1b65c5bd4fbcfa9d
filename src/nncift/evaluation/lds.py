"""The linear datamodeling score: do a run's influences predict what training on one half of the pool or another does?

A model is fine-tuned on many random halves of the pool. For each target the influences of a half's rows are added up, and
the sums are ranked against the target's loss after that training; the score is the rank correlation, averaged over targets.
It asks more of an influence than a good subset does: not which rows to take, but how much each of them is worth. Where the
pool is its own target, a target is ranked over the halves that do not hold its own text.

Two limits. The ceiling is one noisy training against another; an influence without noise of its own can reach the root of
it. And the intervals are about halves and targets, not about pool rows: over n rows even a kernel that knows nothing scores
up to about ±1 / √n when all targets are alike, so that a difference from the one random kernel means little below 100 rows.

*Reference*: Ilyas et al. (2022), Datamodels; Park et al. (2023), TRAK, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.data.rows import Example, same_text_pairs
from nncift.evaluation.bench import Bench, Trial
from nncift.evaluation.statistics import Ranked, rank_correlation
from nncift.progress import Reporter
from nncift.seeds import generator
from nncift.selection import Influences

ENOUGH = 40
"""Half-subsets from which the score is worth its name."""

FEWEST_HALVES = 10
"""What a target is ranked over at least."""

_REPLICATES = 1000
_MEND = "Ask for more --half-subsets."
_ALIKE = "Either no target has a loss, or all trainings left the same."


@dataclass(frozen=True, slots=True)
class Halves:
    """What was trained, and what came out.

    Attributes:
        members: bool [s, n], which pool rows each half holds.
        outcomes: float64 [2, s, m], minus the loss of every target after each training, for two training seeds.
    """

    members: Bool[ndarray, "s n"]
    outcomes: Float[ndarray, "2 s m"]


def draw_halves(pool: int, count: int, seed: int) -> Bool[ndarray, "s n"]:
    """Random halves of a pool, all of the same size."""
    members = np.zeros((count, pool), dtype=np.bool_)
    for number, row in enumerate(members):
        row[generator(seed, f"lds/half/{number}").permutation(pool)[: pool // 2]] = True
    return members


def trials(pool: Sequence[Example], members: Bool[ndarray, "s n"], seed: int) -> list[list[Trial]]:
    """The trainings on every half, with two seeds: [2][s]."""
    seeds = [int(generator(seed, f"training/{k}").integers(2**31)) for k in range(2)]
    halves = [tuple(row for row, inside in zip(pool, half, strict=True) if inside) for half in members]
    return [[Trial(rows, "lora", seed) for rows in halves] for seed in seeds]


def train_halves(
    bench: Bench, pool: Sequence[Example], members: Bool[ndarray, "s n"], *, seed: int, reporter: Reporter
) -> Halves:
    """Fine-tunes on every half with two seeds, and measures every target; trainings that are kept are not made again.

    *Cost*: 2 · s trainings on n / 2 rows.
    """
    every = trials(pool, members, seed)
    missing = [trial for of_seed in every for trial in of_seed if bench.missing(trial, answers=False)]
    reporter.begin("halves", sum(bench.work(trial, answers=False) for trial in missing), "rows")
    losses = [[bench.cell(trial, answers=False).loss for trial in of_seed] for of_seed in every]
    reporter.end(f"{2 * len(members):,} trainings, {2 * len(members) - len(missing):,} of them kept from before")
    return Halves(members, -np.array(losses, dtype=np.float64))


def holding_own(
    pool: Sequence[Example], targets: Sequence[Example], members: Bool[ndarray, "s n"]
) -> Bool[ndarray, "s m"]:
    """Which halves hold a row of a target's own text. Whether they do decides most of the target's loss, and no influence
    has a value for it: the target is ranked over the other halves alone."""
    own = np.zeros((len(pool), len(targets)), dtype=np.float64)
    target, row = same_text_pairs(targets, pool).T
    own[row, target] = 1
    return members.astype(np.float64) @ own > 0


def predictions(seen: Influences, members: Bool[ndarray, "s n"], targets: int) -> Float[ndarray, "s m"]:
    """Sums of influences over each half, [s, m]. A pair of the same text adds nothing: `holding_own` leaves its halves
    out. A pointwise influence says the same of every target."""
    sums = members.astype(np.float64) @ np.nan_to_num(seen.values.astype(np.float64))
    return np.repeat(sums, targets, axis=1) if sums.shape[1] == 1 and targets > 1 else sums


def score_records(
    found: Mapping[str, Float[ndarray, "s m"]], halves: Halves, *, left_out: Bool[ndarray, "s m"], seed: int
) -> list[dict[str, Any]]:
    """The score of every kernel, of a random one as the floor, and of one training against the other as the ceiling.

    A kernel that predicts the same for all halves scores 0 on that target. A target counts where both trainings rank the
    halves that are left to it, and these are ten or more.

    Args:
        found: by name what each kernel predicts.
        halves: what came out.
        left_out: which halves do not count for a target, from `holding_own`.
        seed: of the random kernel and of the bootstrap.

    Returns:
        One record each: `mean` with its 95 % interval `ci` over targets and halves, and how far it is above the random
        kernel, `diff_random` with `diff_ci`; all four None where no target counts. `n_few` of the `n` targets have fewer
        than ten halves, `n_scored` count.

    *Cost*: 1000 replicates, each a few sums over [s, m] per kernel: 6 s for 5 kernels, 40 halves, 500 targets.
    """
    s, m = halves.outcomes.shape[1:]
    noise = generator(seed, "lds/random").standard_normal((halves.members.shape[1], m))
    every = {**found, "random kernel": halves.members.astype(np.float64) @ noise}
    few = (~left_out).sum(axis=0) < FEWEST_HALVES
    counted = ~left_out.T & (~few & np.isfinite(halves.outcomes).all(axis=(0, 1)))[:, None]
    ranked = [Ranked.of(sums.T) for sums in every.values()]
    trained = [Ranked.of(outcome.T) for outcome in halves.outcomes]

    at = _correlations(ranked, trained, counted.astype(np.float64))
    mean = _over_targets(at, np.ones(m))
    boot = np.array(
        [
            _over_targets(_correlations(ranked, trained, counted * times), taken)
            for times, taken in _replicates(s, m, seed)
        ]
    )
    names = [*every, "ceiling"]
    floor = names.index("random kernel")
    return [
        {
            "subset": name,
            "by": "lora",
            "metric": "lds",
            "mean": _number(mean[k]),
            "ci": _interval(boot[:, k]),
            "n": m,
            "n_scored": int(np.isfinite(at[k]).sum()),
            "n_few": int(few.sum()),
            "seeds": 2,
            "halves": s,
            "diff_random": _number(mean[k] - mean[floor]),
            "diff_ci": _interval(boot[:, k] - boot[:, floor]),
        }
        for k, name in enumerate(names)
    ]


def score_sentences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The records in words."""
    by_name = {record["subset"]: record for record in records}
    one = next(iter(by_name.values()))
    head = f"Linear datamodeling score, {one['halves']:,} half-subsets, {one['n_scored']:,} of {one['n']:,} targets"
    if one["n_few"]:
        head += f" ({one['n_few']:,} left out: fewer than {FEWEST_HALVES} half-subsets without the target's own text)"
    if one["mean"] is None:
        return [f"{head}: nothing can be said. {_MEND if one['n_few'] else _ALIKE}"]
    return [f"{head}:", *(_sentence(record, by_name["ceiling"]["mean"]) for record in records)]


def _sentence(record: Mapping[str, Any], ceiling: float) -> str:
    low, high = record["ci"]
    text = f"{record['subset']}: {record['mean']:.3f} ({low:.3f} to {high:.3f})"
    if record["subset"] in ("ceiling", "random kernel"):
        return text
    over = record["diff_ci"]
    text += f", {'above' if over[0] > 0 else 'below' if over[1] < 0 else 'not told from'} a random kernel"
    if ceiling > 0:
        text += f", {record['mean'] / math.sqrt(ceiling):.0%} of what an influence without noise would reach"
    return text


def _correlations(
    ranked: Sequence[Ranked], trained: Sequence[Ranked], times: Float[ndarray, "m s"]
) -> Float[ndarray, "k m"]:
    """Per kernel, and last for one training against the other, each target's rank correlation, the mean of both
    trainings'; NaN where a training cannot be ranked."""
    first, second = (outcome.among(times) for outcome in trained)
    predicted = (one.among(times) for one in ranked)
    found = [[rank_correlation(sums, outcome, times) for outcome in (first, second)] for sums in predicted]
    found.append([rank_correlation(first, second, times), rank_correlation(second, first, times)])
    return np.mean(found, axis=1)


def _over_targets(values: Float[ndarray, "k m"], taken: Float[ndarray, "m"]) -> Float[ndarray, "k"]:
    """Mean over the targets that count, each taken so many times; NaN without any."""
    known = np.isfinite(values)
    weight = (known * taken).sum(axis=1)
    total = (np.where(known, values, 0) * taken).sum(axis=1)
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=weight > 0)


def _replicates(halves: int, targets: int, seed: int) -> Iterator[tuple[ndarray, ndarray]]:
    """How often each half and each target is taken."""
    draw = generator(seed, "lds/bootstrap")
    for _ in range(_REPLICATES):
        of_halves, of_targets = draw.integers(halves, size=halves), draw.integers(targets, size=targets)
        yield np.bincount(of_halves, minlength=halves), np.bincount(of_targets, minlength=targets)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _interval(values: ndarray) -> list[float] | None:
    """Percentiles over the replicates in which a target counted."""
    there = values[np.isfinite(values)]
    return [float(value) for value in np.quantile(there, (0.025, 0.975))] if len(there) else None
