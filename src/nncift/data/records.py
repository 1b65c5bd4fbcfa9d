"""What a reader hands over for each row of a source, before anything is known about the row's layout."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.errors import DataError

SHOWN = 10_000
"""Characters of a rejected row that are kept; a longer one is cut, with a mark that says so."""

DEEPEST = 100
"""Levels of lists and objects in a row, as many as Parquet may have. Some hundred more could be read from a shallow stack and
not from a deep one, and could not be written again."""

_TOO_DEEP = f"nested too deeply (more than {DEEPEST} levels)"

_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
"""How packed files begin; no text in UTF-8 that holds rows begins so."""


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
        return None, f"broken JSON: {error.msg.removesuffix(' at')} at column {error.colno}{_stray(raw)}"
    except RecursionError:
        return None, _TOO_DEEP
    except ValueError:  # an integer of more digits than Python converts
        return None, "broken JSON: a number with too many digits"
    return value, row_problem(value, raw)


def row_problem(value: Any, raw: bytes = b"") -> str:
    """Why a decoded value is no row, empty where it is one; `raw` are its bytes where it was JSON."""
    if not isinstance(value, Mapping):
        return not_an_object(value)
    if raw and raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return ""
    return _TOO_DEEP if _is_too_deep(value) else ""


def _is_too_deep(value: Any) -> bool:
    """Whether a value has more than so many levels; without recursion, and whatever it holds twice or holds itself."""
    level = [value]
    for _ in range(DEEPEST):
        inner = (one for outer in level for one in (outer.values() if isinstance(outer, Mapping) else outer))
        level = list({id(one): one for one in inner if isinstance(one, Mapping | list | tuple)}.values())
        if not level:
            return False
    return True


def _stray(raw: bytes) -> str:
    """What may have broken a line of JSON, to be said with the reason."""
    if b"\0" in raw:
        return " (it holds NUL bytes: a damaged file, or one in UTF-16)"
    return " (it holds carriage returns, which end no line: use line feeds)" if b"\r" in raw else ""


def from_mappings(rows: Iterable[Any]) -> Iterator[Record]:
    """Records from rows in memory: a list of mappings, or anything that iterates over mappings."""
    for number, item in enumerate(rows):
        if not isinstance(item, Mapping):
            yield Record(number, number + 1, {"row": item}, None, not_an_object(item))
        elif all(isinstance(name, str) for name in item):
            row = dict(item)
            problem = row_problem(row)
            yield Record(number, number + 1, row, None if problem else row, problem)
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
        DataError: the file is UTF-16 or UTF-32, or packed.
    """
    with path.open("rb") as file:
        head = file.read(6)
    if packed := next((name for mark, name in _PACKED.items() if head.startswith(mark)), ""):
        raise DataError(f"{path} is no text: it is packed ({packed}). Unpack it first, and name what comes out.")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise DataError(
            f"{path} is stored as UTF-16 or UTF-32, not as UTF-8. Convert it, for example:  "
            f"iconv -f UTF-16 -t UTF-8 {path.name} > utf8-{path.name}"
        )
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def refuse_twin_columns(names: Sequence[str], path: Path) -> None:
    """Stops at a table in which two columns have one name, because a mapping would lose one of them."""
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise DataError(f"{path} has the column {shortly(twice)} twice. Rename or drop one of them.")


def shortly(name: object) -> str:
    """A name of somebody else's in a message, cut where it is long."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:80]}…"
