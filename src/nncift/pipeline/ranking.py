"""From exact labels or an estimator to a ranking: fills the kernels, states the objective, runs greedy, says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.labels import Labels
from nncift.data.rows import ids_of
from nncift.errors import ConfigError
from nncift.estimator.base import Fitted
from nncift.kernel.lines import MASKED, Averaged, SomeLines
from nncift.ledger import Ledger
from nncift.objective.base import Kernels, Objective, Rule
from nncift.objective.functions import SetFunction
from nncift.objective.greedy import Search, greedy
from nncift.objective.problem import CoverageProblem
from nncift.objective.ranking import Ranking
from nncift.objective.reasons import explain
from nncift.objective.sparse import Bound, SparseCoverage
from nncift.objective.survey import check_finite
from nncift.pipeline.features import Readable
from nncift.pipeline.filling import Filling
from nncift.pipeline.models import Embeddings, Models
from nncift.seeds import generator
from nncift.selection import Influences, Inside, Picks


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
        bound: what is known of a choice from the best entries of each row; None where all were kept.
    """

    picks: Picks
    sampled: bool
    sampling_error: float | None
    covers: bool
    flops: int
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Ranker:
    """Answers from the kernels of a run, which are filled when it is first asked, and kept.

    Attributes:
        rank: the ranking of a number of rows.
        influences: every influence of a pool row on a target row.
        inside: the rows, kernels and set function behind the ranking.
    """

    rank: Callable[[int], Ranked]
    influences: Callable[[], Influences]
    inside: Inside


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
    setup = models.setup
    axes, influence = setup.axes, setup.influence
    own = barred[barred < axes.n]
    if len(own) == axes.n:
        raise ConfigError("no row of the pool can be scored by this language model; rejected rows say why.")
    helped = ids_of(axes.rows[: axes.m]) or ["every target"]
    layout = Filling(axes, setup.route.backend, barred, config.threads, models.sender)

    @cache
    def filled() -> tuple[Kernels, int]:
        kernels, flops = fill()
        candidates = ids_of(axes.columns[: axes.n])
        if not isinstance(kernels.target, Averaged) or not means_suffice:
            check_finite(kernels.target, kernels.of_target, candidates, helped, masked=kernels.masked, closed=own)
        return kernels, flops

    means_suffice = objective.name == "top-mean"

    def fill() -> tuple[Kernels, int]:
        if estimator is not None:
            return layout.from_estimator(estimator, features(), labels if config.known == "keep" else None)
        if labels is not None:
            return layout.from_labels(labels), 0
        seen = embeddings() if influence.traits.needs_embeddings else None
        session = influence.start(models.context(seen, Ledger()))
        return layout.from_session(session, models.reporter), 0

    def rank(budget: int) -> Ranked:
        kernels, flops = filled()
        left_out = axes.sampled_from - axes.m
        if isinstance(objective, Rule):
            open_ = np.setdiff1d(np.arange(axes.n), own)
            ranking, reasons = objective.rank(_only(open_, kernels), budget, rows=helped)
            ranking = replace(ranking, order=open_[ranking.order])
            return Ranked(_picks(ranking, reasons), left_out > 0, None, False, flops)
        whole = objective.problem(kernels, eta=config.eta, nu=config.nu)
        function = whole
        if config.entries and isinstance(whole, CoverageProblem):
            function = SparseCoverage.of(whole, config.entries, threads=config.threads)
        assert setup.allowance is not None
        lengths = models.lengths if setup.allowance.tokens is not None else None
        search = Search(config.optimizer, config.epsilon, config.seed, config.parts, config.threads, models.sender)
        ties = generator(config.seed, "ties").permutation(axes.n)
        ranking = greedy(
            function, setup.allowance.limits(budget, own, lengths), rest=kernels.means, search=search, ties=ties
        )
        represented = axes.rows[axes.m :] if objective.needs_pool and len(axes.rows) > axes.m else axes.rows[: axes.m]
        scores = whole.worth if isinstance(whole, CoverageProblem) and not whole.rows else None
        merit = kernels.means if scores is None else scores
        reasons = explain(function, ranking, ids_of(represented), merit)
        error = _sampling_error(whole, ranking.order, left_out) if left_out else None
        covers = scores is None and function.exhaustible
        bound = function.bound(ranking.order) if isinstance(function, SparseCoverage) else None
        return Ranked(_picks(ranking, reasons), left_out > 0, error, covers, flops, bound)

    def influences() -> Influences:
        kernels, _ = filled()
        values = kernels.dense_target()
        values = np.where(values == MASKED, np.nan, values)
        if len(own):
            values[own] = kernels.of_target.floors
            values[kernels.masked[:, 1], kernels.masked[:, 0]] = np.nan
        return Influences(values, axes.rows[: axes.m], axes.columns[: axes.n])

    def function() -> SetFunction | None:
        return None if isinstance(objective, Rule) else objective.problem(filled()[0], eta=config.eta, nu=config.nu)

    inside = Inside(axes.rows[: axes.m], axes.helped[: axes.own], (axes.n, axes.m), lambda: filled()[0], function)
    return Ranker(rank, influences, inside)


def _picks(ranking: Ranking, reasons: tuple[str, ...]) -> Picks:
    return Picks(ranking.order, ranking.gains, reasons, ranking.positive, ranking.merit, ranking.kept)


def _only(open_: Int[ndarray, " o"], kernels: Kernels) -> Kernels:
    """The kernels that a rule sees, of the candidates that it may pick."""
    n = kernels.target.shape[0]
    if len(open_) == n:
        return kernels
    place = np.full(n, -1)
    place[open_] = np.arange(len(open_))
    kept = kernels.masked[place[kernels.masked[:, 1]] >= 0]
    masked = np.stack([kept[:, 0], place[kept[:, 1]]], axis=1)
    return Kernels(SomeLines(kernels.target, open_), masked=masked, groups=kernels.groups, threads=kernels.threads)


def _sampling_error(function: SetFunction, order: np.ndarray, left_out: int) -> float | None:
    """Standard error of the mean coverage of a row over that mean, with the finite-population correction; None where the
    objective covers no target rows."""
    if not isinstance(function, CoverageProblem) or function.rows < 2 or function.cap is not None:
        return None
    r = function.rows
    gained = function.covered(order) - function.start
    mean = float(gained.mean())
    return float(gained.std(ddof=1) / mean * np.sqrt(left_out / (r + left_out) / r)) if mean > 0 else None
