"""The figures that were published, to stand beside what is measured: never mixed with it, always with their source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import yaml

Table = Literal["scores", "seconds", "quadrants"]
PERCENT = ("rouge", "bge")
"""How the names of metrics begin that were published in per cent, and are shares of 1 in records."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One published number.

    Attributes:
        axes: where it stands; `model` is the paper's language model.
        value: in the unit of our records: shares of 1, grades from 1 to 5, seconds, or squared units of [0, 1].
        source: who says so.
    """

    axes: dict[str, str]
    value: float
    source: str


@cache
def figures(table: Table) -> tuple[Figure, ...]:
    """All figures of one table, in the order in which they were printed."""
    whole = yaml.safe_load((files("nncift.experiment.tables") / "published.yaml").read_text(encoding="utf-8"))
    return tuple(figure for block in whole[table] for figure in _figures(table, block))


def _figures(table: Table, block: Mapping[str, Any]) -> Iterator[Figure]:
    columns = ("data", "by", "metric") if table == "scores" else ("data",)
    rows = ("part", "figure") if table == "quadrants" else ("influence", "how")
    for first, second, *values in block["rows"]:
        for place, value in zip(block["columns"], values, strict=True):
            axes = dict(zip(columns, place if isinstance(place, list) else [place], strict=True))
            axes |= {"model": block["model"]} | dict(zip(rows, (first, second), strict=True))
            scale = 100 if axes.get("metric", "").startswith(PERCENT) else 1
            yield Figure(axes, value / scale, block["source"])


def find(table: Table, wanted: Mapping[str, Any] | None, axes: Mapping[str, str]) -> Figure | None:
    """The published figure for a place in the grid of an experiment; None where there is none.

    Args:
        table: which.
        wanted: the field `published` of a table's recipe, checked; None where none is asked for.
        axes: of the place; those by which nothing was published do not matter. A control has itself as `how`.
    """
    if wanted is None:
        return None
    there = {"influence": "-"} | {axis: wanted["names"].get(axis, {}).get(value, value) for axis, value in axes.items()}
    there["model"] = model_of(wanted, axes)
    return next((one for one in figures(table) if all(there.get(axis) == one.axes[axis] for axis in one.axes)), None)


def model_of(wanted: Mapping[str, Any], axes: Mapping[str, str]) -> str:
    """The published model that stands for the one at a place; empty where none does."""
    if wanted["model"] is not None:
        return str(wanted["model"])
    return wanted["names"]["model"].get(axes.get("model", ""), "")


def mean_relative_difference(model: str) -> float:
    """Mean of |NN-CIFT - exact| / exact over the published scores of a model: four influences, two data sets, two ways of
    use, three metrics. The slides give 1.40 % for Phi-3; the paper's 0.13 % is about what signed differences average to."""
    scores = [one for one in figures("scores") if one.axes["model"] == model]
    by_place: dict[tuple[str, ...], dict[str, float]] = {}
    for one in scores:
        place = tuple(one.axes[axis] for axis in ("data", "by", "metric", "influence"))
        by_place.setdefault(place, {})[one.axes["how"]] = one.value
    pairs = [found for found in by_place.values() if {"exact", "nncift"} <= found.keys()]
    return float(np.mean([abs(found["nncift"] - found["exact"]) / found["exact"] for found in pairs]))
