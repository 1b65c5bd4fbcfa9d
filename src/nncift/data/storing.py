"""The first pass over a large file: which rows can be used, what is kept of each in memory, and where it is."""

from __future__ import annotations

from array import array
from hashlib import sha256

import numpy as np
import pyarrow as pa
from numpy import ndarray

from nncift.data.columns import TASK, text_of
from nncift.data.ids import unique_ids
from nncift.data.keys import ContentKeys
from nncift.data.records import Record
from nncift.data.rows import Example, raw_line
from nncift.data.stored import Codes, RowFile, RowFiles, StoredRejects, StoredRows, Where

_MOST = 4096  # different values of a column that is kept in memory, each of at most so many characters


class Storing:
    """Takes the rows of a file one after the other, and keeps a few numbers of each."""

    def __init__(self) -> None:
        self._names, self._keys, self._used = _Texts(), bytearray(), _Places()
        self._lost, self._why, self._tasks = _Places(), _Coding(), _Coding()
        self._raw = sha256()

    def __len__(self) -> int:
        return len(self._used)

    def use(self, record: Record, made: Example) -> None:
        """A row that can be used, with its own id."""
        assert record.row is not None and record.place >= 0
        self._names.add(made.id)
        self._keys += made.content_digest
        self._used.add(record)
        self._raw.update(raw_line(record.number, record.raw))
        self._tasks.add(text_of(record.row.get(TASK)), most=_MOST)

    def reject(self, record: Record, reason: str) -> None:
        """A row that cannot be used."""
        self._lost.add(record)
        self._why.add(reason)

    def rows(self, file: RowFile | RowFiles, name: str) -> StoredRows:
        """All rows that can be used."""
        keys = ContentKeys(np.frombuffer(self._keys, dtype=np.uint8).reshape(-1, 32))
        names = unique_ids(self._names.array().to_pylist(), keys.__getitem__, name)
        tasks = self._tasks.codes()
        return StoredRows(
            file,
            self._used.where(),
            names=_Texts.of(names),
            keys=keys,
            columns={} if tasks is None else {TASK: tasks},
            raw_fingerprint=self._raw.hexdigest(),
        )

    def rejects(self, file: RowFile | RowFiles) -> StoredRejects:
        """All rows that cannot."""
        why = self._why.codes()
        assert why is not None
        return StoredRejects(file, self._lost.where(), why)


class _Places:
    """Where rows are, in four arrays that grow."""

    def __init__(self) -> None:
        self._columns = tuple(array("q") for _ in range(4))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, record: Record) -> None:
        places, sizes, numbers, lines = self._columns
        places.append(record.place)
        sizes.append(record.size)
        numbers.append(record.number)
        lines.append(record.line)

    def where(self) -> Where:
        return Where(*map(_frozen, self._columns))


class _Texts:
    """Texts behind one another, and where each ends."""

    def __init__(self) -> None:
        self._ends, self._data = array("q", [0]), bytearray()

    @classmethod
    def of(cls, texts: list[str]) -> pa.LargeStringArray:
        made = cls()
        for text in texts:
            made.add(text)
        return made.array()

    def add(self, text: str) -> None:
        self._data += text.encode()
        self._ends.append(len(self._data))

    def array(self) -> pa.LargeStringArray:
        count = len(self._ends) - 1
        return pa.LargeStringArray.from_buffers(count, pa.py_buffer(self._ends), pa.py_buffer(self._data))


class _Coding:
    """A column as codes into its different values; it is given up where they are many or long."""

    def __init__(self) -> None:
        self._codes, self._known = array("i"), dict[str | None, int]()
        self._given_up = False

    def add(self, value: str | None, *, most: int | None = None) -> None:
        if self._given_up:
            return
        self._codes.append(self._known.setdefault(value, len(self._known)))
        if most is not None and (len(self._known) > most or len(value or "") > most):
            self._given_up, self._codes, self._known = True, array("i"), {}

    def codes(self) -> Codes | None:
        return None if self._given_up else Codes(_frozen(self._codes), tuple(self._known))


def _frozen(grown: array[int]) -> ndarray:
    return np.frombuffer(grown, dtype=grown.typecode) if len(grown) else np.empty(0, dtype=np.int64)
