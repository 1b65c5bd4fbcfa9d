"""A copy of a Parquet file in small pieces, because no row of such a file can be read without those before it."""

from __future__ import annotations

import logging
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from nncift.data.records import Record
from nncift.data.stored import SourceFile
from nncift.data.tables import plain_columns, read_parquet, rows_of
from nncift.errors import DataError

_log = logging.getLogger(__name__)

_ROWS = 32  # of a piece: so many are decoded for one; Parquet's own groups have thousands to a million
_NUMBER = 8  # bytes of the first row's number, before the piece itself


class ParquetCopy:
    """The rows of a Parquet file as compressed Arrow streams, in a file without a name in the folder for temporary files.

    Args:
        path: of the Parquet file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, 0
        self._descriptor, name = tempfile.mkstemp(prefix="nncift-")
        weakref.finalize(self, os.close, self._descriptor)
        Path(name).unlink()
        self._options = pa.ipc.IpcWriteOptions(compression="lz4")

    def keep(self, number: int, batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
        """See `nncift.data.tables.Pieces`.

        Raises:
            DataError: there is no room.
        """
        plain = pa.RecordBatch.from_arrays(plain_columns(batch), names=batch.schema.names)
        for start in range(0, len(plain), _ROWS):
            part = plain.slice(start, _ROWS)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, part.schema, options=self._options) as stream:
                stream.write_batch(part)
            piece = (number + start).to_bytes(_NUMBER, "big") + sink.getvalue().to_pybytes()
            self._write(piece)
            yield from ((self._size - len(piece), len(piece)) for _ in range(len(part)))

    def _write(self, piece: bytes) -> None:
        written = 0
        while written < len(piece):
            try:
                written += os.write(self._descriptor, piece[written:])
            except OSError as error:
                raise DataError(
                    f"{self._path} is too large for the memory and is copied row by row into {tempfile.gettempdir()}, which "
                    f"fails: {error.strerror or error}. Make room there, or name another folder: TMPDIR=FOLDER."
                ) from error
        self._size += len(piece)

    def finish(self) -> SourceFile:
        """The copy, to be read."""
        _log.info("%s is copied row by row into %s: %.1f MB", self._path, tempfile.gettempdir(), self._size / 1e6)
        return SourceFile(os.dup(self._descriptor), Path(f"the copy of {self._path}"))


def copied(path: Path) -> SourceFile:
    """The copy of a whole file, the same in every process."""
    copy = ParquetCopy(path)
    for _ in read_parquet(path, copy):
        pass
    return copy.finish()


class ParquetAgain:
    """Reads a row by itself, from the piece that holds it; the last piece is kept, since the next row is often in it too."""

    def __init__(self) -> None:
        self._last: tuple[int, list[dict[str, Any]]] = (0, [])

    def __reduce__(self) -> tuple[type[ParquetAgain], tuple[()]]:
        return ParquetAgain, ()  # what it kept is of this process

    def __call__(self, number: int, line: int, raw: bytes) -> Record:
        first = int.from_bytes(raw[:_NUMBER], "big")
        known, rows = self._last
        if known != first or not rows:
            with pa.ipc.open_stream(pa.py_buffer(raw)[_NUMBER:]) as stream:
                rows = rows_of(stream.read_next_batch())
            self._last = (first, rows)
        row = dict(rows[number - first])
        return Record(number, line, row, row)
