"""Texts made of a row's columns, so that a data set of any shape is read by the ordinary layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from nncift.data.records import kind
from nncift.errors import ConfigError, DataError
from nncift.registry import did_you_mean

_FIELD = re.compile(r"(?P<column>[^\[\]{}]+)(?P<keys>(\[[^\[\]{}]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a row.

    Attributes:
        column: its name.
        keys: entries of what stands there: a name in an object, in a list a position from 0 (or from the end, below 0), or
            the name of a column that holds the position.
    """

    column: str
    keys: tuple[str, ...]

    def value(self, row: Mapping[str, Any]) -> Any:
        """What stands there.

        Raises:
            DataError: the row has no such column or entry.
        """
        if self.column not in row:
            raise DataError(f"has no column {self.column!r}. {did_you_mean(self.column, tuple(row))}")
        found, where = row[self.column], self.column
        for key in self.keys:
            found, where = _entry(found, key, row, where), f"{where}[{key}]"
        return found


@dataclass(frozen=True, slots=True)
class Template:
    """A text with fields, such as `{question} A: {choices[0]} B: {choices[1]}`. It reads columns and runs no code.

    Attributes:
        pieces: plain texts and fields in turn.
        join: what stands between the entries of a field that is a list.
        texts: what stands for the values of the whole text; none where it stands for itself.
    """

    pieces: tuple[str | Field, ...]
    join: str = " "
    texts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, spec: Any, name: str) -> Template:
        """The template of a column: a text, or a mapping with `text`, and if wanted `map` and `join`.

        Raises:
            ConfigError: it is neither, or a field is not of the form {column} or {column[entry]}.
        """
        if isinstance(spec, str):
            return cls(_pieces(spec, name))
        if not isinstance(spec, Mapping) or not isinstance(spec.get("text"), str):
            raise ConfigError(
                f"column {name!r} is {spec!r}; write a text such as '{{question}}', or {{text: ..., map: ...}}."
            )
        for key in spec:
            if key not in ("text", "map", "join"):
                raise ConfigError(
                    f"column {name!r} has the unknown key {key!r}. {did_you_mean(str(key), ('text', 'map', 'join'))}"
                )
        texts, join = spec.get("map", {}), spec.get("join", " ")
        if not isinstance(texts, Mapping) or not all(isinstance(text, str) for text in (*texts.values(), join)):
            raise ConfigError(
                f"column {name!r}: `map` must give a text for every value, and `join` must be a text (quote both)."
            )
        return cls(_pieces(spec["text"], name), join, tuple((str(value), text) for value, text in texts.items()))

    def fill(self, row: Mapping[str, Any]) -> str:
        """The text of one row, without space at its ends.

        Raises:
            DataError: the row lacks a column or an entry, or the map lacks the value.
        """
        parts = (piece if isinstance(piece, str) else self._shown(piece, row) for piece in self.pieces)
        text = "".join(parts).strip()
        if not self.texts:
            return text
        known = dict(self.texts)
        if text not in known:
            raise DataError(
                f"has the value {text[:40]!r}, for which `map` has no text. {did_you_mean(text, tuple(known))}"
            )
        return known[text]

    def _shown(self, piece: Field, row: Mapping[str, Any]) -> str:
        return _text(piece.value(row), piece.column, self.join)


def _pieces(text: str, name: str) -> tuple[str | Field, ...]:
    found: list[str | Field] = []
    try:
        parsed = list(Formatter().parse(text))  # splits the text; nothing is looked up or called
    except ValueError as error:
        raise ConfigError(f"column {name!r}: {text!r} is no template: {error}. Write {{{{ for a brace.") from error
    for literal, field, form, conversion in parsed:
        if literal:
            found.append(literal)
        if field is None:
            continue
        match = _FIELD.fullmatch(field)
        if match is None or form or conversion:
            raise ConfigError(
                f"column {name!r}: a field of {text!r} is not of the form {{column}} or {{column[entry]}}. "
                "Write {{ for a brace."
            )
        found.append(Field(match["column"], tuple(_KEY.findall(match["keys"]))))
    return tuple(found)


def _entry(value: Any, key: str, row: Mapping[str, Any], where: str) -> Any:
    if isinstance(value, Mapping):
        if key not in value:
            raise DataError(f"has no {key!r} in {where!r}. {did_you_mean(key, tuple(map(str, value)))}")
        return value[key]
    if not isinstance(value, list | tuple):
        raise DataError(f"has {kind(value)} in {where!r}, which has no entry {key!r}")
    position = row.get(key, key)
    if isinstance(position, str) and re.fullmatch(r"-?\d{1,9}", position, re.ASCII):
        position = int(position)
    if isinstance(position, bool) or not isinstance(position, int):
        raise DataError(f"has a list in {where!r}, and {key!r} is neither a position nor a column that holds one")
    if not -len(value) <= position < len(value):
        raise DataError(f"has no entry {position} in {where!r}, a list of {len(value)}")
    return value[position]


def _text(value: Any, where: str, join: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return join.join(_text(one, where, join) for one in value)
    if isinstance(value, int | float):
        return str(value)
    raise DataError(f"has {kind(value)} in {where!r}; name an entry of it that is text, a number or a list of these")
