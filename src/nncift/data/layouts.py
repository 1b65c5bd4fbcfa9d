"""The row layouts: which columns hold the conversation, and how its turns are read from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from nncift.data.records import kind, shortly
from nncift.data.rows import Role, Turn
from nncift.errors import DataError
from nncift.registry import did_you_mean

Layout = Literal["messages", "sharegpt", "alpaca", "prompt-completion", "text"]

_PAIRS = (("prompt", "completion"), ("prompt", "response"), ("question", "answer"))

_COLUMNS: dict[Layout, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations",),),
    "alpaca": (("instruction", "output"),),
    "prompt-completion": _PAIRS,
    "text": (("text",),),
}
"""The columns that each layout needs; a row that fits several has the first of them."""

LAYOUTS: tuple[Layout, ...] = tuple(_COLUMNS)

DETECTED = 100
"""Rows whose columns decide the layout of a source."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}


class RowProblem(Exception):
    """One row cannot be used; the reason goes into the record of rejected rows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def layout_of(row: Mapping[str, Any]) -> Layout | None:
    """The layout that one row fits by its columns; a column that is null counts as absent."""
    present = {name for name, value in row.items() if value is not None}
    return _fitting(present)


def detect(rows: Sequence[Mapping[str, Any]]) -> Layout:
    """The layout that most of the first rows fit.

    Raises:
        DataError: no row fits any layout; the message lists the columns.
    """
    rows = rows[:DETECTED]
    for fits in (layout_of, _by_name):
        votes: Counter[Layout] = Counter(layout for row in rows if (layout := fits(row)) is not None)
        if votes:
            return votes.most_common(1)[0][0]
    found = list(dict.fromkeys(name for row in rows for name in row))
    names = ", ".join(map(shortly, found[:20])) + (f" and {len(found) - 20} more" if len(found) > 20 else "")
    known = "; ".join(
        f"{layout} ({' or '.join(' + '.join(columns) for columns in sets)})" for layout, sets in _COLUMNS.items()
    )
    raise DataError(
        f"no known row layout has these columns: {names or 'none at all'}. Known layouts: {known}. "
        f"Rename the columns to those of one layout."
    )


def check(layout: str) -> Layout:
    """The layout of that name.

    Raises:
        DataError: no layout has that name.
    """
    if layout in LAYOUTS:
        return cast(Layout, layout)
    raise DataError(f"unknown row layout {layout!r}. {did_you_mean(layout, ('auto', *LAYOUTS))}")


def parse(layout: Layout, row: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The conversation of one row up to its last assistant turn, which is the response.

    What follows the last assistant turn is left out, and so are blank system turns; a blank prompt is no prompt.

    Raises:
        RowProblem: the row does not have the layout's columns, types or roles, or its response is blank.
    """
    sets = _COLUMNS[layout]
    if not any(row.keys() >= set(columns) for columns in sets):
        raise RowProblem(_missing(sets, row))
    turns = _PARSERS[layout](row)
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if last is None:
        raise RowProblem("no assistant turn")
    if not turns[last].content.strip():
        raise RowProblem("empty response")
    before = [turn for turn in turns[:last] if turn.role != "system" or turn.content.strip()]
    if not any(turn.content.strip() for turn in before):
        before = []
    return (*before, turns[last])


def _by_name(row: Mapping[str, Any]) -> Layout | None:
    """The layout by column names alone, for tables that start with rows full of nulls."""
    return _fitting(set(row))


def _fitting(present: set[str]) -> Layout | None:
    return next((layout for layout, sets in _COLUMNS.items() if any(present.issuperset(s) for s in sets)), None)


def _missing(sets: Sequence[tuple[str, ...]], row: Mapping[str, Any]) -> str:
    lacking = min(([name for name in columns if name not in row] for columns in sets), key=len)
    other = layout_of(row)
    hint = f" (the row has the layout {other!r})" if other else ""
    return f"missing column {' and '.join(map(repr, lacking))}{hint}"


def _alpaca(row: Mapping[str, Any]) -> list[Turn]:
    prompt = _text(row["instruction"], "column 'instruction'")
    extra = "" if row.get("input") is None else _text(row["input"], "column 'input'")
    if extra.strip():
        prompt = f"{prompt} {extra}" if prompt.strip() else extra
    return [Turn("user", prompt), Turn("assistant", _text(row["output"], "column 'output'"))]


def _messages(row: Mapping[str, Any]) -> list[Turn]:
    return _turns(row["messages"], "messages", keys=("role", "content"))


def _sharegpt(row: Mapping[str, Any]) -> list[Turn]:
    return _turns(row["conversations"], "conversations", keys=("from", "value"))


def _prompt_completion(row: Mapping[str, Any]) -> list[Turn]:
    here = [pair for pair in _PAIRS if pair[0] in row and pair[1] in row]
    ask, answer = next((pair for pair in here if row[pair[0]] is not None and row[pair[1]] is not None), here[0])
    response = _side(row[answer], answer, "assistant")
    if not any(turn.role == "assistant" for turn in response):
        raise RowProblem(f"no assistant turn in column {answer!r}")
    return _side(row[ask], ask, "user") + response


def _whole_text(row: Mapping[str, Any]) -> list[Turn]:
    return [Turn("assistant", _text(row["text"], "column 'text'"))]


_PARSERS: dict[Layout, Callable[[Mapping[str, Any]], list[Turn]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
    "text": _whole_text,
}


def _side(value: Any, column: str, role: Role) -> list[Turn]:
    """One side of a prompt-completion row: bare text, or a list of messages."""
    if isinstance(value, list | tuple):
        return _turns(value, column, keys=("role", "content"))
    return [Turn(role, _text(value, f"column {column!r}"))]


def _turns(value: Any, column: str, *, keys: tuple[str, str]) -> list[Turn]:
    if not isinstance(value, list | tuple):
        raise RowProblem(f"column {column!r} is {kind(value)}, expected a list of turns")
    turns: list[Turn] = []
    for i, item in enumerate(value, start=1):
        where = f"turn {i} of column {column!r}"
        if not isinstance(item, Mapping):
            raise RowProblem(f"{where} is {kind(item)}, expected an object with {keys[0]!r} and {keys[1]!r}")
        for key in keys:
            if key not in item:
                raise RowProblem(f"{where} has no {key!r}")
        name = item[keys[0]]
        role = _ROLES.get(name.lower()) if isinstance(name, str) else None
        if role is None:
            raise RowProblem(f"{where} has the unknown role {repr(name)[:40]}")
        turns.append(Turn(role, _text(item[keys[1]], where)))
    return turns


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RowProblem(f"{where} is {kind(value)}, expected text")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RowProblem(f"{where} holds a lone surrogate, which no tokenizer takes") from error
    return value
