"""From steps and axes to cells: one ordinary run each, with its options, its place and what it depends on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from itertools import product
from typing import Any

from nncift.config import LabelConfig, Options, SelectConfig
from nncift.errors import ConfigError
from nncift.estimator.budget import parse_labels
from nncift.experiment.options import HINTS, ROLES, VERBS, part_for, roles_of
from nncift.experiment.recipe import Recipe, Step
from nncift.experiment.tables.specs import check_tables
from nncift.pipeline.asking import make_influence
from nncift.pipeline.choosing import choose_objective
from nncift.pipeline.making import make_estimator
from nncift.registry import did_you_mean

_LONGEST = 120  # characters of a folder's name


@dataclass(frozen=True, slots=True)
class Cell:
    """One step at one combination of axis values.

    Attributes:
        name: `<verb>/<axis values>`: its place in the folder of the experiment, and that of its record.
        verb: of `nncift`.
        axes: axis -> value, in the order of the step.
        options: of the verb, but for files.
        data: the data set.
        roles: of its rows, those that the verb reads.
        hints: what a plan counts with.
        needs: names of the cells whose results it reads.
        matrix: whether a fidelity cell reads the file of the data set, and no label cell.
        alone: whether it finds nothing in the cache that others have computed.
    """

    name: str
    verb: str
    axes: dict[str, str]
    options: dict[str, Any]
    data: str
    roles: tuple[str, ...]
    hints: dict[str, float]
    needs: tuple[str, ...] = ()
    matrix: bool = False
    alone: bool = False

    def config(self, given: Mapping[str, Any]) -> Options:
        """The configuration of the verb.

        Args:
            given: the files: rows by role, `matrix`, `subset`, `output`; what the verb has no option for is left out.

        Raises:
            ConfigError: an option has a wrong value.
        """
        known = {item.name for item in fields(VERBS[self.verb])}
        files = {name: value for name, value in given.items() if name in known and self._reads(name)}
        try:
            return VERBS[self.verb].of(self.options | files | self._recorded(given))
        except ConfigError as error:
            raise ConfigError(f"the cell {self.name}: {error}") from error

    def _recorded(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Where the influences are the recorded ones of the data set: the option that names their file."""
        if self.options.get("influence") != "recorded" or "matrix" not in given:
            return {}
        said = self.options.get("option") or ()
        said = [f"{name}={value}" for name, value in said.items()] if isinstance(said, Mapping) else said
        said = [said] if isinstance(said, str) else list(said)
        return {"option": [*said, f"matrix={given['matrix']}"]}

    def _reads(self, name: str) -> bool:
        return name not in ROLES or name in self.roles


def make_grid(recipe: Recipe) -> tuple[Cell, ...]:
    """Every cell of an experiment; those that others need come first.

    Raises:
        ConfigError: two cells have one folder, an option has a wrong value, a cell has nothing to read, or a table asks for
            what there is not.
    """
    check_tables(list(recipe.tables), ("data", *recipe.axes))
    cells = [cell for step in recipe.steps for cell in _cells(recipe, step)]
    _refuse_doubles(cells)
    linked = [_linked(recipe, step, cell, cells) for step in recipe.steps for cell in cells if _of(step, cell)]
    if not linked:
        raise ConfigError("the recipe has no cell: `without` leaves all out. Take some of it back.")
    for cell in linked:
        _check(cell)
    return tuple(sorted(linked, key=lambda cell: bool(cell.needs)))


def only(cells: Sequence[Cell], text: str | None) -> tuple[Cell, ...]:
    """The cells whose name contains a text, and those that they need; all without one.

    Raises:
        ConfigError: no name does.
    """
    if not text:
        return tuple(cells)
    wanted = {cell.name for cell in cells if text in cell.name}
    if not wanted:
        raise ConfigError(
            f"--only {text!r} is in no cell's name. {did_you_mean(text, tuple(cell.name for cell in cells)[:12])}"
        )
    wanted |= {need for cell in cells if cell.name in wanted for need in cell.needs}
    return tuple(cell for cell in cells if cell.name in wanted)


def safe_name(parts: Iterable[str]) -> str:
    """Words as one name for a file or folder on any system: ASCII letters, digits and `_ . = + -`."""
    whole = ".".join(parts)
    name = ".".join(re.sub(r"[^\w.=+]+", "-", part, flags=re.ASCII).strip("-.") or "_" for part in whole.split("."))
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{sha256(whole.encode()).hexdigest()[:8]}"


def agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two combinations have the same value on every axis that they share."""
    return all(other.get(axis, value) == value for axis, value in one.items())


def _cells(recipe: Recipe, step: Step) -> Iterable[Cell]:
    for values in product(*(recipe.values(axis) for axis in step.over)):
        axes = dict(zip(step.over, values, strict=True))
        if not any(_left_out(entry, axes) for entry in recipe.without):
            yield _cell(recipe, step, axes)


def _left_out(entry: Mapping[str, tuple[str, ...]], axes: Mapping[str, str]) -> bool:
    return all(axes.get(axis) in values for axis, values in entry.items())


def _cell(recipe: Recipe, step: Step, axes: dict[str, str]) -> Cell:
    data = axes.get("data") or _only_data(recipe, step)
    said = [step.options, *([] if "data" in axes else [recipe.data[data].options])]
    said += [recipe.data[value].options if axis == "data" else recipe.axes[axis][value] for axis, value in axes.items()]
    options: dict[str, Any] = {}
    for values in said:
        options |= part_for(step.verb, values)
    dropped = {role for role in ROLES if role in options}  # `target: null`; a later axis may not give it back
    own = {name: value for name, value in options.items() if name not in dropped and value is not None}
    roles = tuple(role for role in roles_of(step.verb) if role in recipe.data[data].roles and role not in dropped)
    hints = {name: float(values[name]) for values in said for name in HINTS if name in values}
    name = f"{step.verb}/{safe_name(axes.values()) if axes else 'all'}"
    filed = step.verb == "fidelity" and step.matrix is None
    return Cell(name, step.verb, axes, own, data, roles, hints, matrix=filed, alone=step.alone)


def _only_data(recipe: Recipe, step: Step) -> str:
    if len(recipe.data) > 1:
        raise ConfigError(
            f"the step `{step.verb}` does not run over `data`, of which there are several. Add it to `over`."
        )
    return next(iter(recipe.data))


def _of(step: Step, cell: Cell) -> bool:
    return cell.verb == step.verb and tuple(cell.axes) == step.over


def _linked(recipe: Recipe, step: Step, cell: Cell, cells: Sequence[Cell]) -> Cell:
    """The cell with what it needs."""
    read = step.subsets or step.matrix
    if read is None:
        if cell.matrix and recipe.data[cell.data].matrix is None:
            raise ConfigError(
                f"the cell {cell.name} has no influences to read: say `matrix: label` in its step, or `matrix: FILE` in the "
                f"data set `{cell.data}`."
            )
        return cell
    needs = [one.name for one in cells if one.verb == read and one.data == cell.data and agree(cell.axes, one.axes)]
    if not needs or (read == "label" and len(needs) > 1):
        why = f"{len(needs)} cells to choose from ({', '.join(needs[:3])}, …)" if needs else "no cell to read"
        raise ConfigError(
            f"the cell {cell.name} has {why} among those of `{read}`. Give both steps the same axes, or leave it out by "
            "`without`."
        )
    return replace(cell, needs=tuple(needs))


def _refuse_doubles(cells: Sequence[Cell]) -> None:
    """Raises:
    ConfigError: two cells would write the same folder.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.name.casefold(), cell)  # some file systems do not tell upper from lower case
        if other is not cell:
            raise ConfigError(
                f"two cells would write the folder {cell.name!r}: {_told(other)} and {_told(cell)}. Rename an axis value, or "
                "let the steps run over different axes."
            )


def _told(cell: Cell) -> str:
    return ", ".join(f"{axis}: {value}" for axis, value in cell.axes.items()) or "the whole step"


def _check(cell: Cell) -> None:
    """Raises:
    ConfigError: the options of a cell are refused by its verb before anything is read.
    """
    files = {role: f"{role}.jsonl" for role in cell.roles} | {"matrix": "labels.npz", "subset": ("subset",)}
    config = cell.config(files)
    try:
        _check_names(config)
    except ConfigError as error:
        raise ConfigError(f"the cell {cell.name}: {error}") from error
    if cell.verb == "evaluate" and not getattr(config, "lds", False) and "test" not in cell.roles:
        raise ConfigError(f"the cell {cell.name} has no test rows: add `test` to the data set `{cell.data}`.")


def _check_names(config: Options) -> None:
    """Refuses words that stand for nothing: influences, objectives and estimators with their options, numbers of labels."""
    if isinstance(config, LabelConfig | SelectConfig):
        parse_labels(config.labels) if not config.takes_over else None
        influence = make_influence(config)
        if isinstance(config, SelectConfig):
            choose_objective(config, influence)
            make_estimator(config.estimator, hidden=config.hidden)
