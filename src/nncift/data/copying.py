"""Rows copied out of Parquet files into others, in any order, with no more of them in memory the more there are."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int
from numpy import ndarray

from nncift.data.tables import BATCH, open_parquet
from nncift.errors import DataError

HELD = 32_000_000
"""Bytes of rows that are in memory at once, several times over: as they were read, sorted, and as they are written."""

_GROUP = 1 << 17
"""Rows of a row group at most."""


def copy_rows(sources: Sequence[Path], numbers: Int[ndarray, " k"], paths: Sequence[Path], rows: int) -> None:
    """Copies rows of Parquet files, which are read once, into other Parquet files of the same schema.

    Args:
        sources: one behind the other.
        numbers: [k], of the rows, counted through all sources, in the order to write them.
        paths: the file `paths[i]` gets the rows `numbers[i * rows : (i + 1) * rows]`.
        rows: of a file at most, 1 or more.

    Raises:
        DataError: the sources have fewer rows, or columns that do not go together.

    *Cost*: 16 bytes a row and about 300 MB in memory, and once the chosen rows as they are unpacked in a file without a name
    beside the first path: rows that stand apart in the sources stand together in a file, and wait there until it is written.
    """
    whole = _schema_of(sources)
    group = _group(sources, rows)
    with tempfile.SpooledTemporaryFile(HELD, dir=str(paths[0].parent)) as file:
        sorting = _Sorting(file, _plain_schema(whole))
        _read(sources, numbers, sorting, _Places(rows, group))
        place = 0
        for index, path in enumerate(paths):
            end = min(len(numbers), (index + 1) * rows)
            with pq.ParquetWriter(path, whole) as writer:
                for low in range(index * rows, end, group):
                    table, back = sorting.take(place), _back(numbers[low : min(low + group, end)])
                    writer.write_table(table.take(pa.array(back)).cast(whole), row_group_size=group)
                    place += 1


@dataclass(frozen=True, slots=True)
class _Places:
    """Row groups numbered through all files, of so many rows a file and a group."""

    rows: int
    group: int

    def of(self, ranks: Int[ndarray, " r"]) -> Int[ndarray, " r"]:
        """The row group of each rank."""
        return ranks // self.rows * -(-self.rows // self.group) + ranks % self.rows // self.group


def _back(numbers: Int[ndarray, " g"]) -> Int[ndarray, " g"]:
    """Where each row of a group is among them in the order of the sources."""
    back = np.empty(len(numbers), dtype=np.int64)
    back[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
    return back


def _read(sources: Sequence[Path], numbers: Int[ndarray, " k"], sorting: _Sorting, places: _Places) -> None:
    """One pass over the sources."""
    ranks = np.argsort(numbers, kind="stable")
    wanted = numbers[ranks]
    start = 0
    for source in sources:
        with open_parquet(source) as file:
            for batch in file.iter_batches(BATCH):
                low, high = np.searchsorted(wanted, (start, start + batch.num_rows))
                if low < high:
                    try:
                        sorting.add(batch, wanted[low:high] - start, places.of(ranks[low:high]))
                    except pa.ArrowException as error:
                        raise _unlike(sources, error) from error
                start += batch.num_rows
    if len(wanted) and wanted[-1] >= start:
        raise DataError(f"{sources[-1]} has fewer rows than when it was read. Start again with the file as it is now.")
    sorting.flush()


class _Sorting:
    """Rows that come in one order and are wanted in another: they wait in a file, those of one place in few pieces.

    Args:
        file: for the pieces; what it holds in memory is its own affair.
        schema: of the rows.
    """

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._file, self._schema, self._empty = file, schema, schema.empty_table()
        self._tables, self._places, self._bytes = list[pa.Table](), list[ndarray](), 0
        self._pieces: dict[int, list[tuple[int, int]]] = {}

    def add(self, batch: pa.RecordBatch, at: Int[ndarray, " r"], places: Int[ndarray, " r"]) -> None:
        """Keeps some rows of a batch, each for its place."""
        plain = pa.schema([field.with_type(_takeable(field.type)) for field in batch.schema])
        table = pa.Table.from_batches([batch.cast(plain)]).take(pa.array(at))
        if table.schema != self._schema:  # a column is missing in this file, or of a narrower type
            table = pa.concat_tables([self._empty, table], promote_options="permissive").cast(self._schema)
        self._tables.append(table)
        self._places.append(places)
        self._bytes += table.nbytes
        if self._bytes > HELD:
            self.flush()

    def flush(self) -> None:
        """Puts what was kept into the file, sorted by place."""
        if not self._tables:
            return
        places, table = np.concatenate(self._places), pa.concat_tables(self._tables)
        order = np.argsort(places, kind="stable")
        places, table = places[order], table.take(pa.array(order))
        self._tables, self._places, self._bytes = [], [], 0
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        for low, high in zip(starts, [*starts[1:], len(places)], strict=True):
            begin = self._file.seek(0, 2)
            with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), self._schema) as stream:
                stream.write_table(table.slice(low, high - low))
            self._pieces.setdefault(int(places[low]), []).append((begin, self._file.tell() - begin))

    def take(self, place: int) -> pa.Table:
        """The rows of a place, in the order in which they came."""
        return pa.concat_tables(self._read(self._pieces.pop(place)))

    def _read(self, pieces: Sequence[tuple[int, int]]) -> Iterator[pa.Table]:
        for begin, size in pieces:
            self._file.seek(begin)
            with pa.ipc.open_stream(pa.py_buffer(self._file.read(size))) as stream:
                yield stream.read_all()


def _group(sources: Sequence[Path], rows: int) -> int:
    """Rows of a row group: as many as take `HELD` bytes, by what the sources say of their rows."""
    size, count = 0, 0
    for source in sources:
        with open_parquet(source) as file:
            count += file.metadata.num_rows
            size += sum(file.metadata.row_group(k).total_byte_size for k in range(file.metadata.num_row_groups))
    return max(1, min(rows, _GROUP, HELD * count // max(1, size)))


def _schema_of(sources: Sequence[Path]) -> pa.Schema:
    """The schema that the rows of all sources have."""
    schemas = list[pa.Schema]()
    for source in sources:
        with open_parquet(source) as file:
            schemas.append(file.schema_arrow)
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise _unlike(sources, error) from error


def _unlike(sources: Sequence[Path], error: pa.ArrowException) -> DataError:
    if len(sources) == 1:
        return DataError(f"rows of {sources[0]} cannot be copied: {error}. Write it again with plain columns.")
    return DataError(
        f"the shards {sources[0].name} to {sources[-1].name} have columns of types that do not go together: {error}. "
        "Write them with one schema."
    )


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_type(_takeable(field.type)) for field in schema])


def _takeable(kind: pa.DataType) -> pa.DataType:
    """The type without views, because no rows can be taken out of them, and without a dictionary, which every piece would
    hold as a whole; the order of its values, where it means something, stands nowhere else."""
    return _no_view(kind.value_type if pa.types.is_dictionary(kind) and not kind.ordered else kind)


def _no_view(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_no_view(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_no_view(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_no_view(field.type)) for field in kind.fields])
    return kind
