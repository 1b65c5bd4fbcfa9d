"""Readers of tables: CSV through the `csv` module, Parquet through pyarrow, both as streams of rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nncift.data.records import Record, refuse_twin_columns, text_start
from nncift.errors import DataError

BATCH = 1024
"""Rows of a Parquet file that are decoded at a time."""

_CELL_LIMIT = 2**31 - 1  # the longest cell that `csv` takes on every platform; its own default is 128 KiB


def read_csv(path: Path) -> Iterator[Record]:
    """The rows of a comma-separated file with a header; a malformed record costs that record only.

    Bytes that are not UTF-8 pass through decoding as lone surrogates, so that only the record that holds them is lost.
    """
    text_start(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file, _long_cells():
        taken: list[str] = []
        records = csv.reader(_noting(file, taken), strict=True)
        try:
            header = next((cells for cells in records if cells), [])
        except csv.Error as error:
            raise DataError(
                f"{path}: the header cannot be read ({error}). It must be one line of column names."
            ) from error
        refuse_twin_columns(header, path)
        number = 0
        while True:
            taken.clear()
            line = records.line_num + 1
            try:
                cells = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(number, line, _source(taken), None, _csv_problem(error, taken))
            else:
                if not cells:
                    continue
                yield _csv_record(number, line, header, cells, taken)
            number += 1


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_CELL_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _noting(lines: Iterator[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _source(taken: list[str]) -> bytes:
    return "".join(taken).rstrip("\r\n").encode("utf-8", "surrogateescape")


def _csv_problem(error: csv.Error, taken: list[str]) -> str:
    if "unexpected end of data" in str(error):
        return (
            f"a quote opens in this record and is never closed: {len(taken):,} lines, to the end of the file, are lost"
        )
    return f"broken CSV: {error}"


def _csv_record(number: int, line: int, header: list[str], cells: list[str], taken: list[str]) -> Record:
    source = _source(taken)
    try:
        source.decode("utf-8")
    except UnicodeDecodeError as error:
        return Record(number, line, source, None, f"not UTF-8 (byte {error.start + 1} of the row)")
    if len(cells) != len(header):
        return Record(number, line, source, None, f"{len(cells)} cells where the header names {len(header)} columns")
    row = dict(zip(header, cells, strict=True))
    return Record(number, line, row, row)


def open_parquet(path: Path) -> pq.ParquetFile:
    """The Parquet file at a path, its columns checked."""
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {error}") from error
    refuse_twin_columns(file.schema_arrow.names, path)
    return file


def read_parquet(path: Path) -> Iterator[Record]:
    """The rows of a Parquet file, a batch at a time."""
    number = 0
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(BATCH):
                for row in _rows(batch):
                    yield Record(number, number + 1, row, row)
                    number += 1
    except pa.ArrowException as error:
        raise DataError(f"{path}: the Parquet file is damaged behind row {number}: {error}") from error


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        return batch.to_pylist()
    except ValueError:  # some cell has no Python value; the others keep theirs
        names = batch.schema.names
        return [{name: _cell(batch.column(name)[i]) for name in names} for i in range(batch.num_rows)]


def _cell(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return error.object
    except ValueError:  # nanoseconds, which `datetime` cannot hold
        return f"<a {cell.type} that Python cannot hold>"
