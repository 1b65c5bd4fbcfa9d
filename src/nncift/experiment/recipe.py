"""The recipe of an experiment: a YAML file read, checked word by word, and written down again.

`data` names sets of rows by role, `axes` give options of the verbs a name each, and `steps` say which verb runs over which
axes; `without` leaves combinations out. Options of later axes override those of earlier ones, a step's own come first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from nncift.errors import ConfigError
from nncift.experiment.options import ROLES, VERBS, check_options
from nncift.plain import StrictLoader, Unsound, parse_yaml, read_yaml
from nncift.registry import did_you_mean

RECIPE = "experiment.yaml"
"""The recipe in the folder of an experiment."""

_KEYS = ("experiment", "title", "claim", "hardware", "data", "axes", "without", "steps", "tables")
_STEP_KEYS = ("verb", "over", "options", "subsets", "matrix", "alone")
_DATA_KEYS = (*ROLES, "matrix", "tokens", "expect")


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a plan counts with.

    Attributes:
        name: in words.
        flops: operations a second, sustained, of all of it.
        gpus: how many; 0 for a machine without.
    """

    name: str
    flops: float
    gpus: int


@dataclass(frozen=True, slots=True)
class DataSet:
    """One value of the axis `data`.

    Attributes:
        roles: by role where its rows come from, as `rows.prepare_rows` takes it.
        matrix: a file of exact influences, relative to the data folder; None where there is none.
        tokens: stated mean length of a row; None where nothing is stated.
        expect: stated numbers of rows by role, for plans where the rows are not at hand.
        options: of the verbs, as those of an axis value.
    """

    roles: dict[str, dict[str, Any]]
    matrix: str | None
    tokens: float | None
    expect: dict[str, int]
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One verb over some axes.

    Attributes:
        subsets: of an evaluation, the verb whose cells are compared.
        matrix: `label` where the influences of a fidelity step are those of label cells; None for the data set's own file.
        alone: whether every cell pays for its own embeddings, warm-up training and gradients, whatever others have computed,
            so that its ledger is whole; labels of siblings are shared all the same, with what they cost.
    """

    verb: str
    over: tuple[str, ...]
    options: dict[str, Any]
    subsets: str | None
    matrix: str | None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment as it is written down.

    Attributes:
        axes: axis -> value -> options.
        without: combinations that are left out, by axis the values that are meant.
        tables: as `tables.write_tables` takes them.
        body: all of it as read, to be written again.
    """

    name: str
    title: str
    claim: str
    hardware: Hardware | None
    data: dict[str, DataSet]
    axes: dict[str, dict[str, dict[str, Any]]]
    without: tuple[dict[str, tuple[str, ...]], ...]
    steps: tuple[Step, ...]
    tables: tuple[dict[str, Any], ...]
    body: dict[str, Any]

    def values(self, axis: str) -> tuple[str, ...]:
        """The values of an axis, in the order of the recipe."""
        return tuple(self.data if axis == "data" else self.axes[axis])


def shipped() -> tuple[str, ...]:
    """The names of the recipes that come with the package."""
    place = files("nncift.experiment").joinpath("recipes")
    names = (entry.name for entry in place.iterdir()) if place.is_dir() else ()
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def load_recipe(name: str) -> Recipe:
    """A recipe by the name it is shipped under, by its file, or by the folder of an experiment.

    Raises:
        ConfigError: there is none, or it cannot be meant so; the message says what and where.
    """
    if (path := _file(name)) is not None:
        return _parsed(partial(read_yaml, path, StrictLoader), str(path))
    if name in shipped():
        text = files("nncift.experiment").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
        return parse_recipe(text, f"{name}.yaml")
    raise ConfigError(
        f"there is no recipe file {name!r}, and none is shipped under that name. {did_you_mean(name, shipped())}"
    )


def _file(name: str) -> Path | None:
    """The file that holds a recipe, None where the name is that of none."""
    path = Path(name)
    try:
        if not path.is_dir():
            return path if path.is_file() else None
        path = path / RECIPE
        if path.is_file():
            return path
    except OSError:  # such as a name that is too long
        return None
    raise ConfigError(f"the folder {name!r} holds no {RECIPE}. Name a recipe file, or the folder of an experiment.")


def parse_recipe(text: str, where: str) -> Recipe:
    """A recipe from its text.

    Args:
        text: YAML; plain values only, no key twice.
        where: how errors call it.

    Raises:
        ConfigError: something is missing, unknown or of the wrong kind.
    """
    return _parsed(partial(parse_yaml, text, StrictLoader), where)


def _parsed(read: Callable[[], Any], where: str) -> Recipe:
    try:
        return _recipe(_named(read(), "the recipe"))
    except Unsound as error:
        raise ConfigError(f"{where} is no sound YAML: {error}. Mend it there.") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _recipe(body: dict[str, Any]) -> Recipe:
    _only(body, _KEYS, "the recipe")
    for key in ("experiment", "data", "steps"):
        if not body.get(key):
            raise ConfigError(f"the recipe has no `{key}`. Add it.")
    name = _text(body, "experiment")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) is None:
        raise ConfigError(f"`experiment` is {name!r}; it must be a name of letters, digits and hyphens, for a folder.")
    axes = {
        axis: {value: _named(options or {}, f"the axis value `{axis}: {value}`") for value, options in values.items()}
        for axis, values in _named_twice(body.get("axes"), "axes").items()
    }
    if "data" in axes:
        raise ConfigError("`axes` has an axis `data`; the sets of rows stand under `data` at the top. Rename the axis.")
    data = {name: _data_set(name, spec) for name, spec in _named_twice(body["data"], "data").items()}
    steps = tuple(_step(number, step, ("data", *axes)) for number, step in enumerate(_list(body, "steps"), start=1))
    recipe = Recipe(
        name,
        _text(body, "title"),
        _text(body, "claim"),
        _hardware(body.get("hardware")),
        data,
        axes,
        tuple(_combination(entry, axes | {"data": data}) for entry in _list(body, "without")),
        steps,
        tuple(_named(entry, "an entry of `tables`") for entry in _list(body, "tables")),
        body,
    )
    _check_axes(recipe)
    return recipe


def _check_axes(recipe: Recipe) -> None:
    """Every axis is run over, and every option is one that a verb of its steps knows."""
    for axis in ("data", *recipe.axes):
        verbs = [step.verb for step in recipe.steps if axis in step.over or axis == "data"]
        if not verbs:
            raise ConfigError(f"no step runs over the axis `{axis}`. Add it to the `over` of a step, or leave it out.")
        for value in recipe.values(axis):
            options = recipe.data[value].options if axis == "data" else recipe.axes[axis][value]
            check_options(f"the axis value `{axis}: {value}`", options, verbs)


def _step(number: int, given: Any, axes: tuple[str, ...]) -> Step:
    where = f"step {number}"
    step = _named(given, where)
    _only(step, _STEP_KEYS, where)
    verb, over = str(step.get("verb")), step.get("over") or []
    if verb not in VERBS:
        raise ConfigError(f"{where} has the verb {verb!r}. {did_you_mean(verb, tuple(VERBS))}")
    if not isinstance(over, list):
        raise ConfigError(f"{where}: `over` is {over!r}; it must be a list of axes.")
    for axis in map(str, over):
        if axis not in axes:
            raise ConfigError(f"{where} runs over {axis!r}. {did_you_mean(axis, axes)}")
    for key, owner in (("subsets", "evaluate"), ("matrix", "fidelity")):
        if key in step and verb != owner:
            raise ConfigError(f"{where} has `{key}`, which is for `{owner}`. Leave it out.")
    subsets, matrix = step.get("subsets", "select"), step.get("matrix")
    if subsets != "select" or matrix not in (None, "label"):
        raise ConfigError(
            f"{where}: `subsets` can only be select and `matrix` only label; a file of influences stands in the data set, "
            "as `matrix: FILE`."
        )
    options = _named(step.get("options") or {}, f"the options of {where}")
    check_options(f"the options of {where}", options, [verb])
    alone = step.get("alone", False)
    if not isinstance(alone, bool):
        raise ConfigError(f"{where}: `alone` is {alone!r}; it must be true or false.")
    return Step(
        verb, tuple(dict.fromkeys(map(str, over))), options, subsets if verb == "evaluate" else None, matrix, alone
    )


def _data_set(name: str, given: Any) -> DataSet:
    where = f"the data set `{name}`"
    spec = _named(given, where)
    roles = {role: _named(spec[role], f"{where}, `{role}`") for role in ROLES if role in spec}
    if "pool" not in roles:
        raise ConfigError(f"{where} has no `pool`. Say where its rows come from, such as  pool: {{file: pool.jsonl}}.")
    expect = {str(role): count for role, count in _named(spec.get("expect") or {}, f"{where}, `expect`").items()}
    for role, count in expect.items():
        if role not in roles:
            raise ConfigError(f"{where} expects rows as {role!r}. {did_you_mean(role, tuple(roles))}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{where} expects {count!r} {role} rows; it must be a whole number above 0.")
    tokens, matrix = spec.get("tokens"), spec.get("matrix")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int | float) or not tokens > 0):
        raise ConfigError(f"{where}: tokens is {tokens!r}; it must be a number above 0, the mean length of a row.")
    if matrix is not None and not isinstance(matrix, str):
        raise ConfigError(f"{where}: matrix is {matrix!r}; it must be the name of an .npz of exact influences.")
    options = {key: value for key, value in spec.items() if key not in _DATA_KEYS}
    return DataSet(roles, matrix, tokens, expect, options)


def _hardware(given: Any) -> Hardware | None:
    if given is None:
        return None
    spec = _named(given, "`hardware`")
    _only(spec, ("name", "flops", "gpus"), "`hardware`")
    flops, gpus = spec.get("flops"), spec.get("gpus", 0)
    if isinstance(flops, bool) or not isinstance(flops, int | float) or not 0 < flops < float("inf"):
        raise ConfigError(f"`hardware`: flops is {flops!r}; it must be a number above 0, operations a second.")
    if isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 0:
        raise ConfigError(f"`hardware`: gpus is {gpus!r}; it must be a whole number, 0 or more.")
    return Hardware(_text(spec, "name"), float(flops), gpus)


def _combination(given: Any, axes: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """An entry of `without`: by axis one value or several."""
    entry = _named(given, "an entry of `without`")
    if not entry:
        raise ConfigError("an entry of `without` is empty, which would leave out everything. Name axes and values.")
    found = {}
    for axis, values in entry.items():
        if axis not in axes:
            raise ConfigError(f"`without` names the axis {axis!r}. {did_you_mean(axis, tuple(axes))}")
        found[axis] = tuple(map(str, values if isinstance(values, list) else [values]))
        for value in found[axis]:
            if value not in axes[axis]:
                raise ConfigError(f"`without` names `{axis}: {value}`. {did_you_mean(value, tuple(axes[axis]))}")
    return found


def _named(given: Any, where: str) -> dict[str, Any]:
    """A mapping with names as text."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be of the form  name: value.")
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(key, bool) or not isinstance(key, str | int | float):
            raise ConfigError(f'{where} has the name {key!r}, which YAML takes for no text. Put it in quotes: "{key}".')
        if str(key) in found:
            raise ConfigError(f"{where} has the name {str(key)!r} twice, as text and as a number. Keep one.")
        found[str(key)] = value
    return found


def _named_twice(given: Any, where: str) -> dict[str, dict[str, Any]]:
    """A mapping of mappings, none of them empty."""
    found = {name: _named(inner, f"`{where}: {name}`") for name, inner in _named(given or {}, f"`{where}`").items()}
    if empty := next((name for name, inner in found.items() if not inner), None):
        raise ConfigError(f"`{where}: {empty}` is empty. Give it values, or leave it out.")
    return found


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    found = body.get(key) or []
    if not isinstance(found, list):
        raise ConfigError(f"`{key}` is no list. Begin every entry with `- `.")
    return found


def _text(body: Mapping[str, Any], key: str) -> str:
    return str(body.get(key) or "").strip()


def _only(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where} has the unknown key {key!r}. {did_you_mean(key, known)}")
