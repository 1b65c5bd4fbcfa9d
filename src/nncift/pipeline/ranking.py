"""From exact labels or an estimator to a ranking: fills the kernels, states the objective, runs greedy, says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Fitted
from nncift.ledger import Ledger
from nncift.objective.base import Kernels, Objective, Rule
from nncift.objective.greedy import Ranking, greedy
from nncift.objective.modular import mean_influence
from nncift.objective.problem import CoverageProblem, check_finite
from nncift.objective.reasons import explain
from nncift.pipeline import filling
from nncift.pipeline.features import Readable
from nncift.pipeline.models import Embeddings, Models
from nncift.selection import Influences, Picks


@dataclass(frozen=True, slots=True)
class Ranked:
    """A ranking, and how far a sample of the target rows can be off.

    Attributes:
        picks: the ranking with its reasons.
        sampled: whether only a sample of the target rows is represented.
        sampling_error: standard error of their coverage that comes of it, as a share of it; None where nothing was
            left out, or the objective covers no target rows.
        covers: whether the objective covers rows, so that gains can run out.
        flops: estimated floating-point operations of filling the kernels.
    """

    picks: Picks
    sampled: bool
    sampling_error: float | None
    covers: bool
    flops: int


@dataclass(frozen=True, slots=True)
class Ranker:
    """Answers from the kernels of a run, which are filled when it is first asked, and kept.

    Attributes:
        rank: the ranking of a number of rows.
        influences: every influence of a pool row on a target row.
    """

    rank: Callable[[int], Ranked]
    influences: Callable[[], Influences]


def make_ranker(
    config: SelectConfig,
    models: Models,
    objective: Objective | Rule,
    embeddings: Callable[[], Embeddings],
    features: Callable[[], Readable],
    labels: Labels | None,
    estimator: Fitted | None,
    barred: Int[ndarray, " b"],
) -> Ranker:
    """Ranks any number of rows.

    Args:
        config: weights, threads, and what to do with known labels.
        models: of the run.
        objective: the set function or rule.
        embeddings: gives the vectors of both axes.
        features: gives what the estimator reads of both axes.
        labels: exact influences, None for a free teacher.
        estimator: None where every influence is exact.
        barred: positions of columns that cannot be scored: pool rows among them are never picked.
    """
    axes, influence = models.setup.axes, models.setup.influence
    everywhere, barred = barred, barred[barred < axes.n]
    if len(barred) == axes.n:
        raise ConfigError("no row of the pool can be scored by this language model; rejected rows say why.")

    @cache
    def filled() -> filling.Filled:
        every = fill()
        filling.bar(every, everywhere)
        return every

    def fill() -> filling.Filled:
        if estimator is not None:
            known = labels if config.known == "keep" else None
            return filling.from_estimator(estimator, axes, features(), known, threads=config.threads)
        if labels is not None:
            return filling.from_labels(axes, labels)
        seen = embeddings() if influence.traits.needs_embeddings else None
        return filling.from_session(axes, influence.start(models.context(seen, Ledger())), models.reporter)

    def rank(budget: int) -> Ranked:
        kernels = filling.kernels(filled(), axes)
        helped = [row.id for row in axes.rows[: axes.m]] or ["every target"]
        check_finite(kernels.target, [row.id for row in axes.columns[: axes.n]], helped)
        left_out = axes.sampled_from - axes.m
        flops = filled().flops
        if isinstance(objective, Rule):
            open_ = np.setdiff1d(np.arange(axes.n), barred)
            ranking, reasons = objective.rank(_only(open_, kernels), budget, rows=helped)
            picks = Picks(open_[ranking.order], ranking.gains, reasons, ranking.positive, ranking.merit)
            return Ranked(picks, left_out > 0, None, False, flops)
        merit = mean_influence(kernels)
        problem = objective.problem(kernels, eta=config.eta, nu=config.nu)
        ranking = without(barred, greedy(problem, budget + len(barred), rest=merit, threads=config.threads), budget)
        represented = axes.rows[axes.m :] if objective.needs_pool else axes.rows[: axes.m]
        score = merit if problem.modular is None else problem.modular
        reasons = explain(problem, ranking, [row.id for row in represented], score)
        picks = Picks(ranking.order, ranking.gains, reasons, ranking.positive, ranking.merit)
        error = _sampling_error(problem, ranking.order, left_out) if left_out else None
        return Ranked(picks, left_out > 0, error, problem.values.shape[1] > 0, flops)

    def influences() -> Influences:
        kernels = filling.kernels(filled(), axes)
        values = kernels.target.copy()
        values[kernels.masked[:, 1], kernels.masked[:, 0]] = np.nan
        return Influences(values, axes.rows[: axes.m], axes.columns[: axes.n])

    return Ranker(rank, influences)


def _only(open_: Int[ndarray, " o"], kernels: Kernels) -> Kernels:
    """The kernels that a rule sees, of the candidates that it may pick."""
    if len(open_) == len(kernels.target):
        return kernels
    place = np.full(len(kernels.target), -1)
    place[open_] = np.arange(len(open_))
    kept = kernels.masked[place[kernels.masked[:, 1]] >= 0]
    masked = np.stack([kept[:, 0], place[kept[:, 1]]], axis=1)
    return Kernels(kernels.target[open_], masked=masked, groups=kernels.groups)


def without(barred: Int[ndarray, " b"], ranking: Ranking, budget: int) -> Ranking:
    """The first picks of a ranking that are not barred; a barred candidate covers nothing, so that it changed no other."""
    kept = ~np.isin(ranking.order, barred)
    positive = int(kept[: ranking.positive].sum())
    order, gains = ranking.order[kept][:budget], ranking.gains[kept][:budget]
    return Ranking(order, gains, min(positive, len(order)), ranking.merit)


def _sampling_error(problem: CoverageProblem, order: np.ndarray, left_out: int) -> float | None:
    """Standard error of the mean coverage of a row over that mean, with the finite-population correction; None where the
    objective covers no target rows."""
    r = problem.values.shape[1]
    if r < 2 or problem.cap is not None:
        return None
    covered = problem.start.copy()
    for j in order:
        np.maximum(covered, problem.values[j], out=covered)
    gained = covered - problem.start
    mean = float(gained.mean())
    return float(gained.std(ddof=1) / mean * np.sqrt(left_out / (r + left_out) / r)) if mean > 0 else None
