"""The rounds of `select` on a matrix in which every influence is known."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np

from nncift.data.labels import Labels
from nncift.estimator.adaptive import adaptive_pairs
from nncift.estimator.base import Estimator, Fitted, Unsure
from nncift.estimator.budget import LabelBudget
from nncift.estimator.design import pairs_to_label
from nncift.estimator.features import Features
from nncift.estimator.openings import Pairs
from nncift.estimator.rounds import Learnt, View, learn_in_rounds
from nncift.rehearsal.gains import chosen
from nncift.rehearsal.matrix import Matrix
from nncift.rehearsal.trials import Trial
from nncift.seeds import generator

CHOSEN = 0.1
"""Of the candidates, as many as `select` chooses where it is told nothing else."""


def continue_trial(
    trial: Trial, estimator: Estimator, matrix: Matrix, target: Features | None, pool: Features
) -> tuple[Trial, Learnt, float]:
    """Labels from the matrix in rounds, each after a look at the estimator, as a run of `select` does.

    Returns:
        The trial with all labels, what was learnt, and the seconds that all fits took.
    """
    assert trial.rounds is not None
    spent = 0.0
    budget = max(1, round(CHOSEN * len(matrix.candidates)))

    def draw(number: int, count: int, taken: Pairs | None, fitted: Fitted | None) -> Pairs:
        if taken is None:
            return trial.labels.i, trial.labels.j
        rng = generator(trial.seed, f"labels/round {number}")
        m, n = matrix.values.shape
        if trial.design == "adaptive" and isinstance(fitted, Unsure):
            rows = np.bincount(taken[0], minlength=m)
            return adaptive_pairs(
                count, fitted.candidate_sd(pool), row_count=rows, taken=taken, rng=rng, masked=matrix.masked,
                among=trial.among,
            )  # fmt: skip
        return pairs_to_label(
            LabelBudget("count", count), m, n, masked=matrix.masked, rng=rng,
            design=None if trial.usual or trial.design == "adaptive" else trial.design, among=trial.among, taken=taken,
        )  # fmt: skip

    def fit(labels: Labels) -> Fitted:
        nonlocal spent
        begun = perf_counter()
        fitted = estimator.fit(labels, target, pool, seed=trial.seed)
        spent += perf_counter() - begun
        return fitted

    def view(fitted: Fitted, labels: Labels) -> View:
        kernel = fitted.kernel(target, pool)
        ranking = chosen(kernel.fill().T, matrix.masked, budget)
        return View(kernel.candidate_means(), ranking.order, float(ranking.gains.sum()))

    learnt = learn_in_rounds(
        trial.rounds,
        matrix.values.shape,
        draw=draw,
        label=lambda pairs: matrix.values[pairs],
        fit=fit,
        predict=lambda fitted, pairs: fitted.kernel(target, pool).at(*pairs),
        view=view,
        tell=lambda found: None,
    )
    return replace(trial, labels=learnt.labels), learnt, spent


def says_how_sure(estimator: Estimator) -> bool:
    """Whether `adaptive` can go on where it is least sure."""
    fitted = getattr(estimator, "fitted", None)
    return isinstance(fitted, type) and issubclass(fitted, Unsure)
