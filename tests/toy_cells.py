"""Records of an experiment's cells, written by hand: no run stands behind them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml


def write_experiment(folder: Path, tables: list[dict[str, Any]], cells: list[dict[str, Any]], **recipe: Any) -> Path:
    """Writes `experiment.yaml` and the records."""
    axes = {
        "model": ["small"],
        "influence": ["delift", "less"],
        "how": ["exact", "nncift"],
        "u": ["1%", "5%"],
        "v": ["10%", "30%"],
        "seed": [0, 1, 2],
    }
    body = {
        "experiment": "toy",
        "title": "A toy",
        "data": {"alpaca": {}},
        "axes": {axis: {value: {} for value in values} for axis, values in axes.items()},
        "tables": tables,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.yaml").write_text(yaml.safe_dump(body | recipe, sort_keys=False), encoding="utf-8")
    for cell in cells:
        path = folder / "cells" / f"{cell['cell']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(cell), encoding="utf-8")
    return folder


def cell(name: str, axes: dict[str, Any], result: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A cell that is done."""
    done = {"cell": name, "verb": name.split("/")[0], "axes": axes, "key": "k", "status": "done", "error": None}
    return done | {"seconds": 1.0, "result": result} | more


def score(subset: str, mean: float, **more: Any) -> dict[str, Any]:
    """A record of an evaluation, as `summarise` makes it."""
    record = {
        "subset": subset, "control": None, "matched": None, "by": "lora", "metric": "loss", "size": 30, "rows": 30,
        "draws": 1, "cells": 1, "seeds": 1, "n": 50, "n_scored": 50, "mean": mean, "ci": None, "diff_random": None,
        "diff_ci": None, "p_holm": None, "verdict": None,
    }  # fmt: skip
    return record | more


def fidelity(estimator: str, labels: int, **figures: Any) -> dict[str, Any]:
    """A record of a rehearsal."""
    names = ("mse", "r2", "spearman", "row_spearman", "candidate_spearman", "top30_overlap", "coverage90", "seconds")
    record: dict[str, Any] = dict.fromkeys(names)
    record |= {"design": "-" if estimator == "predict the mean" else "block", "estimator": estimator, "default": False}
    record |= {"labels": labels, "candidates": "all", "objective_gain": None, "learning": None, "quadrants": None}
    return record | {
        name: {"mean": one, "se": 0.01} if isinstance(one, float) else one for name, one in figures.items()
    }


def ledger(**stages: dict[str, float]) -> dict[str, Any]:
    """`costs.json` of a run."""
    names = ("lm_forwards", "lm_backwards", "encoder_forwards", "flops", "seconds", "peak_memory")
    whole = {stage: dict.fromkeys(names, 0) | spent for stage, spent in stages.items()}
    total = {name: sum(spent[name] for spent in whole.values()) for name in names}
    return {"stages": whole, "total": total, "exact": None, "estimator": None}


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
