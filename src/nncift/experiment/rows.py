"""The rows of one role of an experiment: from a file or the hub, by a few words of a recipe, to a JSONL of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from nncift.data.files import load_pool, open_source
from nncift.data.hub import PREFIX
from nncift.data.layouts import detect
from nncift.data.rows import Example
from nncift.data.write import to_json
from nncift.errors import ConfigError, DataError
from nncift.experiment.templates import Template
from nncift.lm.atomic import write_whole
from nncift.registry import did_you_mean
from nncift.seeds import generator

KEYS = ("file", "parts", "format", "where", "columns", "drop", "longest", "distinct", "shuffle", "take", "rows")
"""What a role's mapping may say; it is done in this order."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows on their way.

    Attributes:
        example: the conversation.
        row: the columns that are written.
        seen: all columns, those that are dropped included.
    """

    example: Example
    row: Row
    seen: Row


@dataclass(slots=True)
class Account:
    """How many rows each step left, for the message where too few are left."""

    steps: list[str] = field(default_factory=list)

    def note(self, step: str, left: int) -> None:
        """Adds a step."""
        self.steps.append(f"{left:,} {step}")

    def __str__(self) -> str:
        return ", ".join(self.steps)


def prepare_rows(spec: Mapping[str, Any], *, root: Path, out: Path) -> dict[str, Any]:
    """Writes the rows of one role as JSONL in an ordinary layout; the file is there whole or not at all.

    Use it for the `pool`, `target`, `test` and `existing` of a recipe. The steps, in this order:

    - `file`: a path below `root`, or `hub:owner/name#split`; or `parts`, a list of such mappings whose rows follow each
      other; `format` names the row layout where the columns do not tell.
    - `where`: column -> its value, or a list of values; other rows are left out.
    - `columns`: new column -> template over the columns of the row (`nncift.experiment.templates`); `drop`: columns to leave
      out, or `all` that `columns` does not name.
    - `longest`: characters of the conversation at most. `distinct: true`: the first row of every text.
    - `shuffle`: a seed; each row's place follows from its text, so that another order of the file gives the same rows.
    - `take`: `{column: task, of: [a, b], each: 14}`, the first rows of each value, those of `a` first.
    - `rows`: `"0:300"`, positions from 0, the end not included; an open end takes all that are left.

    Args:
        spec: the mapping.
        root: the folder that paths are relative to.
        out: the file to write.

    Returns:
        `rows`, how many were written, and `key`, the hash of the file's bytes.

    Raises:
        ConfigError: the mapping says something that is unknown or cannot be.
        DataError: the source cannot be read, a row lacks a column that a template names, or rows are too few.
    """
    account = Account()
    found = _gather(spec, root, account)
    if not found:
        raise DataError(f"no row is left of {_source(spec)}: {account}.")
    rows = [one.row for one in found]
    layout = detect(rows)
    again = load_pool(rows, role="rows")
    if len(again) < len(rows):
        raise DataError(
            f"{len(rows) - len(again):,} of {len(rows):,} rows of {_source(spec)} do not have the layout {layout!r} that "
            "the others have. Give all the same columns with `columns` and `drop`."
        )
    data = b"".join(to_json(row) + b"\n" for row in rows)
    write_whole(out, data)
    return {"rows": len(rows), "key": sha256(data).hexdigest()}


def expected_rows(spec: Mapping[str, Any]) -> int | None:
    """How many rows a mapping asks for, told without reading anything; None where its source decides that."""
    low, high = _slice(spec)
    if high is not None:
        return high - low
    if "take" in spec:
        _, values, each = _taken(spec["take"])
        return len(values) * each - low
    if "parts" in spec and not spec.keys() & {"where", "longest", "distinct"}:
        parts = [expected_rows(part) for part in _parts(spec)]
        return None if None in parts else sum(part for part in parts if part is not None) - low
    return None


def _gather(spec: Mapping[str, Any], root: Path, account: Account) -> list[Found]:
    """The rows of a mapping, in their order."""
    _check(spec)
    if "parts" in spec:
        found = [one for part in _parts(spec) for one in _gather(part, root, account)]
        account.note("in all parts", len(found))
    else:
        found = _read(spec, root, account)
    if (longest := spec.get("longest")) is not None:
        found = [one for one in found if len(one.example.prompt) + len(one.example.response) <= longest]
        account.note(f"of at most {longest} characters", len(found))
    if spec.get("distinct"):
        first: dict[bytes, Found] = {}
        for one in found:
            first.setdefault(one.example.content_digest, one)
        found = list(first.values())
        account.note("of different text", len(found))
    if "shuffle" in spec:
        found = _shuffled(found, spec["shuffle"])
    if "take" in spec:
        found = _take(found, spec["take"], account)
    return _cut(found, spec, account)


def _read(spec: Mapping[str, Any], root: Path, account: Account) -> list[Found]:
    """The usable rows of a source, with the columns that are written."""
    templates = {str(name): Template.of(text, str(name)) for name, text in spec.get("columns", {}).items()}
    source = _under(root, spec["file"])
    rows = _columns_of(source)
    account.note(f"read from {spec['file']}", len(rows))
    if where := spec.get("where"):
        rows = [row for row in rows if _fits(row, where, spec["file"])]
        account.note("that `where` keeps", len(rows))
    seen = [_filled(row, templates, spec["file"], number) for number, row in enumerate(rows)]
    written = [_dropped(row, spec.get("drop", ()), templates) for row in seen]
    if not written:
        return []
    pool = load_pool(written, layout=spec.get("format", "auto"), role=spec["file"])
    account.note("usable", len(pool))
    return [Found(one, written[one.number], seen[one.number]) for one in pool]


def _columns_of(source: str) -> list[Row]:
    """Every row of a source that can be read as columns; its layout plays no part yet."""
    try:
        reading, _ = open_source(source, "rows")
        return [record.row for record in reading.records() if record.row is not None]
    except OSError as error:
        raise DataError(f"cannot read {source}: {error.strerror or error}. Check the file.") from error


def _under(root: Path, name: str) -> str:
    """Where a file of a recipe is; what lies elsewhere on this machine is not the recipe's to name."""
    if name.startswith(PREFIX):
        return name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(
            f"the file {name!r} of a recipe must be named relative to the data folder, below it (--data DIR)."
        )
    return str(root / name)


def _fits(row: Row, where: Mapping[str, Any], source: str) -> bool:
    for name, wanted in where.items():
        if name not in row:
            raise DataError(f"`where` names the column {name!r}, which a row of {source} lacks. {_near(name, row)}")
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        if str(row[name]) not in map(str, values):
            return False
    return True


def _filled(row: Row, templates: Mapping[str, Template], source: str, number: int) -> Row:
    try:
        return row | {name: template.fill(row) for name, template in templates.items()}
    except DataError as error:
        raise DataError(f"row {number + 1} of {source} {str(error).rstrip('.')}. Mend `columns`.") from None


def _dropped(row: Row, drop: Any, templates: Mapping[str, Template]) -> Row:
    if drop == "all":
        return {name: value for name, value in row.items() if name in templates}
    return {name: value for name, value in row.items() if name not in drop}


def _shuffled(found: Sequence[Found], seed: int) -> list[Found]:
    salt = generator(seed, "experiment rows").bytes(16)

    def place(one: Found) -> tuple[bytes, bytes]:
        return sha256(salt + one.example.content_digest).digest(), to_json(one.row)

    return sorted(found, key=place)


def _take(found: Sequence[Found], spec: Any, account: Account) -> list[Found]:
    name, values, each = _taken(spec)
    groups: dict[str, list[Found]] = {value: [] for value in values}
    for one in found:
        if name not in one.seen:
            raise DataError(f"`take` names the column {name!r}, which a row lacks. {_near(name, one.seen)}")
        if (group := groups.get(str(one.seen[name]))) is not None and len(group) < each:
            group.append(one)
    for value, group in groups.items():
        if len(group) < each:
            raise DataError(
                f"`take` asks for {each:,} rows with {name} = {value!r}, and there are {len(group):,}: {account}."
            )
    return [one for group in groups.values() for one in group]


def _taken(spec: Any) -> tuple[str, list[str], int]:
    """Column, values and rows of each of `take`."""
    if not isinstance(spec, Mapping) or spec.keys() != {"column", "of", "each"} or not isinstance(spec["of"], list):
        raise ConfigError(f"`take` is {spec!r}; write {{column: task, of: [a, b], each: 14}}.")
    if not isinstance(spec["each"], int) or spec["each"] < 1:
        raise ConfigError(f"`take` says each: {spec['each']!r}; it must be a number of rows, 1 or more.")
    return str(spec["column"]), [str(value) for value in spec["of"]], spec["each"]


def _cut(found: list[Found], spec: Mapping[str, Any], account: Account) -> list[Found]:
    low, high = _slice(spec)
    if "rows" in spec and len(found) < (low + 1 if high is None else high):
        raise DataError(
            f"`rows: {spec['rows']}` of {_source(spec)} asks for "
            f"{f'row {low:,}' if high is None else f'{high - low:,} rows up to row {high:,}'}, and there are "
            f"{len(found):,}: {account}. Ask for fewer."
        )
    return found[low:high]


def _slice(spec: Mapping[str, Any]) -> tuple[int, int | None]:
    """First row and the one after the last, None where all that are left are meant."""
    text = spec.get("rows", "0:")
    match = re.fullmatch(r"(\d*):(\d*)", text, re.ASCII) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(f'`rows` is {text!r}; write first and end as text, such as "0:300".')
    low, high = int(match[1] or 0), int(match[2]) if match[2] else None
    if high is not None and high <= low:
        raise ConfigError(f"`rows` is {text!r}, which is no row at all. The end is not included.")
    return low, high


_WELL_FORMED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "file": (lambda value: isinstance(value, str) and bool(value), "a path, or hub:owner/name#split"),
    "parts": (lambda value: isinstance(value, list) and bool(value), "a list of mappings such as this one"),
    "format": (lambda value: isinstance(value, str), "a row layout, or auto"),
    "where": (lambda value: isinstance(value, Mapping), "{column: value}"),
    "columns": (lambda value: isinstance(value, Mapping), "{new column: text with {column} in it}"),
    "drop": (lambda value: value == "all" or isinstance(value, list), "a list of columns, or all"),
    "longest": (lambda value: _whole(value, 1), "a number of characters"),
    "distinct": (lambda value: isinstance(value, bool), "true or false"),
    "shuffle": (lambda value: _whole(value, 0), "a seed, 0 or more"),
}


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(spec: Any) -> None:
    """Raises:
    ConfigError: the mapping says something that is unknown or cannot be.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"the rows of a role are {spec!r}; write a mapping such as {{file: pool.jsonl}}.")
    for name in spec:
        if name not in KEYS:
            raise ConfigError(f"rows have no key {name!r}. {did_you_mean(str(name), KEYS)}")
    for name, (fits, wanted) in _WELL_FORMED.items():
        if name in spec and not fits(spec[name]):
            raise ConfigError(f"`{name}` is {spec[name]!r}; write {wanted}.")
    if ("file" in spec) == ("parts" in spec):
        raise ConfigError("rows come from one `file`, or from several `parts`: say one of the two.")
    if "parts" in spec and (alone := spec.keys() & {"format", "where", "columns", "drop"}):
        raise ConfigError(f"`{min(alone)}` goes into each of the `parts`, not beside them.")
    _slice(spec)
    if "take" in spec:
        _taken(spec["take"])


def _parts(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return spec["parts"]


def _source(spec: Mapping[str, Any]) -> str:
    return spec["file"] if "file" in spec else " and ".join(_source(part) for part in _parts(spec))


def _near(name: str, row: Row) -> str:
    return did_you_mean(name, tuple(row))
