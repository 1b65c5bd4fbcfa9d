"""What a reader hands over for each row of a source, before anything is known about the row's layout."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.errors import DataError

SHOWN = 10_000
"""Characters of a rejected row that are kept; a longer one is cut, with a mark that says so."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source: either its columns, or the reason why it has none.

    Attributes:
        number: 0-based number of the row in its source, unreadable rows counted, blank lines not.
        line: 1-based line where the row starts, or `number + 1` where the source has no lines.
        raw: the row as it came: bytes without line break, or the decoded mapping.
        row: the columns, None for a row that cannot be read.
        problem: why the row cannot be read; empty when `row` is there.
        place: where the row starts in its file, in bytes; -1 where it cannot be read by itself.
        size: bytes of the row there.
    """

    number: int
    line: int
    raw: bytes | dict[str, Any]
    row: dict[str, Any] | None
    problem: str = ""
    place: int = -1
    size: int = 0


Again = Callable[[int, int, bytes], Record]
"""Number, line and bytes of a row -> its record, as the first pass over the file gave it but for `place` and `size`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A source that is about to be read.

    Attributes:
        file_type: the type in which a subset of it is written.
        records: its rows, a pass for each call (one for all calls where the rows are in memory).
        again: reads a row by itself, from the bytes at its place; None where none can be read by itself.
    """

    file_type: str
    records: Callable[[], Iterator[Record]]
    again: Again | None = None


def decode(number: int, line: int, raw: bytes, *, place: int = -1) -> Record:
    """A record from the bytes of one JSON object; whatever is wrong with them becomes its problem."""
    value, problem = _value(raw)
    return Record(number, line, raw, None if problem else value, problem, place, len(raw))


def _value(raw: bytes) -> tuple[Any, str]:
    """The value of JSON bytes, and why there is none."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return None, f"not UTF-8 (byte {error.start + 1} of the row)"
    except json.JSONDecodeError as error:
        return None, f"broken JSON: {error.msg} at column {error.colno}"
    except RecursionError:
        return None, "broken JSON: nested too deeply"
    except ValueError:  # an integer of more digits than Python converts
        return None, "broken JSON: a number with too many digits"
    return value, "" if isinstance(value, dict) else not_an_object(value)


def from_mappings(rows: Iterable[Any]) -> Iterator[Record]:
    """Records from rows in memory: a list of mappings, or anything that iterates over mappings."""
    for number, item in enumerate(rows):
        if not isinstance(item, Mapping):
            yield Record(number, number + 1, {"row": item}, None, not_an_object(item))
        elif all(isinstance(name, str) for name in item):
            row = dict(item)
            yield Record(number, number + 1, row, row)
        else:
            columns = {str(name): value for name, value in item.items()}
            yield Record(number, number + 1, columns, None, "a column name is not text")


def not_an_object(value: Any) -> str:
    """The reason for a row that is no mapping of columns."""
    return f"the row is {kind(value)}, expected an object"


def kind(value: Any) -> str:
    """What a value is, in the words of a reason."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case bytes():
            return "bytes"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
    return f"a {type(value).__name__}"


def shown(raw: bytes | dict[str, Any]) -> str:
    """A row as text for the record of rejected rows: its text, or its bytes in notation where they are not UTF-8."""
    if isinstance(raw, bytes):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = repr(raw)
    else:
        try:
            text = json.dumps(raw, ensure_ascii=False, default=str)
        except (TypeError, ValueError, RecursionError):  # keys that JSON lacks, a circle, or a deep nest
            text = f"columns {sorted(raw)}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… [cut: {len(text):,} characters in all]"


def text_start(path: Path) -> int:
    """Length of the byte-order mark at the start of a text file: 3 for UTF-8's, 0 without one.

    Raises:
        DataError: the file is UTF-16 or UTF-32.
    """
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise DataError(
            f"{path} is stored as UTF-16 or UTF-32, not as UTF-8. Convert it, for example:  "
            f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}"
        )
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def refuse_twin_columns(names: Sequence[str], path: Path) -> None:
    """Stops at a table in which two columns have one name, because a mapping would lose one of them."""
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} twice. Rename or drop one of them.")
