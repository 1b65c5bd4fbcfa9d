"""Rows that stay in their file: a few numbers for each are in memory, the rest is read when it is asked for."""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from numpy import ndarray

from nncift.data.drafts import draft
from nncift.data.keys import ContentKeys
from nncift.data.layouts import Layout
from nncift.data.records import Again, Record, shown
from nncift.data.rows import Example, Indexed, IndexedRejects, Rejected
from nncift.data.views import Picked
from nncift.errors import DataError


class SourceFile:
    """A file that is held open, and must not change while rows of it are read.

    Args:
        descriptor: of the open file, which is closed with this object.
        path: what errors call it.

    It may be moved or deleted: what was opened can be read for as long as it is open.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor, self.path = descriptor, path
        weakref.finalize(self, os.close, descriptor)
        self.stamp = _stamp(os.fstat(descriptor))

    @classmethod
    def open(cls, path: Path) -> SourceFile:
        """Opens a file to read it."""
        return cls(os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)), path)

    def read(self, place: int, size: int) -> bytes:
        """Some bytes.

        Raises:
            DataError: the file is not what it was when it was opened, or cannot be read.
        """
        self.refuse_changed()
        try:
            data = os.pread(self._descriptor, size, place)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}. Check the file.") from error
        if len(data) < size:
            raise _changed(self.path)
        return data

    def refuse_changed(self) -> None:
        """Refuses to go on with a file that was written to.

        Raises:
            DataError: its size or its time is not what it was when it was opened.
        """
        if _stamp(os.fstat(self._descriptor)) != self.stamp:
            raise _changed(self.path)

    def refuse_replaced(self) -> None:
        """Refuses to read by its path what was read before as an open file.

        Raises:
            DataError: another file is there now, or none.
        """
        if not self.path.exists() or _stamp(self.path.stat()) != self.stamp:
            raise _changed(self.path)


def _stamp(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _changed(path: Path) -> DataError:
    return DataError(
        f"{path} changed after it was read: its size or time is another. Put back the file as it was, or start again "
        "with it as it is now; while a run reads a file, nothing may write to it."
    )


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows, each of which can be read by itself.

    Attributes:
        source: what the user named.
        held: the file that holds the bytes of the rows: the source, or where no row of that can be read by itself, a copy.
        again: reads a row from its bytes.
        layout: of the rows.
        copy: copies such a source.
    """

    source: SourceFile
    held: SourceFile
    again: Again
    layout: Layout
    copy: Callable[[Path], SourceFile] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For workers in other processes, who open the file by its path."""
        return _opened_again, (self.source.path, self.source.stamp, self.again, self.layout, self.copy)

    def name_of(self, number: int) -> str:
        """The file of a row."""
        return str(self.source.path)

    def refuse_replaced(self) -> None:
        """See `SourceFile.refuse_replaced`."""
        self.source.refuse_replaced()

    def read(self, where: Where, position: int) -> Record:
        """The record of a row, as the first pass over the source gave it."""
        place, size = int(where.places[position]), int(where.sizes[position])
        return self.again(int(where.numbers[position]), int(where.lines[position]), self.held.read(place, size))


def _opened_again(
    path: Path, stamp: tuple[int, int], again: Again, layout: Layout, copy: Callable[[Path], SourceFile] | None
) -> RowFile:
    """A file of rows in another process, which must be the file that was read.

    Raises:
        DataError: it is not.
    """
    try:
        source = SourceFile.open(path)
    except OSError as error:
        raise DataError(
            f"a worker cannot open {path}: {error.strerror or error}. The files of a run must lie at the same place on every "
            "machine of the cluster."
        ) from error
    if source.stamp != stamp:
        raise _changed(path)
    return RowFile(source, source if copy is None else copy(path), again, layout, copy)


@dataclass(frozen=True, slots=True)
class RowFiles:
    """Several files of rows behind one another, whose rows are numbered through.

    Attributes:
        files: in their order.
        starts: number of the first row of each.
    """

    files: tuple[RowFile, ...]
    starts: tuple[int, ...]

    @property
    def layout(self) -> Layout:
        """Of all rows."""
        return self.files[0].layout

    def name_of(self, number: int) -> str:
        """The file of a row."""
        return self._place(number)[0].name_of(number)

    def refuse_replaced(self) -> None:
        """See `SourceFile.refuse_replaced`."""
        for file in self.files:
            file.refuse_replaced()

    def read(self, where: Where, position: int) -> Record:
        """The record of a row, as the first pass over all files gave it."""
        number = int(where.numbers[position])
        file, start = self._place(number)
        one = slice(position, position + 1)
        own = Where(where.places[one], where.sizes[one], where.numbers[one] - start, where.lines[one])
        return replace(file.read(own, 0), number=number)

    def _place(self, number: int) -> tuple[RowFile, int]:
        at = bisect_right(self.starts, number) - 1
        return self.files[at], self.starts[at]


@dataclass(frozen=True, slots=True)
class Where:
    """Where rows are: [n] each, `places` and `sizes` in bytes of the file that holds them."""

    places: Int[ndarray, " n"]
    sizes: Int[ndarray, " n"]
    numbers: Int[ndarray, " n"]
    lines: Int[ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Codes:
    """A column of few values: `codes` [n] into `values`."""

    codes: Int[ndarray, " n"]
    values: tuple[str | None, ...]

    def texts(self) -> list[str | None]:
        """The values, in order."""
        return [self.values[code] for code in self.codes.tolist()]


class StoredRows(Indexed):
    """The usable rows of a file.

    Args:
        file: where they are.
        where: places, sizes, numbers and lines of the rows.
        names: their ids.
        keys: their content keys.
        columns: what is kept of their columns, by name.
        raw_fingerprint: as `Pool.raw_fingerprint`.

    *Cost*: 72 bytes a row beside the id; a row that is asked for is read and decoded each time.
    """

    __slots__ = ("_columns", "_fingerprint", "_keys", "_names", "_where", "file")

    def __init__(
        self,
        file: RowFile | RowFiles,
        where: Where,
        *,
        names: pa.LargeStringArray,
        keys: ContentKeys,
        columns: dict[str, Codes],
        raw_fingerprint: str,
    ) -> None:
        self.file, self._where, self._names, self._keys = file, where, names, keys
        self._columns, self._fingerprint = columns, raw_fingerprint

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if isinstance(at, slice):
            positions = range(len(self))[at]
            return self if positions == range(len(self)) else Picked(self, np.asarray(positions, dtype=np.int64))
        position = range(len(self))[at]
        made = draft(self.file.read(self._where, position), self.file.layout)
        if isinstance(made, str):
            raise _changed(Path(self.file.name_of(self._where.numbers[position])))
        return Example(self._names[position].as_py(), made.turns, made.number, made.line, made.raw)

    @property
    def ids(self) -> list[str]:
        return self._names.to_pylist()

    @property
    def keys(self) -> ContentKeys:
        return self._keys

    @property
    def numbers(self) -> Int[ndarray, " n"]:
        return self._where.numbers

    @property
    def lines(self) -> Int[ndarray, " n"]:
        return self._where.lines

    def raw(self, position: int) -> bytes | dict[str, Any]:
        return self.file.read(self._where, range(len(self))[position]).raw

    def column(self, name: str) -> list[str | None] | None:
        return self._columns[name].texts() if name in self._columns else None

    def take(self, positions: Int[ndarray, " k"]) -> Indexed:
        return Picked(self, positions)

    def refuse_changed(self) -> None:
        self.file.refuse_replaced()

    @property
    def raw_fingerprint(self) -> str:
        return self._fingerprint


class StoredRejects(IndexedRejects):
    """The rejected rows of a file.

    Args:
        file: where they are.
        where: places, sizes, numbers and lines of the rows.
        why: why each cannot be used.
    """

    __slots__ = ("_file", "_where", "_why")

    def __init__(self, file: RowFile | RowFiles, where: Where, why: Codes) -> None:
        self._file, self._where, self._why = file, where, why

    def __len__(self) -> int:
        return len(self._why.codes)

    def _read(self, position: int) -> Rejected:
        record = self._file.read(self._where, position)
        reason = self._why.values[self._why.codes[position]] or ""
        return Rejected(self._file.name_of(record.number), record.line, reason, shown(record.raw))

    @property
    def reasons(self) -> list[str]:
        return [reason or "" for reason in self._why.texts()]
