"""Readers of JSON lines, by bytes and one line at a time, and of JSON arrays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from nncift.data.records import Reading, Record, decode, row_problem, shortly, text_start
from nncift.errors import DataError

_SPACE = re.compile(r"[ \t\r\n]*")
_OBJECT = 64_000_000  # bytes of a file that is read whole only to say better what is wrong with it


def read_jsonl(path: Path) -> Iterator[Record]:
    """The rows of a JSON lines file. Blank lines are skipped; a broken line costs that line only."""
    place = text_start(path)
    number = 0
    with path.open("rb") as file:
        file.seek(place)
        for line, content in enumerate(file, start=1):
            if not content.isspace():
                yield decode(number, line, content.rstrip(b"\r\n"), place=place)
                number += 1
            place += len(content)


def read_json(path: Path) -> Reading:
    """A `.json` file as what it turns out to be: one array, or JSON lines under the wrong suffix.

    Raises:
        DataError: the file holds one object instead of rows, or is not UTF-8. A broken array raises while it is read:
            behind the break nothing can be told apart.
    """
    skip = text_start(path)
    first = _first_line(path, skip)
    if first.startswith(b"["):
        return Reading("json", lambda: _elements(_text(path, skip), path, skip), element)
    if first.startswith(b"{") and path.stat().st_size <= _OBJECT and decode(0, 1, first).row is None:
        _refuse_one_object(_text(path, skip), path)
    return Reading("jsonl", lambda: read_jsonl(path), decode)


def element(number: int, line: int, raw: bytes) -> Record:
    """A record from the bytes of one element of an array."""
    record = decode(number, line, raw)
    return record if record.row is None else replace(record, raw=record.row)


def _first_line(path: Path, skip: int) -> bytes:
    with path.open("rb") as file:
        file.seek(skip)
        return next((line.strip() for line in file if not line.isspace()), b"")


def _text(path: Path, skip: int) -> str:
    data = path.read_bytes()[skip:]
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8, and a JSON array cannot be read around that. Convert the file to UTF-8, "
            f"or write one row per line as .jsonl, where a bad line costs that line only."
        ) from error


def _refuse_one_object(text: str, path: Path) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return  # lines of JSON whose first is broken
    raise DataError(
        f"{path} holds one JSON object with the keys {', '.join(map(shortly, list(value)[:10]))}; expected an array of "
        f"rows, or one row per line. Write the list of rows by itself into a file."
    )


def _elements(text: str, path: Path, place: int) -> Iterator[Record]:
    """The elements of an array that starts at a byte of its file."""
    decoder = json.JSONDecoder()
    number, line, counted, before = 0, 1, 0, 0
    at = _after_space(text, text.index("[") + 1)
    more = text[at : at + 1] != "]"
    while more:
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise _broken(path, error.lineno, error.msg) from error
        except RecursionError as error:
            raise _broken(path, line, "nested too deeply") from error
        except ValueError as error:
            raise _broken(path, line, "a number with too many digits") from error
        place += at - before  # what stands between elements is one byte a character
        raw, before = text[at:end].encode("utf-8"), end
        if problem := row_problem(value, raw):
            yield Record(number, line, raw, None, problem, place, len(raw))
        else:
            yield Record(number, line, value, value, "", place, len(raw))
        place += len(raw)
        number += 1
        at = _after_space(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = _after_space(text, at + 1)
    closed = text[at : at + 1] == "]"
    if closed:
        at = _after_space(text, at + 1)
    if not closed or at < len(text):
        line += text.count("\n", counted, at)
        what = (
            "text behind the closing ']'" if closed else "expected ',' or ']'" if at < len(text) else "no closing ']'"
        )
        raise _broken(path, line, what)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _broken(path: Path, line: int, what: str) -> DataError:
    return DataError(
        f"{path}, line {line}: broken JSON array ({what}). Mend that line, or write one row per line as .jsonl, "
        f"where a broken line costs that line only."
    )
