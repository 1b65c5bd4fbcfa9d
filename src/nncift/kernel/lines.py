"""Kernels line by line: what a candidate does for every row, looked up or computed when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled

MASKED = np.float32(-np.inf)
"""Stands in a line where a pair does not count: worth nothing to a coverage, and left out of every mean."""


class Lines(Protocol):
    """n lines of r entries; `values[j, i]` is what candidate j does for row i."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r): candidates, rows."""
        ...

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        """The lines of some candidates, in an array of the caller's own.

        Their bits depend on the candidate alone: not on what is asked for beside it, nor on threads. May be called from
        several threads at once.
        """
        ...

    def pick(self, which: Int[ndarray, " k"]) -> Lines:
        """The lines of some candidates as lines of their own, which hold nothing of the others: to be sent elsewhere."""
        ...


@runtime_checkable
class Averaged(Protocol):
    """Lines whose means are cheaper than the lines."""

    def means(self, threads: int = 0) -> Float64[ndarray, " n"]:
        """The mean of each candidate over the rows that count."""
        ...


@dataclass(frozen=True, slots=True)
class DenseLines:
    """Lines that are there: a matrix in memory, or mapped from a file.

    Attributes:
        values: float32 [n, r], C-contiguous; `MASKED` where a pair does not count.

    Raises:
        ConfigError: it is of another type or memory order.
    """

    values: Float32[ndarray, "n r"]

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2 or not self.values.flags.c_contiguous:
            raise ConfigError(
                f"the kernel is {self.values.dtype} {self.values.shape}; it must be a C-contiguous float32 matrix [n, r]."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r): candidates, rows."""
        return self.values.shape

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        """See `Lines.take`."""
        return self.values[which]

    def pick(self, which: Int[ndarray, " k"]) -> DenseLines:
        """See `Lines.pick`."""
        return DenseLines(self.values[which])


@dataclass(frozen=True, slots=True)
class ClosedLines:
    """Lines of which some candidates count for nothing.

    Attributes:
        base: gives the others.
        closed: bool [n], true for those that count for nothing.
    """

    base: Lines
    closed: Bool[ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r): candidates, rows."""
        return self.base.shape

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        """See `Lines.take`."""
        lines = self.base.take(which)
        lines[self.closed[which]] = MASKED
        return lines

    def pick(self, which: Int[ndarray, " k"]) -> ClosedLines:
        """See `Lines.pick`."""
        return ClosedLines(self.base.pick(which), self.closed[which])


@dataclass(frozen=True, slots=True)
class SomeLines:
    """The lines of some candidates of another kernel.

    Attributes:
        base: gives them.
        which: int [n], their positions there.
    """

    base: Lines
    which: Int[ndarray, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r): candidates, rows."""
        return len(self.which), self.base.shape[1]

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        """See `Lines.take`."""
        return self.base.take(self.which[which])

    def pick(self, which: Int[ndarray, " k"]) -> Lines:
        """See `Lines.pick`."""
        return self.base.pick(self.which[which])


class PatchedLines:
    """Lines in which single entries are known better: exact labels, and pairs that do not count."""

    def __init__(self, base: Lines, i: Int[ndarray, " p"], j: Int[ndarray, " p"], values: Float[ndarray, " p"]) -> None:
        """Args:
        base: gives every line.
        i, j: row and candidate of each entry, in any order; of two patches of one pair the later one stands.
        values: what stands there; `MASKED` where the pair does not count.

        *Cost*: a sort of the patches, and 12 bytes for each.
        """
        self._base = base
        by_candidate = np.argsort(j, kind="stable")
        self._rows = np.ascontiguousarray(i[by_candidate], dtype=np.int64)
        self._values = np.ascontiguousarray(values[by_candidate], dtype=np.float32)
        self._starts = np.searchsorted(j[by_candidate], np.arange(base.shape[0] + 1))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, r): candidates, rows."""
        return self._base.shape

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        """See `Lines.take`."""
        lines = self._base.take(which)
        _patch(lines, np.asarray(which, dtype=np.int64), self._starts, self._rows, self._values)
        return lines

    def pick(self, which: Int[ndarray, " k"]) -> PatchedLines:
        """See `Lines.pick`."""
        first, count = self._starts[which], np.diff(self._starts)[which]
        j = np.repeat(np.arange(len(which)), count)
        at = np.arange(len(j)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        return PatchedLines(self._base.pick(which), self._rows[at], j, self._values[at])


@compiled
def _patch(lines, which, starts, rows, values):
    for b in range(len(which)):
        for k in range(starts[which[b]], starts[which[b] + 1]):
            lines[b, rows[k]] = values[k]
