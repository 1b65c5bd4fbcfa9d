"""The Python interface: the same words as the command line and the recipe."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nncift.cachedir import cache_folder
from nncift.config import LabelConfig, ScoreConfig, SelectConfig
from nncift.data.frames import rows_of
from nncift.data.labels import Labels
from nncift.data.write import to_json
from nncift.evaluation.evaluate import Evaluation
from nncift.evaluation.evaluate import evaluate as _evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.pipeline import label as _label
from nncift.pipeline import select as _select
from nncift.pipeline.scoring import Scored
from nncift.pipeline.scoring import score as _score
from nncift.progress import Silent
from nncift.recipe import resolved
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.records import Record
from nncift.rehearsal.rehearse import rehearse
from nncift.run import content_key
from nncift.selection import Selection
from nncift.tracking import check_tracker, track_after

Rows = Any
"""A file, `hub:owner/name#split`, or rows in memory: mappings (a list of them, a `datasets.Dataset`), a pandas or polars data
frame, an Arrow table."""


def select(
    pool: Rows,
    *,
    target: Rows | None = None,
    existing: Rows | None = None,
    budget: int | float | str = "10%",
    track: str | None = None,
    **options: Any,
) -> Selection:
    """Chooses the subset of a pool that teaches most.

    Args:
        pool: a file (.jsonl, .json, .parquet, .csv), `hub:owner/name#split`, or rows in memory: mappings (a list of them, a
            `datasets.Dataset`), a pandas or polars data frame, an Arrow table; `as_input()` of the answer is of that type.
        target: rows that the subset should help with; without them the pool is its own target.
        existing: rows that the model already knows; what they cover is not chosen again.
        budget: rows (175), a share (0.05), or text (`"5%"`); a share is of the usable rows, rounded to nearest.
        track: `tensorboard`, `trackio` or `wandb`, which is told of the finished run; no part of its recipe.
        options: every further option of `nncift select`, with underscores: `influence`, `model`, `embedder`, `labels`,
            `objective`, `task`, `seed`, `output` and so on (see `nncift.config.SelectConfig`); `estimator` may be a selection
            too, whose estimator is then reused. Without `output` the run folder lies in the cache, under a name made of the
            options, so that the same call resumes.

    Returns:
        The selection, best first.

    Raises:
        NnciftError: a file, an option or a model cannot be used; the message says how to mend it.

    Example:
        >>> import nncift
        >>> picked = nncift.select([{"text": "one"}, {"text": "two"}], budget=1, influence="random")
        >>> len(picked)
        1
    """
    check_tracker(track)
    if isinstance(options.get("estimator"), Selection):
        options["estimator"] = options["estimator"].folder
    named = {"pool": _as_file(pool), "budget": budget, **options}
    named |= {name: _as_file(rows) for name, rows in (("target", target), ("existing", existing)) if rows is not None}
    config = SelectConfig.of(named)
    if config.output is None:
        key = content_key({name: str(value) for name, value in vars(resolved(config)).items()})
        config = replace(config, output=str(cache_folder() / "runs" / key[:16]))
    picked = _select(config)
    track_after([picked.folder], track, Silent())
    return picked if isinstance(pool, str | Path) else replace(picked, given=pool)


def label(pool: Rows, *, target: Rows | None = None, output: str | Path, **options: Any) -> Labels:
    """Computes exact influences and writes them to `output` (`.npz`); an interrupted call resumes.

    Args:
        pool, target: as in `select`.
        output: the labels file: `i`, `j`, `y`, `target_ids`, `pool_ids`, `meta`, and the dense `values` (float32 [m, n])
            where every pair is labelled.
        options: every further option of `nncift label`; `labels` is `all`, a number of pairs, `5%`, `u=5%` or `auto`.

    Raises:
        NnciftError: a file, an option or a model cannot be used; the message says how to mend it.
    """
    named = {"pool": _as_file(pool), "output": str(output), **options}
    if target is not None:
        named["target"] = _as_file(target)
    return _label(LabelConfig.of(named))


def fidelity(matrix: str | Path, *, pool: Rows, target: Rows | None = None, **options: Any) -> list[Record]:
    """Judges estimators and label designs on exact influences of every pair: what a few labels would have given.

    Args:
        matrix: the `.npz` that `label(..., labels="all")` wrote: `values` (float [m, n], NaN for masked pairs), `target_ids`
            and `pool_ids`; or `i`, `j`, `y` of every pair in place of the values.
        pool, target: the rows that were labelled, as in `label`; they are matched by their ids, in whatever order.
        options: every further option of `nncift fidelity`, with underscores: `estimator`, `design`, `labels`, `repeats`,
            `unseen`, `features`, `embedder`, `model`, `predictions`, `seed` and so on (see
            `nncift.rehearsal.options.FidelityConfig`).

    Returns:
        A record for each design and estimator, and for predicting the mean of the labels: what `nncift fidelity --json`
        prints.

    Raises:
        NnciftError: a file, an option or a model cannot be used; the message says how to mend it.
    """
    named = {"matrix": str(matrix), "pool": _as_file(pool), **options}
    if target is not None:
        named["target"] = _as_file(target)
    return rehearse(FidelityConfig.of(named))


def score(rows: Rows, *, run: str | Path | Selection, **options: Any) -> Scored:
    """Predicts the mean influence of new rows on the target of a finished run, with its estimator.

    Args:
        rows: new rows, as in `select`.
        run: the run folder, or its selection.
        options: every further option of `nncift score`: `format`, `embedder`, `output` (see `nncift.config.ScoreConfig`).

    Raises:
        NnciftError: the run has no estimator, or a file cannot be used; the message says how to mend it.
    """
    folder = run.folder if isinstance(run, Selection) else run
    return _score(ScoreConfig.of({"rows": _as_file(rows), "run": str(folder), **options}))


def evaluate(
    *subsets: Rows | Selection,
    test: Rows | None = None,
    pool: Rows | None = None,
    target: Rows | None = None,
    track: str | None = None,
    **options: Any,
) -> Evaluation:
    """Measures what subsets teach a language model, beside random subsets and other controls.

    Args:
        subsets: selections, run folders, files of chosen rows, or rows in memory; several are compared. A selection that was
            resized is taken for its rows: its run folder holds another subset.
        test: rows to measure on, as in `select`; those that are in the pool are left out. Not needed with `lds=True`.
        pool: what the subsets were chosen from; a selection or a run folder knows it.
        target: what the control `embedding` selects for; a selection or a run folder knows it.
        track: `tensorboard`, `trackio` or `wandb`, which is told of the scores.
        options: every further option of `nncift evaluate`, with underscores: `model`, `by`, `metrics`, `controls`, `seeds`,
            `draws`, `output` and so on (see `nncift.evaluation.options.EvaluateConfig`). Without `output` the cells lie in the
            cache, under a name made of the options, so that the same call resumes.

    Raises:
        NnciftError: a file, an option or a model cannot be used; the message says how to mend it.
    """
    check_tracker(track)
    names = tuple(_as_subset(one) for one in subsets)
    named: dict[str, Any] = {"subset": names, **options}
    given = {"test": test, "pool": pool, "target": target}
    resized = next((one for one in subsets if isinstance(one, Selection) and one.subset is None), None)
    if pool is None and resized is not None:
        given["pool"] = resized.pool.source
    named |= {name: _as_file(rows) for name, rows in given.items() if rows is not None}
    config = EvaluateConfig.of(named)
    if config.output is None:
        key = content_key({name: str(value) for name, value in vars(config).items()})
        config = replace(config, output=str(cache_folder() / "evaluations" / key[:16]))
    found = _evaluate(config)
    track_after([found.folder], track, Silent())
    return found


def _as_subset(one: Rows | Selection) -> str:
    """A run folder, or a file of rows; that of a resized selection is called by its run and size."""
    if not isinstance(one, Selection):
        return _as_file(one)
    if one.subset is not None:
        return str(one.folder)
    file = Path(_as_file(one.rows))
    place = file.with_name(file.stem) / f"{one.folder.name}-{len(one)}.jsonl"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(file.read_bytes())
    return str(place)


def _as_file(rows: Rows) -> str:
    """Rows in memory go to a file named by their content, so that a recipe can replay them; names stay names."""
    if isinstance(rows, str | Path):
        return str(rows)
    table = rows_of(rows)
    place, digest = cache_folder() / "rows", sha256()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        part = Path(folder) / "rows.jsonl"
        with part.open("wb") as file:
            for row in table:
                line = to_json(row) + b"\n"
                digest.update(line)
                file.write(line)
        path = place / f"{digest.hexdigest()[:32]}.jsonl"
        if not path.is_file():  # which is then in use, perhaps, and must not change
            part.replace(path)
    return str(path)
