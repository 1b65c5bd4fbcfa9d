"""Readers of tables: CSV through the `csv` module, Parquet through pyarrow, both as streams of rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Protocol, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from nncift.data.records import Reading, Record, refuse_twin_columns, text_start
from nncift.errors import DataError

BATCH = 1024
"""Rows that are written to a Parquet file at a time, at most."""
_AT_ONCE = 16  # rows that are decoded: of a thousand each may be as large as the longest, whatever the footer says

_ROWS, _ROWS_A_BYTE = 100_000, 8
"""Rows that a Parquet file may say it has, and so many more for each of its bytes: runs of one value take none, so that a few
hundred bytes may say any number, and would be read for days."""

_DAMAGE = (pa.ArrowException, OSError, UnicodeError)
"""What pyarrow raises of a file that is not sound; names of columns are decoded by Python, which says so in its own way."""

_PIECES = 4096  # lines of a record that are kept apart
_CELL_LIMIT = 2**31 - 1  # the longest cell that `csv` takes on every platform; its own default is 128 KiB


def read_csv(path: Path) -> Reading:
    """A comma-separated file with a header; a malformed record costs that record only.

    Bytes that are not UTF-8 pass through decoding as lone surrogates, so that only the record that holds them is lost.
    """
    start = text_start(path)
    taken = _Taken()
    with _lines(path) as file, _long_cells():
        records = csv.reader(_noting(file, taken), strict=True)
        try:
            header = next((cells for cells in records if cells), [])
        except csv.Error as error:
            raise DataError(
                f"{path}: the header cannot be read ({error}). It must be one line of column names."
            ) from error
    refuse_twin_columns(header, path)
    start += len(taken.source())
    return Reading("csv", lambda: _csv_records(path, header, taken.lines, start), _CsvAgain(header))


def _csv_records(path: Path, header: list[str], above: int, place: int) -> Iterator[Record]:
    """The records below the header, which takes so many lines and ends at that byte."""
    with _lines(path) as file, _long_cells():
        for _ in range(above):
            next(file)
        taken = _Taken()
        records = csv.reader(_noting(file, taken), strict=True)
        number = 0
        while True:
            taken.clear()
            line = above + records.line_num + 1
            record = _next_record(records, number, line, header, taken)
            if not taken.lines:
                return
            size = len(taken.source())
            if record is not None:
                yield replace(record, place=place, size=size)
                number += 1
            place += size


@dataclass(frozen=True, slots=True)
class _CsvAgain:
    """Reads a record by itself, from its bytes."""

    header: list[str]

    def __call__(self, number: int, line: int, raw: bytes) -> Record:
        taken = _Taken()
        text = io.StringIO(raw.decode("utf-8", "surrogateescape"), newline="")
        with _long_cells():
            record = _next_record(csv.reader(_noting(text, taken), strict=True), number, line, self.header, taken)
        assert record is not None  # blank lines and the end of the file have no place
        return record


def _next_record(
    records: Iterator[list[str]], number: int, line: int, header: list[str], taken: _Taken
) -> Record | None:
    """The next record, None for a blank line, and at the end of the file, where no line is taken."""
    try:
        cells = next(records, [])
    except csv.Error as error:
        return Record(number, line, taken.source().rstrip(b"\r\n"), None, _csv_problem(error, taken))
    return _csv_record(number, line, header, cells, taken) if cells else None


def _lines(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_CELL_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


class _Taken:
    """The lines that a record took, in few pieces: a quote that is never closed takes all lines to the end of the file."""

    def __init__(self) -> None:
        self._pieces, self.lines = list[str](), 0

    def add(self, line: str) -> None:
        self._pieces.append(line)
        self.lines += 1
        if self.lines % _PIECES == 0:
            self._pieces = [*self._pieces[: 1 - _PIECES], "".join(self._pieces[1 - _PIECES :])]

    def clear(self) -> None:
        self._pieces, self.lines = [], 0

    def source(self) -> bytes:
        """The lines as they lie in the file."""
        return "".join(self._pieces).encode("utf-8", "surrogateescape")


def _noting(lines: Iterable[str], taken: _Taken) -> Iterator[str]:
    for line in lines:
        taken.add(line)
        yield line


def _csv_problem(error: csv.Error, taken: _Taken) -> str:
    if "unexpected end of data" in str(error):
        return (
            f"a quote opens in this record and is never closed: {taken.lines:,} lines, to the end of the file, are lost"
        )
    return f"broken CSV: {error}"


def _csv_record(number: int, line: int, header: list[str], cells: list[str], taken: _Taken) -> Record:
    source = taken.source().rstrip(b"\r\n")
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
        names, said = file.schema_arrow.names, max(_rows_said(file))
    except _DAMAGE as error:
        raise DataError(f"{path} is not a Parquet file that can be read: {_plain(error)}") from error
    refuse_twin_columns(names, path)
    size = path.stat().st_size
    if said > _ROWS + _ROWS_A_BYTE * size:
        raise DataError(
            f"{path} says that it has {said:,} rows, which {size:,} bytes cannot hold unless nearly all are the same. Write it "
            "again, each row once."
        )
    return file


def _rows_said(file: pq.ParquetFile) -> tuple[int, int]:
    """Rows of a Parquet file by its footer, as a whole and by its groups."""
    groups = (file.metadata.row_group(k).num_rows for k in range(file.metadata.num_row_groups))
    return file.metadata.num_rows, sum(groups)


def read_parquet(path: Path, pieces: Pieces | None = None) -> Iterator[Record]:
    """The rows of a Parquet file, a batch at a time; `pieces` keeps a copy from which a row can be read by itself."""
    number = 0
    try:
        with open_parquet(path) as file:
            for batch in file.iter_batches(_AT_ONCE):
                places = repeat((-1, 0)) if pieces is None else pieces.keep(number, batch)
                for row, (place, size) in zip(rows_of(batch), places, strict=False):
                    yield Record(number, number + 1, row, row, "", place, size)
                    number += 1
            said = next((count for count in _rows_said(file) if count != number), number)
    except _DAMAGE as error:
        raise DataError(
            f"{path}: the Parquet file is damaged behind row {number}: {_plain(error)}. Write or copy it again."
        ) from error
    if said != number:
        raise DataError(
            f"{path}: the Parquet file is damaged behind row {number}: it says that it has {said:,}. Write or copy it again."
        )


def unpacked_bytes(path: Path, most: int) -> int:
    """Bytes that the rows of a Parquet file take in memory, whatever it is in the file; none are counted past `most`.

    What the footer says is believed only where that is more: it may be a lie, and a value that is stored once may stand in
    every row.
    """
    with open_parquet(path) as file:
        said = sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
        found = 0
        with suppress(*_DAMAGE):  # damaged, as whoever reads it will say
            for batch in file.iter_batches(_AT_ONCE) if said <= most else ():
                found += sum(column.nbytes for column in plain_columns(batch))
                if found > most:
                    break
        return max(said, found)


def plain_columns(batch: pa.RecordBatch) -> list[pa.Array]:
    """The columns of a batch, each with values of its own: else every piece of them had the whole dictionary."""
    return [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]


def _plain(error: BaseException) -> str:
    """What a library says of a file, on one line."""
    return " ".join(str(error).split()).rstrip(".")


class Pieces(Protocol):
    """Keeps rows of a Parquet file, in which no row can be read without those before it."""

    def keep(self, number: int, batch: pa.RecordBatch) -> Iterable[tuple[int, int]]:
        """Keeps a batch, whose first row has the number; place and size of the piece that holds it, for each row."""
        ...


_NO_VALUE = (ValueError, OverflowError, KeyError)
"""What cells raise that Python cannot hold: nanoseconds, dates past the year 9999, time zones that nobody knows. An index past
the end of its dictionary (`pa.ArrowIndexError`) is none of these: the file is damaged."""


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch, with a word in place of a cell that Python cannot hold.

    Raises:
        pa.ArrowIndexError: a cell names a value that its dictionary does not have.
    """
    try:
        return batch.to_pylist()
    except _NO_VALUE:  # some cell has none; the others keep theirs
        names = batch.schema.names
        return [{name: _cell(batch.column(name)[i]) for name in names} for i in range(batch.num_rows)]


def _cell(cell: pa.Scalar) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return error.object
    except _NO_VALUE:
        return f"<a {cell.type} that Python cannot hold>"
