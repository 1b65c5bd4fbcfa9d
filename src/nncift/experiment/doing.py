"""One cell done: the verb is called with its configuration, and what is worth keeping of its result goes into the record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from nncift.config import LabelConfig, Options, SelectConfig
from nncift.data.shards import lines_in
from nncift.evaluation.evaluate import evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.experiment.records import ids_hash
from nncift.pipeline import label, select
from nncift.pipeline.preparing import prepare
from nncift.progress import Reporter
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.rehearse import rehearse
from nncift.run import file_hash, read_records

Result = dict[str, Any]


def do(config: Options, reporter: Reporter, *, subjects: Mapping[str, Mapping[str, str]]) -> Result:
    """The result of one verb, in plain values.

    Args:
        config: of the verb.
        reporter: listens.
        subjects: of an evaluation, by the name of each subset the axes of its cell.

    Raises:
        NnciftError: whatever the verb raises.
    """
    match config:
        case SelectConfig():
            return _select(config, reporter)
        case LabelConfig():
            return _label(config, reporter)
        case FidelityConfig():
            return {"records": rehearse(config, reporter)}
        case EvaluateConfig():
            return _evaluate(config, reporter, subjects)
    raise TypeError(f"{type(config).__name__} is of no verb of an experiment")


def chosen_ids(run: Path) -> str | None:
    """Hash of the rows that a finished run chose, best first; None where there is none."""
    if not (run / "done.json").is_file():
        return None
    try:
        return ids_hash(json.loads(line)["id"] for line in lines_in(run, "selection"))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # damaged
        return None


def _select(config: SelectConfig, reporter: Reporter) -> Result:
    picked = select(config, reporter)
    labelled = read_records(picked.folder).get("label")
    return {
        "rows": len(picked),
        "labels": None if labelled is None else labelled.facts["labels"],
        "ids_hash": ids_hash(picked.ids),
        "costs": picked.costs,
        "fidelity": picked.fidelity,
        "notes": picked.notes,
    }


def _label(config: LabelConfig, reporter: Reporter) -> Result:
    """Calls are those that the influence says it makes for these pairs, as its hooks would count them."""
    started = perf_counter()
    labels = label(config, reporter)
    spent = round(perf_counter() - started, 3)
    setup = prepare(config)
    calls = setup.calls(setup.asked)
    costs = {"lm_forwards": calls.forwards, "lm_backwards": calls.backwards, "seconds": spent}
    found = {"stages": {"label": costs}, "total": costs, "exact": None, "estimator": None}
    assert config.output is not None
    return {"labels": len(labels), "costs": found, "file": file_hash(Path(config.output))}


def _evaluate(config: EvaluateConfig, reporter: Reporter, subjects: Mapping[str, Mapping[str, str]]) -> Result:
    found = evaluate(config, reporter)
    return {
        "records": found.records,
        "costs": found.costs,
        "notes": found.notes,
        "subjects": {name: dict(axes) for name, axes in subjects.items()},
    }
