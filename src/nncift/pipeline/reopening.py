"""A finished run, read again: its subset, costs and influences, without computing, loading a model or changing a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.data.labels import Labels
from nncift.disk import unsealed
from nncift.errors import ConfigError, NnciftError, RunError
from nncift.estimator.base import Fitted
from nncift.estimator.budget import LabelBudget
from nncift.estimator.features import Features
from nncift.estimator.storage import load
from nncift.pipeline import receipt
from nncift.pipeline.features import read_states, readable
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.keys import select_depends
from nncift.pipeline.making import make_estimator
from nncift.pipeline.models import Models
from nncift.pipeline.picked import read_picks
from nncift.pipeline.preparing import prepare, with_labels
from nncift.pipeline.ranking import make_ranker
from nncift.pipeline.reuse import expected_features
from nncift.pipeline.setup import Setup
from nncift.pipeline.twins import stored_twins
from nncift.pipeline.vectors import read_embeddings
from nncift.pipeline.writing import write_depends
from nncift.progress import Silent
from nncift.recipe import read_recipe
from nncift.registry import is_folder
from nncift.run import RunFolder, StageRecord, as_left, content_key
from nncift.selection import Selection

log = logging.getLogger(__name__)


def reopen(path: str | Path, *, pool: str | None = None, target: str | None = None) -> Selection:
    """The selection of a run folder.

    Args:
        path: the run folder.
        pool, target: where the files lie now, if not where they lay when it ran; their rows must be the same.

    Raises:
        ConfigError: it has no recipe.
        RunError: it did not finish, or its rows or files are not what they were.
        DataError: a file of rows cannot be read.
    """
    place = Path(path)
    config = _read(place)
    config = replace(config, pool=pool or config.pool, target=target or config.target)
    if not (place / "done.json").is_file():
        raise RunError(f"the run in {str(place)!r} did not finish. Go on with `nncift run {place / 'recipe.yaml'}`.")
    with as_left(place):
        return _reopened(place, config)


def _reopened(place: Path, config: SelectConfig) -> Selection:
    setup = prepare(config, twins=stored_twins(place, config))
    objective = setup.objective
    assert objective is not None
    with closing(RunFolder(place, reading=True)) as folder:
        record, written = (folder.records.get(name) for name in ("select", "write"))
        used = {name: stage for name, stage in folder.records.items() if name not in ("select", "write")}
        setup = _as_it_was(setup, place, folder.records)
        models = Models(setup, Silent())
        whole = (
            record is not None
            and folder.intact()
            and (record.key == content_key(select_depends(setup, models, config, objective, used)))
            and written is not None
            and written.key == content_key(write_depends(record, config.shard_rows))
        )
        if record is None or not whole:
            raise RunError(
                f"the rows, options or files of the run in {str(place)!r} are not what they were when it finished. "
                f"Do it again with `nncift run {place / 'recipe.yaml'}`, or evaluate its subset file with --pool."
            )
        done, spent = (_told(place / name) for name in ("done.json", "costs.json"))
        fidelity = place / "fidelity.json"
        picks = read_picks(folder, record)
    barred = receipt.barred(used)
    labels = _labels(place, setup)
    estimator = (
        load(place / "estimator.safetensors", make_estimator(config.estimator, hidden=config.hidden), features=None)
        if "estimate" in used
        else None
    )
    embeddings = cache(lambda: read_embeddings(place))
    features = cache(lambda: readable(setup.axes, embeddings(), read_states(place) if "states" in used else None))
    ranker = make_ranker(config, models, objective, embeddings, features, labels, estimator, barred)
    return Selection(
        pool=setup.pool,
        picks=picks,
        objective=objective.name,
        fidelity=_judged(fidelity) if fidelity.is_file() else None,
        costs=spent,
        facts=record.facts,
        notes=done["notes"],
        subset=place / Path(done["subset"]).name,
        folder=place,
        ranker=lambda budget: ranker.rank(budget).picks,
        influences=ranker.influences,
        inside=ranker.inside,
        learning=receipt.read_curve(place, used),
    )


def stands(path: Path) -> bool:
    """Whether `reopen` gives the run in a folder, after a note where it does not."""
    try:
        reopen(path)
    except NnciftError as error:
        log.warning("%s", error)
        return False
    return True


def _judged(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found["sentence"], str):
        raise ValueError(f"{path.name} does not say how well the estimator agrees")
    return found


@dataclass(frozen=True, slots=True)
class Learnt:
    """The estimator of a finished run, and what it read.

    Attributes:
        models: of the run, loaded when something is asked of them.
        fitted: the estimator.
        targets: features of the target rows; None where the influence is pointwise.
        pool: features of the pool rows.
        sure: whether its standard deviations are those of means over these targets: not where pool rows were rows of its
            kernel beside them, or where it is the estimator of another run.
    """

    models: Models
    fitted: Fitted
    targets: Features | None
    pool: Features
    sure: bool


def reopen_estimator(path: str | Path) -> Learnt:
    """The estimator of a run folder.

    Raises:
        ConfigError: it has no recipe, or every influence was computed and nothing estimated.
        RunError: it did not finish, or its rows or files are not what they were.
    """
    place = Path(path)
    reopen(place)  # refuses what is not whole
    config = _read(place)
    with as_left(place):
        return _learnt(place, config)


def _learnt(place: Path, config: SelectConfig) -> Learnt:
    with closing(RunFolder(place, reading=True)) as folder:
        setup = _as_it_was(prepare(config, twins=stored_twins(place, config)), place, folder.records)
    if setup.exact or (setup.pairs is None and not config.takes_over):
        raise ConfigError(
            f"the run in {str(place)!r} has no estimator: every influence was computed. Select with --labels 5% to have one."
        )
    models = Models(setup, Silent())
    made_by = expected_features(models) if config.takes_over else content_key(models.features_key)
    estimator = make_estimator(config.estimator, hidden=config.hidden)
    fitted = load(place / "estimator.safetensors", estimator, features=made_by)
    seen = readable(setup.axes, read_embeddings(place), read_states(place) if setup.reads_states else None)
    targets = None if seen.rows is None else seen.rows.take(np.arange(setup.axes.m))
    pool = seen.columns.take(np.arange(setup.axes.n))
    return Learnt(models, fitted, targets, pool, sure=len(setup.axes.rows) <= setup.axes.m and not config.takes_over)


def _told(path: Path) -> dict[str, Any]:
    try:
        return unsealed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} is missing or damaged. Make it again with `nncift run {path.parent / 'recipe.yaml'}`."
        ) from error


def _read(place: Path) -> SelectConfig:
    """The recipe of a run folder; an estimator that was taken over is read from its copy there, and no cluster is needed."""
    config = replace(read_recipe(place / "recipe.yaml"), executor="serial", workers=0)
    return replace(config, estimator=str(place)) if is_folder("estimator", config.estimator) else config


def _as_it_was(setup: Setup, place: Path, records: Mapping[str, StageRecord]) -> Setup:
    """The setup with the pairs that were labelled, where only the run itself could tell which."""
    if setup.labels.kind == "seconds" and "pace" in records:
        setup = with_labels(setup, LabelBudget("count", records["pace"].facts["pairs"]))
    path = place / "labels.npz"
    if setup.rounds is None or not path.is_file():
        return setup
    try:
        stored = read_npz(path)
    except RunError:  # damaged, which is told of every file alike
        return setup
    return setup.labelled((stored["i"], stored["j"]))


def _labels(place: Path, setup: Setup) -> Labels | None:
    if setup.pairs is None:
        return None
    stored = read_npz(place / "labels.npz")
    return Labels(stored["i"], stored["j"], stored["y"], kernel_shape(setup.axes)).take(np.isfinite(stored["y"]))
