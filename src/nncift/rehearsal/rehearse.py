"""The verb `fidelity`: the method for a few labels, again and again, where every influence is known."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from nncift.data.arrays import write_npz
from nncift.errors import ConfigError
from nncift.estimator.base import Estimator, Layered, Unsure
from nncift.estimator.features import Features
from nncift.estimator.rounds import Round
from nncift.pipeline.setup import make_estimator
from nncift.progress import Reporter, Silent
from nncift.rehearsal.continuing import continue_trial, says_how_sure
from nncift.rehearsal.judging import Judge
from nncift.rehearsal.matrix import Matrix, read_matrix
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.reading import read_features, read_sides
from nncift.rehearsal.records import BASELINE, Record, Tally
from nncift.rehearsal.trials import Trial, draw_trials

log = logging.getLogger(__name__)


def rehearse(config: FidelityConfig, reporter: Reporter | None = None) -> list[Record]:
    """Judges estimators and label designs on a matrix of exact influences.

    For each design and repeat some pairs are labelled from the matrix, each estimator is fitted to these labels and
    predicts all pairs, and the predictions are held against the matrix.

    Returns:
        One record for each design and estimator, and one for predicting the mean of the labels; with candidates withheld
        from labelling as many again for these alone.

    Raises:
        NnciftError: anything that a user can mend.

    *Cost*: a fit for each design, estimator and repeat, six or so where labels are drawn in rounds; of the language model
    one forward for each row.
    """
    reporter = reporter or Silent()
    estimators = _estimators(config)
    matrix = read_matrix(Path(config.matrix))
    sides = read_sides(config, matrix)
    trials = draw_trials(config, matrix)
    keep = _keeper(config, matrix)
    target, pool = read_features(config, sides, reporter)
    judge = Judge.of(matrix, seed=config.seed)
    tally = Tally()
    beside = next((trial.design for trial in trials if trial.usual), trials[0].design)
    combinations = [(trial, name) for trial in trials for name in estimators if _fits(trial, estimators[name])]
    seen: set[int] = set()
    reporter.begin("fit", len(combinations), "fits")
    for trial, name in combinations:
        shown, found = _predict(estimators[name], trial, matrix, target, pool)
        labelled = shown.labelled
        if trial.design == beside and trial.repeat not in seen:
            seen.add(trial.repeat)
            guess = np.full(labelled.shape, shown.labels.y.mean(dtype=np.float64), dtype=np.float32)
            tally.add(BASELINE, judge.judge(guess, shown.labels, labelled, shown.unseen, seed=shown.seed, seconds=None))
        row = (trial.design, name, trial.usual and name == FidelityConfig.estimator)
        tally.add(
            row,
            judge.judge(
                found.values,
                shown.labels,
                labelled,
                shown.unseen,
                seed=shown.seed,
                seconds=found.seconds,
                sd=found.sd,
                rounds=found.rounds,
            ),
        )
        keep(shown, name, found.values)
        reporter.advance(1)
    reporter.end(f"{len(combinations):,} fits")
    return tally.records()


def _estimators(config: FidelityConfig) -> dict[str, Estimator]:
    """Those that are judged, by name; hidden layers are those of the networks among them.

    Raises:
        ConfigError: one is unknown or no estimator, or hidden layers are named and none has any.
    """
    own = {name: make_estimator(name) for name in config.estimators}
    layered = [name for name, estimator in own.items() if isinstance(estimator, Layered)]
    if config.hidden is not None and not layered:
        raise ConfigError(f"none of the estimators {config.estimator!r} has hidden layers. Leave out --hidden.")
    return own | {name: make_estimator(name, hidden=config.hidden) for name in layered}


@dataclass(frozen=True, slots=True)
class _Predicted:
    """All pairs from the labels of a trial, how many seconds that took, how sure the estimator is of candidates, and the
    learning curve where labels were drawn in rounds."""

    values: Float32[ndarray, "m n"]
    seconds: float
    sd: Float[ndarray, " n"] | None
    rounds: tuple[Round, ...] | None


def _predict(
    estimator: Estimator, trial: Trial, matrix: Matrix, target: Features | None, pool: Features
) -> tuple[Trial, _Predicted]:
    """The trial with all of its labels, and what was predicted from these."""
    rounds = None
    if trial.rounds is None:
        begun = perf_counter()
        fitted = estimator.fit(trial.labels, target, pool, seed=trial.seed)
        spent = perf_counter() - begun
    else:
        trial, learnt, spent = continue_trial(trial, estimator, matrix, target, pool)
        fitted, rounds = learnt.fitted, learnt.rounds
    fitted.kernel(None if target is None else target.take([0]), pool.take([0])).fill()  # compiles, the first time
    begun = perf_counter()
    values = fitted.kernel(target, pool).fill()
    spent += perf_counter() - begun
    sd = fitted.candidate_sd(pool) if isinstance(fitted, Unsure) else None
    return trial, _Predicted(values.T, spent, sd, rounds)


def _fits(trial: Trial, estimator: Estimator) -> bool:
    """Whether a design and an estimator go together."""
    if trial.design != "adaptive" or says_how_sure(estimator):
        return True
    if trial.repeat == 0:
        name = type(estimator).__name__
        log.warning("the design `adaptive` takes an estimator that says how sure it is, and %s does not", name)
    return False


def _keeper(config: FidelityConfig, matrix: Matrix) -> Callable[[Trial, str, ndarray], None]:
    """What keeps a prediction, in the order of the user's matrix; nothing where no folder is named.

    Raises:
        ConfigError: the folder cannot be made.
    """
    if config.predictions is None:
        return lambda trial, name, predicted: None
    folder = Path(config.predictions)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--predictions {config.predictions!r} cannot be made a folder: {error.strerror}.") from error
    names = {"target_ids": (matrix.target_ids, matrix.rows), "pool_ids": (matrix.pool_ids, matrix.columns)}
    filed = {name: _filed_ids(ids, places) for name, (ids, places) in names.items()}

    def keep(trial: Trial, name: str, predicted: ndarray) -> None:
        unseen = np.zeros(len(matrix.pool_ids), dtype=bool)
        unseen[matrix.columns[trial.unseen]] = True
        arrays = {
            "predicted": matrix.as_filed(predicted),
            "labelled": matrix.as_filed(trial.labelled),
            "unseen": unseen,
            **filed,
        }
        file = re.sub(r"[^\w.-]+", ".", f"{trial.design}-{name}-{trial.repeat}") + ".npz"
        write_npz(folder / file, arrays)

    return keep


def _filed_ids(ids: tuple[str, ...], places: ndarray) -> ndarray:
    filed = np.empty(len(ids), dtype=object)
    filed[places[: len(ids)]] = ids
    return filed.astype(np.str_)
