"""Choices and chains of rows that copy no row: the axes of a run are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, overload

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.keys import ContentKeys
from nncift.data.rows import Example, Indexed, ids_of, keys_of, lines_of, numbers_of, raw_of


def take(rows: Sequence[Example], positions: Sequence[int] | Int[ndarray, " k"]) -> Sequence[Example]:
    """The rows at some positions, in that order: rows in memory as a tuple, others undecoded."""
    at = np.asarray(positions, dtype=np.int64)
    return rows.take(at) if isinstance(rows, Indexed) else tuple(rows[k] for k in at.tolist())


def join(*parts: Sequence[Example]) -> Sequence[Example]:
    """Rows behind one another: a tuple where all are in memory, else undecoded."""
    some = [part for part in parts if len(part)]
    if not any(isinstance(part, Indexed) for part in some):
        return tuple(chain.from_iterable(some))
    return some[0] if len(some) == 1 else Joined(some)


class Picked(Indexed):
    """The rows of others at some positions."""

    __slots__ = ("_at", "_rows")

    def __init__(self, rows: Indexed, at: Int[ndarray, " k"]) -> None:
        self._rows, self._at = rows, np.arange(len(rows))[at]  # counted from the end, or outside: told now

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        return Picked(self._rows, self._at[at]) if isinstance(at, slice) else self._rows[int(self._at[at])]

    def __iter__(self) -> Iterator[Example]:
        return (self._rows[k] for k in self._at.tolist())

    @property
    def ids(self) -> list[str]:
        every = self._rows.ids
        return [every[k] for k in self._at.tolist()]

    @property
    def keys(self) -> ContentKeys:
        return self._rows.keys.take(self._at)

    @property
    def numbers(self) -> Int[ndarray, " n"]:
        return self._rows.numbers[self._at]

    @property
    def lines(self) -> Int[ndarray, " n"]:
        return self._rows.lines[self._at]

    def raw(self, position: int) -> bytes | dict[str, Any]:
        return self._rows.raw(int(self._at[position]))

    def column(self, name: str) -> list[str | None] | None:
        every = self._rows.column(name)
        return None if every is None else [every[k] for k in self._at.tolist()]

    def take(self, positions: Int[ndarray, " k"]) -> Indexed:
        return Picked(self._rows, self._at[positions])

    def refuse_changed(self) -> None:
        self._rows.refuse_changed()


class Joined(Indexed):
    """Rows behind one another, some in memory and some not."""

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self._parts = tuple(parts)
        self._ends = np.array(list(accumulate(map(len, self._parts))), dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if not isinstance(at, slice):
            part, position = self._place(at)
            return part[position]
        start, stop, step = at.indices(len(self))
        if step != 1:
            return Picked(self, np.arange(start, stop, step))
        spans = zip(self._parts, self._ends.tolist(), strict=True)
        return join(*(part[max(0, start - end + len(part)) : max(0, stop - end + len(part))] for part, end in spans))

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self._parts)

    @property
    def ids(self) -> list[str]:
        return [name for part in self._parts for name in ids_of(part)]

    @property
    def keys(self) -> ContentKeys:
        return ContentKeys(np.concatenate([keys_of(part).packed for part in self._parts]))

    @property
    def numbers(self) -> Int[ndarray, " n"]:
        return np.concatenate([numbers_of(part) for part in self._parts])

    @property
    def lines(self) -> Int[ndarray, " n"]:
        return np.concatenate([lines_of(part) for part in self._parts])

    def raw(self, position: int) -> bytes | dict[str, Any]:
        return raw_of(*self._place(position))

    def column(self, name: str) -> list[str | None] | None:
        parts = [part.column(name) if isinstance(part, Indexed) else None for part in self._parts]
        return None if None in parts else [value for part in parts for value in part or ()]

    def take(self, positions: Int[ndarray, " k"]) -> Indexed:
        return Picked(self, positions)

    def refuse_changed(self) -> None:
        for part in self._parts:
            if isinstance(part, Indexed):
                part.refuse_changed()

    def _place(self, position: int) -> tuple[Sequence[Example], int]:
        """The part that holds a row, and where in it."""
        at = range(len(self))[position]
        part = int(np.searchsorted(self._ends, at, side="right"))
        return self._parts[part], at - int(self._ends[part]) + len(self._parts[part])
