"""What the cells of an experiment left behind: their records, and the recipe that they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.errors import DataError
from nncift.experiment.tables.specs import Spec, check_tables
from nncift.plain import Unsound, read_yaml

RECIPE = "experiment.yaml"
_MEND = "Run the experiment again: `nncift experiment RECIPE -o DIR` goes on from the cells that are done."


@dataclass(frozen=True, slots=True)
class Cell:
    """One finished cell.

    Attributes:
        name: `verb/axis values`, as its files are called.
        verb: select, label, fidelity or evaluate.
        axes: axis -> value, as words.
        error: why it failed; None where it is done.
        result: what the verb found; empty where it failed.
    """

    name: str
    verb: str
    axes: dict[str, str]
    error: str | None
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A folder of an experiment, read.

    Attributes:
        title: of the recipe.
        claim: the sentence that it reproduces; empty where it says none.
        axes: axis -> its values in the order of the recipe.
        tables: what it asks for.
        cells: in the order of their names.
    """

    title: str
    claim: str
    axes: dict[str, tuple[str, ...]]
    tables: tuple[Spec, ...]
    cells: tuple[Cell, ...]

    def done(self, *verbs: str) -> list[Cell]:
        """The cells of some verbs that did not fail."""
        return [cell for cell in self.cells if cell.verb in verbs and cell.error is None]

    def ordered(self, axis: str, values: Iterable[str]) -> list[str]:
        """Values of an axis in the order of the recipe; those that it does not know in the order given, numbers by size."""
        known, found = self.axes.get(axis, ()), list(dict.fromkeys(values))
        place = {value: position for position, value in enumerate(known)}
        numbers = all(_is_number(value) for value in found)
        keys = {
            value: (place.get(value, len(place)), float(value) if numbers else 0.0, position)
            for position, value in enumerate(found)
        }
        return sorted(found, key=keys.__getitem__)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was found, and where in the grid.

    Attributes:
        axes: axis -> value, those of the record itself among them.
        value: the record.
        cell: that it stands in.
    """

    axes: dict[str, str]
    value: Any
    cell: str


@dataclass(frozen=True, slots=True)
class Page:
    """Facts that agree on some axes.

    Attributes:
        axes: on which they agree.
        facts: of this page.
    """

    axes: dict[str, str]
    facts: tuple[Fact, ...]


def read_experiment(folder: Path) -> Experiment:
    """Reads `experiment.yaml` and `cells/**/*.json`.

    Raises:
        DataError: the recipe or a record is missing or damaged.
        ConfigError: the recipe asks for a table that there is not.
    """
    recipe = _recipe(folder / RECIPE)
    axes = {"data": recipe.get("data") or {}} | (recipe.get("axes") or {})
    cells = [_cell(path) for path in sorted((folder / "cells").rglob("*.json"))]
    return Experiment(
        title=str(recipe.get("title") or recipe.get("experiment") or folder.name),
        claim=" ".join(str(recipe.get("claim") or "").split()),
        axes={name: tuple(str(value) for value in values) for name, values in axes.items()},
        tables=check_tables(recipe.get("tables"), axes),
        cells=tuple(sorted(cells, key=lambda cell: cell.name)),
    )


def narrowed(facts: Iterable[Fact], where: Mapping[str, Sequence[str]]) -> list[Fact]:
    """The facts that agree with what is asked for; an axis that a fact does not have leaves it in."""
    return [fact for fact in facts if all(fact.axes.get(axis, values[0]) in values for axis, values in where.items())]


def paged(facts: Sequence[Fact], experiment: Experiment, spec: Spec, used: Iterable[str]) -> list[Page]:
    """Splits facts by the axes of `pages`, and by every further axis with several values that has no other place: what is not
    named is never averaged.

    A fact that lacks such an axis, as random rows lack an influence, is on every page that it does not contradict.
    """
    named, order = spec.pages or (), list(experiment.axes)
    names = dict.fromkeys(axis for fact in facts for axis in fact.axes)
    several = [axis for axis in names if axis not in {*used, *named} and len(_values(facts, axis)) > 1]
    axes = (*named, *sorted(several, key=lambda axis: order.index(axis) if axis in order else len(order)))
    whole = [fact for fact in facts if all(axis in fact.axes for axis in axes)]
    pages = []
    for place in combinations(whole, axes, experiment):
        on = dict(zip(axes, place, strict=True))
        pages.append(Page(on, tuple(narrowed(facts, {axis: (value,) for axis, value in on.items()}))))
    return pages


def combinations(facts: Iterable[Fact], axes: Sequence[str], experiment: Experiment) -> list[tuple[str, ...]]:
    """The values of some axes that occur together, the first axis slowest, each in the order of the recipe."""
    there = {tuple(fact.axes.get(axis, "") for axis in axes) for fact in facts}
    facts = list(facts)
    places = [{value: k for k, value in enumerate(experiment.ordered(axis, _values(facts, axis)))} for axis in axes]
    return sorted(there, key=lambda one: [place.get(value, -1) for place, value in zip(places, one, strict=True)])


def _values(facts: Iterable[Fact], axis: str) -> list[str]:
    return list(dict.fromkeys(fact.axes[axis] for fact in facts if axis in fact.axes))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _recipe(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"no {RECIPE} in {str(path.parent)!r}: it is not the folder of an experiment. {_MEND}")
    try:
        recipe = read_yaml(path)
    except Unsound as error:
        raise DataError(f"{path} is not YAML of plain values: {error}. {_MEND}") from error
    if not isinstance(recipe, dict):
        raise DataError(f"{path} holds no recipe. {_MEND}")
    return recipe


def _cell(path: Path) -> Cell:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        failed = record["status"] != "done"
        return Cell(
            str(record["cell"]),
            str(record["verb"]),
            {str(axis): str(value) for axis, value in record["axes"].items()},
            (str(record.get("error") or "no reason is recorded")) if failed else None,
            {} if failed else dict(record["result"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: it is not the record of a cell. Remove it. {_MEND}") from error
