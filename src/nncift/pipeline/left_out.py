"""A pool without its near-copies, which are rejected rows of it from then on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.records import shown
from nncift.data.rows import IndexedRejects, Pool, Rejected, ids_of, lines_of, raw_of, reasons_of
from nncift.data.views import take
from nncift.errors import RunError
from nncift.pipeline.twins import Twins


def leave_out(pool: Pool, twins: Twins) -> Pool:
    """The pool without its near-copies.

    Raises:
        RunError: they are of other rows.
    """
    ids = ids_of(pool.examples)
    gone = np.array([name in twins.dropped for name in ids], dtype=bool)
    if int(gone.sum()) != len(twins.dropped) or len(pool) != twins.of:
        raise RunError(f"the rows of {pool.source} are not what they were when near-copies were left out.")
    left = take(pool.examples, np.flatnonzero(~gone))
    copies = _Copies(pool, np.flatnonzero(gone), [twins.dropped[name].id for name in ids if name in twins.dropped])
    return Pool(left, _Both(pool.rejected, copies), pool.source, pool.layout, pool.file_type)


class _Copies(IndexedRejects):
    """Rows of a pool that are left out as near-copies."""

    __slots__ = ("_at", "_lines", "_pool", "_twins")

    def __init__(self, pool: Pool, at: Int[ndarray, " k"], twins: Sequence[str]) -> None:
        self._pool, self._at, self._twins = pool, at, twins
        self._lines = lines_of(pool.examples)[at]

    def __len__(self) -> int:
        return len(self._at)

    def _read(self, position: int) -> Rejected:
        row = shown(raw_of(self._pool.examples, int(self._at[position])))
        return Rejected(self._pool.source, int(self._lines[position]), _REASON, row, self._twins[position])

    @property
    def reasons(self) -> list[str]:
        return [_REASON] * len(self)


_REASON = "a near-copy of another row (--dedup)"


class _Both(IndexedRejects):
    """Rejected rows behind one another."""

    __slots__ = ("_first", "_then")

    def __init__(self, first: Sequence[Rejected], then: Sequence[Rejected]) -> None:
        self._first, self._then = first, then

    def __len__(self) -> int:
        return len(self._first) + len(self._then)

    def _read(self, position: int) -> Rejected:
        beyond = position - len(self._first)
        return self._first[position] if beyond < 0 else self._then[beyond]

    @property
    def reasons(self) -> list[str]:
        return [*reasons_of(self._first), *reasons_of(self._then)]
