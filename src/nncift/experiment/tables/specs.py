"""What a recipe asks for under `tables`, checked before anything is run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from nncift.errors import ConfigError
from nncift.registry import did_you_mean

Kind = Literal["main", "costs", "fidelity", "quadrants", "heat"]

WORDS: dict[Kind, tuple[str, ...]] = {
    "main": ("by", "metric"),
    "costs": (),
    "fidelity": ("design", "estimator", "candidates", "labels"),
    "quadrants": ("design", "estimator", "labels"),
    "heat": ("by", "metric", "design", "estimator", "candidates", "labels"),
}
"""Axes that the records of a kind have of themselves, beside those of the recipe."""

FIGURES = ("mse", "r2", "spearman", "row_spearman", "candidate_spearman", "top30_overlap")
GAINS = ("objective_gain 1%", "objective_gain 5%", "objective_gain 10%", "objective_gain 30%")
MORE = ("coverage90", "seconds")
"""Figures of a fidelity record that are shown where they are named."""
SCORES = ("mean", "diff_random")
MODELS = ("phi-3", "llama-8b")
"""Of which figures were published."""

_COMMON = {"kind", "name", "title", "where", "pages", "words"}
_DEFAULTS: dict[Kind, dict[str, Any]] = {
    "main": {
        "rows": ["influence", "how"],
        "columns": ["data", "by", "metric"],
        "over": ["seed"],
        "exact": {"how": "exact"},
        "controls": ["initial", "random", "full"],
        "published": None,
    },
    "costs": {
        "rows": ["influence", "how"],
        "over": ["seed"],
        "exact": {"how": "exact"},
        "estimated": {"how": "nncift"},
        "constant": "measured",
        "published": None,
    },
    "fidelity": {"x": None, "lines": ["design", "estimator"], "figures": [*FIGURES, *GAINS]},
    "quadrants": {"rows": ["design", "estimator"], "published": None},
    "heat": {"x": None, "y": None, "value": None, "over": ["seed"]},
}
_AXES = {"rows", "columns", "over", "lines", "pages"}
_CONTROLS = ("initial", "random", "full", "top-mean", "embedding")


@dataclass(frozen=True, slots=True)
class Spec:
    """One entry under `tables`; `nncift.experiment.tables` says what its fields mean.

    Attributes:
        kind: of table.
        name: of its files.
        title: None for that of the recipe.
        where: axis -> the values that are shown.
        pages: axes that make a table each; None where the records decide.
        words: axis -> value -> what is printed for it.
        fields: those of the kind, each there.
    """

    kind: Kind
    name: str
    title: str | None
    where: dict[str, tuple[str, ...]]
    pages: tuple[str, ...] | None
    words: dict[str, dict[str, str]]
    fields: dict[str, Any]

    def word(self, axis: str, value: str) -> str:
        """What is printed for an axis value."""
        return self.words.get(axis, {}).get(value, value)


def check_tables(tables: Any, axes: Collection[str]) -> tuple[Spec, ...]:
    """Reads what a recipe has under `tables`.

    Args:
        tables: as YAML gave it; None for no tables.
        axes: of the recipe, `data` among them.

    Raises:
        ConfigError: an entry has a kind, a field or an axis that there is not, lacks one, or two have one name.
    """
    if tables is None:
        return ()
    if not isinstance(tables, list):
        raise ConfigError("`tables` is not a list. Write one entry a line: - {kind: main, name: main}")
    specs = tuple(_spec(entry, place, axes) for place, entry in enumerate(tables, start=1))
    names = [spec.name.lower() for spec in specs]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"two tables are called {double!r}, and would write the same files. Rename one.")
    return specs


def _spec(entry: Any, place: int, axes: Collection[str]) -> Spec:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"table {place} is {entry!r}; write {{kind: main, name: main, ...}}.")
    kind, name = entry.get("kind"), entry.get("name")
    if kind not in _DEFAULTS:
        known = f"Known: {', '.join(_DEFAULTS)}." if kind is None else did_you_mean(str(kind), tuple(_DEFAULTS))
        raise ConfigError(f"table {place} has the kind {kind!r}. {known}")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        raise ConfigError(
            f"table {place} has the name {name!r}; it names files: letters, digits, `-`, `_` and `.` only."
        )
    kind = cast(Kind, kind)
    where = f"table {name!r}"
    known = (*_COMMON, *_DEFAULTS[kind])
    for field in entry:
        if field not in known:
            raise ConfigError(f"{where} has the field {field!r}. {did_you_mean(str(field), known)}")
    every = (*axes, *WORDS[kind])
    fields = {
        field: _field(field, entry[field], where, every) if field in entry else _default(default, field, where, every)
        for field, default in _DEFAULTS[kind].items()
    }
    if kind == "heat":
        _check_value(fields["value"], where)
    if kind == "fidelity":
        _check_names(fields["figures"], (*FIGURES, *GAINS, *MORE), f"{where}: figures")
    if kind == "main":
        _check_names(fields["controls"], _CONTROLS, f"{where}: controls")
    title = entry.get("title")
    return Spec(
        kind,
        name,
        None if title is None else str(title),
        {axis: _several(value) for axis, value in _mapping("where", entry.get("where", {}), where, every).items()},
        None if entry.get("pages") is None else _axes("pages", entry["pages"], where, every),
        {axis: {str(k): str(v) for k, v in words.items()} for axis, words in entry.get("words", {}).items()},
        fields,
    )


def _default(default: Any, field: str, where: str, axes: tuple[str, ...]) -> Any:
    """What a field is where it is left out: of its axes those that there are.

    Raises:
        ConfigError: it cannot be left out.
    """
    if field in ("x", "y", "value"):
        raise ConfigError(f"{where} lacks the field {field!r}.")
    if field in _AXES:
        return tuple(axis for axis in default if axis in axes)
    if isinstance(default, dict):
        return {axis: value for axis, value in default.items() if axis in axes}
    return default


def _field(field: str, value: Any, where: str, axes: tuple[str, ...]) -> Any:
    if field in _AXES:
        return _axes(field, value, where, axes)
    if field in ("x", "y"):
        return _axes(field, [value], where, axes)[0]
    if field in ("exact", "estimated"):
        return {axis: str(one) for axis, one in _mapping(field, value, where, axes).items()}
    if field == "published":
        return _published(value, where)
    if field == "constant" and value != "measured" and not isinstance(value, int | float):
        raise ConfigError(f"{where}: constant is {value!r}; say seconds, or measured.")
    return value


def _axes(field: str, value: Any, where: str, axes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of axes.

    Raises:
        ConfigError: it is no list, or one is unknown.
    """
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{where}: {field} is {value!r}; it names axes: {', '.join(axes)}.")
    _check_names(value, axes, f"{where}: {field}")
    return tuple(value)


def _mapping(field: str, value: Any, where: str, axes: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {field} is {value!r}; write {{axis: value}}.")
    _check_names(list(value), axes, f"{where}: {field}")
    return dict(value)


def _check_names(names: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(names, list | tuple):
        raise ConfigError(f"{where} is {names!r}; it must be a list.")
    for name in names:
        if name not in known:
            raise ConfigError(f"{where} names {name!r}. {did_you_mean(str(name), known)}")


def _check_value(value: Any, where: str) -> None:
    """Raises:
    ConfigError: what a heat map shows is not said, or cannot be shown.
    """
    if not isinstance(value, Mapping) or value.get("from") not in ("evaluate", "fidelity", "select"):
        raise ConfigError(
            f"{where}: value is {value!r}; write {{from: evaluate, by: lora, metric: loss, figure: mean}}."
        )
    _check_names(list(value), ("from", "by", "metric", "figure"), f"{where}: value")
    figures = {"evaluate": SCORES, "fidelity": (*FIGURES, *GAINS, *MORE)}.get(str(value["from"]))
    if figures is not None:
        _check_names([value.get("figure")], figures, f"{where}: value: figure")


def _several(value: Any) -> tuple[str, ...]:
    return tuple(str(one) for one in (value if isinstance(value, list) else [value]))


def _published(value: Any, where: str) -> dict[str, Any] | None:
    if value is None:
        return None
    told = value.get("model") if isinstance(value, Mapping) else None
    models = told.values() if isinstance(told, Mapping) else [told]
    if not isinstance(value, Mapping) or not models or any(model not in MODELS for model in models):
        raise ConfigError(
            f"{where}: published is {value!r}; write {{model: phi-3}}, {{model: llama-8b}}, or {{model: {{here: phi-3}}}}."
        )
    names = {axis: {str(k): str(v) for k, v in one.items()} for axis, one in value.items() if isinstance(one, Mapping)}
    return {"model": None if isinstance(told, Mapping) else told, "names": names}
