"""The linear datamodeling score: do a run's influences predict what training on one half of the pool or another does?

A model is fine-tuned on many random halves of the pool. For each target the influences of a half's rows are added up, and
the sums are ranked against the target's loss after that training; the score is the rank correlation, averaged over targets.
It asks more of an influence than a good subset does: not which rows to take, but how much each of them is worth.

Two limits. The ceiling is one noisy training against another; an influence without noise of its own can reach the root of
it. And the intervals are about halves and targets, not about pool rows: over n rows even a kernel that knows nothing scores
up to about ±1 / √n when all targets are alike, so that a difference from the one random kernel means little below 100 rows.

*Reference*: Ilyas et al. (2022), Datamodels; Park et al. (2023), TRAK, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.data.rows import Example
from nncift.evaluation.bench import Bench, Trial
from nncift.evaluation.statistics import spearman
from nncift.progress import Reporter
from nncift.seeds import generator
from nncift.selection import Influences

ENOUGH = 40
"""Half-subsets from which the score is worth its name."""

_REPLICATES = 1000


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


def predictions(seen: Influences, members: Bool[ndarray, "s n"], targets: int) -> Float[ndarray, "s m"]:
    """Sums of influences over each half, [s, m]. A pair of the same text has none, and counts as the target's mean; a
    pointwise influence says the same of every target."""
    values = seen.values.astype(np.float64)
    values = np.where(np.isnan(values), np.nanmean(values, axis=0, keepdims=True), values)
    sums = members.astype(np.float64) @ values
    return np.repeat(sums, targets, axis=1) if sums.shape[1] == 1 and targets > 1 else sums


def score_records(found: Mapping[str, Float[ndarray, "s m"]], halves: Halves, *, seed: int) -> list[dict[str, Any]]:
    """The score of every kernel, of a random one as the floor, and of one training against the other as the ceiling.

    Args:
        found: by name what each kernel predicts.
        halves: what came out.
        seed: of the random kernel and of the bootstrap.

    Returns:
        One record each: `mean` with its 95 % interval `ci` over targets and halves, and how far it is above the random
        kernel, `diff_random` with `diff_ci`.
    """
    m = halves.outcomes.shape[2]
    noise = generator(seed, "lds/random").standard_normal((halves.members.shape[1], m))
    every = {**found, "random kernel": halves.members.astype(np.float64) @ noise}
    draws = list(_replicates(len(halves.members), m, seed))
    whole = (np.arange(len(halves.members)), np.arange(m))

    def mean(name: str, halves_: ndarray, targets: ndarray) -> float:
        first, second = (outcome[halves_][:, targets].T for outcome in halves.outcomes)
        if name == "ceiling":
            return _mean(spearman(first, second))
        sums = every[name][halves_][:, targets].T
        return 0.5 * (_mean(spearman(sums, first)) + _mean(spearman(sums, second)))

    names = [*every, "ceiling"]
    at = {name: mean(name, *whole) for name in names}
    boot = {name: np.array([mean(name, *draw) for draw in draws]) for name in names}
    return [
        {
            "subset": name,
            "by": "lora",
            "metric": "lds",
            "mean": at[name],
            "ci": _interval(boot[name]),
            "n": m,
            "n_scored": int(np.isfinite(halves.outcomes).all(axis=(0, 1)).sum()),
            "seeds": 2,
            "halves": len(halves.members),
            "diff_random": at[name] - at["random kernel"],
            "diff_ci": _interval(boot[name] - boot["random kernel"]),
        }
        for name in names
    ]


def score_sentences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The records in words."""
    by_name = {record["subset"]: record for record in records}
    ceiling = by_name["ceiling"]["mean"]
    lines = []
    for name, record in by_name.items():
        low, high = record["ci"]
        text = f"{name}: {record['mean']:.3f} ({low:.3f} to {high:.3f})"
        if name not in ("ceiling", "random kernel"):
            over = record["diff_ci"]
            told = "above" if over[0] > 0 else "below" if over[1] < 0 else "not told from"
            text += f", {told} a random kernel"
            if ceiling > 0:
                text += f", {record['mean'] / math.sqrt(ceiling):.0%} of what an influence without noise would reach"
        lines.append(text)
    one = next(iter(by_name.values()))
    head = f"Linear datamodeling score, {one['halves']:,} half-subsets, {one['n_scored']:,} of {one['n']:,} targets:"
    return [head, *lines]


def _replicates(halves: int, targets: int, seed: int) -> list[tuple[ndarray, ndarray]]:
    draw = generator(seed, "lds/bootstrap")
    return [(draw.integers(halves, size=halves), draw.integers(targets, size=targets)) for _ in range(_REPLICATES)]


def _mean(values: ndarray) -> float:
    """Mean over the targets that can be ranked."""
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else 0.0


def _interval(values: ndarray) -> list[float]:
    return [float(value) for value in np.quantile(values, (0.025, 0.975))]
