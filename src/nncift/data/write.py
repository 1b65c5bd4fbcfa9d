"""Writers: the chosen rows exactly as they came, and the rejected rows with their reasons."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nncift.data.copying import copy_rows
from nncift.data.folders import files_in
from nncift.data.records import decode
from nncift.data.rows import Indexed, Pool, Rejected, numbers_of, raw_of
from nncift.errors import DataError

_log = logging.getLogger(__name__)


def subset_suffix(pool: Pool) -> str:
    """The suffix of a file that holds a subset, dot included: rows of memory and of the hub become JSONL."""
    return f".{pool.file_type}"


def write_rows(pool: Pool, positions: Sequence[int] | np.ndarray, path: Path) -> None:
    """Writes the examples at the given positions, in that order, as they came and in the source's file type.

    Use it for the subset of a selection. JSONL keeps every byte of a line but its line break; Parquet keeps the schema;
    CSV and JSON keep all columns.

    Args:
        pool: the pool, in any order; a Parquet source must still be where it was read.
        positions: [k], positions in `pool.examples`.
        path: the file to write; its suffix plays no part.

    Raises:
        DataError: a Parquet source is gone or has changed.

    Cost: rows of a large file are read one by one as they are written; of a Parquet source see `copy_rows`. Neither holds more
    rows at once the more there are.
    """
    write_shards(pool, positions, [path], max(1, len(positions)))


def write_shards(pool: Pool, positions: Sequence[int] | np.ndarray, paths: Sequence[Path], rows: int) -> None:
    """`write_rows` into several files: `paths[i]` gets the examples at `positions[i * rows : (i + 1) * rows]`.

    Args:
        pool, positions: as in `write_rows`.
        paths: the files to write, as many as it takes.
        rows: of a file at most, 1 or more.

    Raises:
        DataError: a Parquet source is gone or has changed.
    """
    at = np.asarray(positions, dtype=np.int64)
    if pool.file_type == "parquet":
        source = Path(pool.source)
        if not source.exists():
            raise DataError(f"the pool file {source} is gone, and its chosen rows are copied from it. Put it back.")
        if isinstance(pool.examples, Indexed):
            pool.examples.refuse_changed()
        files = files_in(source, "pool") if source.is_dir() else [source]
        copy_rows(files, numbers_of(pool.examples)[at], paths, rows)
        return
    for number, path in enumerate(paths):
        chosen = (raw_of(pool.examples, int(position)) for position in at[number * rows : (number + 1) * rows])
        match pool.file_type:
            case "csv":
                _write_csv(list(_mapping(raw_of(pool.examples, 0))), map(_mapping, chosen), path)
            case "json":
                _write_array((to_json(_mapping(raw)) for raw in chosen), path)
            case _:
                _write_lines((raw if isinstance(raw, bytes) else to_json(raw) for raw in chosen), path)


def write_rejected(rejected: Iterable[Rejected], path: Path) -> None:
    """Writes rejected rows as JSONL (`file`, `line`, `reason`, `row`, `twin` of a near-copy), in ASCII, which lone surrogates
    survive."""
    records = (
        {"file": row.file, "line": row.line, "reason": row.reason, "row": row.row}
        | ({} if row.twin is None else {"twin": row.twin})
        for row in rejected
    )
    _write_lines((json.dumps(record).encode("ascii") for record in records), path)


def to_json(row: Mapping[str, Any]) -> bytes:
    """One row as a line of UTF-8 JSON; columns that JSON cannot hold become text; lone surrogates are escaped."""
    try:
        text = json.dumps(row, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError):
        row = {name: _as_text(name, value) for name, value in row.items()}
        text = json.dumps(row, ensure_ascii=False, default=_plain)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row, default=_plain).encode("ascii")


def _plain(value: Any) -> Any:
    """What stands in JSON for a value of no JSON type that keeps its meaning as a list, a number or a date."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(f"JSON has no type for a {type(value).__name__}")


def _as_text(name: str, value: Any) -> Any:
    try:
        json.dumps(value, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        _log.warning("column %r of a row is written as text: %s", name, error)
        return f"<a {type(value).__name__}, {error}>" if isinstance(error, RecursionError) else str(value)
    return value


def _mapping(raw: bytes | dict[str, Any]) -> dict[str, Any]:
    """The columns of a row, decoded anew where only its bytes were kept."""
    return raw if isinstance(raw, dict) else decode(0, 1, raw).row or {}


def _write_lines(lines: Iterable[bytes], path: Path) -> None:
    with path.open("wb") as file:
        for line in lines:
            file.write(line + b"\n")


def write_lines(lines: Iterable[bytes], paths: Sequence[Path], rows: int) -> None:
    """Lines into several files, at most `rows` each."""
    source = iter(lines)
    for path in paths:
        _write_lines(islice(source, rows), path)


def _write_array(rows: Iterable[bytes], path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"[")
        before = b"\n"
        for row in rows:
            file.write(before + row)
            before = b",\n"
        file.write(b"\n]\n")


def _write_csv(columns: list[str], rows: Iterable[dict[str, Any]], path: Path) -> None:
    # the module's own line break, CR LF: with a bare LF it would leave a cell that holds a lone CR unquoted
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([row[name] for name in columns] for row in rows)
