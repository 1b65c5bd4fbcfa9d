"""What `fidelity` cells found, by place in the grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nncift.experiment.tables.cells import Experiment, Fact

MEAN = "predict the mean"
MEANS = "means"
BASELINES = (MEAN, MEANS)
"""Estimators that read no text."""

_WORDS = ("design", "estimator", "candidates", "labels")


def fidelity_facts(experiment: Experiment) -> Iterator[Fact]:
    """Every record of every `fidelity` cell; its own words come before an axis of the recipe of the same name."""
    for cell in experiment.done("fidelity"):
        for record in cell.result.get("records") or ():
            words = {name: str(record[name]) for name in _WORDS}
            yield Fact(cell.axes | words, record, cell.name)


def figure(record: Mapping[str, Any], name: str) -> tuple[float, float | None] | None:
    """A figure's mean and standard error; `objective_gain 10%` is one of a budget. None where it has no meaning."""
    if name.startswith("objective_gain "):
        found = (record.get("objective_gain") or {}).get(name.split()[1])
    else:
        found = record.get(name)
    return None if found is None else (float(found["mean"]), None if found["se"] is None else float(found["se"]))


def averaged(figures: Sequence[tuple[float, float | None] | None]) -> tuple[float, float | None] | None:
    """The mean of several records' figures with the mean of their errors, which is as if their labels had been the same."""
    there = [one for one in figures if one is not None]
    if not there:
        return None
    errors = [error for _, error in there if error is not None]
    return float(np.mean([mean for mean, _ in there])), float(np.mean(errors)) if errors else None
