"""A small experiment made in the test: rows, a language model and an encoder in folders, and a recipe over them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nncift.experiment.recipe import Recipe, parse_recipe
from nncift.experiment.records import Record, read_record
from nncift.experiment.running import Outcome, run_experiment
from toy_evaluation import Toy, make_toy

QUICK = {
    "by": "icl", "metrics": "loss", "controls": "initial,random", "seeds": 1, "draws": 2, "epochs": 1, "rank": 2,
    "learning_rate": 0.01, "shots": 2, "max_new_tokens": 4,
}  # fmt: skip


@dataclass(frozen=True)
class ToyExperiment:
    """Files of an experiment.

    Attributes:
        toy: rows and models; `toy.folder` is the data folder.
        body: the recipe, to be changed at will.
    """

    toy: Toy
    body: dict[str, Any]

    def recipe(self, **changes: Any) -> Recipe:
        """The recipe, with some of its keys replaced."""
        return parse_recipe(yaml.safe_dump(copy.deepcopy(self.body) | changes, sort_keys=False), "toy.yaml")

    def run(self, output: Path, text: str | None = None, **changes: Any) -> Outcome:
        """The experiment, run."""
        return run_experiment(self.recipe(**changes), output, root=self.toy.folder, text=text)

    def first(self, steps: int, **changes: Any) -> dict[str, Any]:
        """The first steps with the axes that they run over, as changes of the recipe."""
        kept = copy.deepcopy(self.body["steps"][:steps])
        used = {axis for step in kept for axis in step["over"]}
        axes = {axis: values for axis, values in self.axes(**changes).items() if axis in used}
        without = [entry for entry in self.body["without"] if used >= {*entry}]
        return {"steps": kept, "axes": axes, "without": without}

    def axes(self, **changes: Any) -> dict[str, Any]:
        """The axes, with some replaced."""
        return copy.deepcopy(self.body["axes"]) | changes


def make_experiment(folder: Path) -> ToyExperiment:
    """Three influences, exact and estimated, two budgets, compared by both routes; and what few labels would have given."""
    toy = make_toy(folder)
    roles = {role: {"file": f"{role}.jsonl"} for role in ("pool", "target", "test")}
    body = {
        "experiment": "toy",
        "title": "A toy",
        "claim": "Nothing.",
        "hardware": {"name": "a test", "flops": 1e9, "gpus": 2},
        "data": {"words": {**roles, "tokens": 40}},
        "axes": {
            "model": {
                "toy": {
                    "model": str(toy.model), "embedder": str(toy.encoder), "weights": 2e4, "device": "cpu",
                    "dtype": "float32",
                }
            },
            "influence": {
                "delift": {"influence": "delift"},
                "similarity": {"influence": "similarity"},
                "random": {"influence": "random"},
            },
            "how": {"exact": {"labels": "all"}, "few": {"labels": "40", "estimator": "means"}},
            "v": {"20%": {"budget": "20%"}, 8: {"budget": 8}},
            "u": {"u=30%": {"labels": "u=30%"}},
        },
        "without": [{"influence": ["random", "similarity"], "how": "few"}, {"influence": "similarity", "v": 8}],
        "steps": [
            {"verb": "select", "over": ["data", "model", "influence", "how", "v"]},
            {"verb": "evaluate", "over": ["data", "model", "v"], "subsets": "select", "options": QUICK},
            {"verb": "label", "over": ["data", "model", "influence"], "options": {"labels": "all"}},
            {
                "verb": "fidelity", "over": ["data", "model", "influence", "u"], "matrix": "label",
                "options": {"estimator": "means", "repeats": 2, "features": "embedding"},
            },
        ],
    }  # fmt: skip
    body["without"].append({"influence": ["similarity", "random"], "u": "u=30%"})
    return ToyExperiment(toy, body)


def all_records(folder: Path) -> dict[str, Record]:
    """Every record of a folder by name."""
    names = [path.relative_to(folder / "cells").as_posix() for path in sorted((folder / "cells").rglob("*.json"))]
    found = {name: read_record(folder, name.removesuffix(".json")) for name in names}
    return {record.cell: record for record in found.values() if record is not None}


def without_time(value: Any) -> Any:
    """Plain values without what is never the same twice."""
    if isinstance(value, Mapping):
        return {
            name: without_time(one)
            for name, one in value.items()
            if "seconds" not in name and name not in ("peak_memory", "select_trainings", "pays_after")
        }
    return [without_time(one) for one in value] if isinstance(value, list | tuple) else value


def told(record: Record) -> Any:
    """What a record says but for times."""
    return json.loads(json.dumps(without_time({name: getattr(record, name) for name in record.__slots__})))
