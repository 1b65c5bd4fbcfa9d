"""Which pairs of a kernel may still get a label, and how many labels its targets and candidates have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from nncift.errors import ConfigError

Pairs = tuple[Int[ndarray, "L"], Int[ndarray, "L"]]
"""Targets i and candidates j of L pairs."""
PairList = Iterable[tuple[int, int]] | Int[ndarray, "p 2"]


@dataclass(frozen=True, slots=True)
class Openings:
    """The pairs that may be drawn: all of the open candidates but the barred. A pair (i, j) is the number j·m + i.

    Attributes:
        m: targets.
        n: candidates.
        columns: int64 [c], the candidates that may be labelled, ascending.
        barred: int64 [b], ascending: pairs of those candidates that are masked, or labelled already.
        row_count: int64 [m], labels that each target has.
        column_count: int64 [n], labels that each candidate has.
    """

    m: int
    n: int
    columns: Int[ndarray, "c"]
    barred: Int[ndarray, "b"]
    row_count: Int[ndarray, "m"]
    column_count: Int[ndarray, "n"]

    def __len__(self) -> int:
        """How many pairs may be drawn."""
        return self.m * len(self.columns) - len(self.barred)

    def room(self) -> Int[ndarray, "c"]:
        """How many labels each open candidate can still get."""
        return self.m - np.bincount(self.barred // self.m, minlength=self.n)[self.columns]

    def is_open(self, keys: Int[ndarray, "q"]) -> Bool[ndarray, "q"]:
        """Whether pairs of open candidates may be drawn."""
        if len(self.barred) == 0:
            return np.ones(len(keys), dtype=np.bool_)
        at = np.minimum(np.searchsorted(self.barred, keys), len(self.barred) - 1)
        return self.barred[at] != keys

    def every(self) -> Int[ndarray, "L"]:
        """All pairs that may be drawn. *Memory*: all pairs of the open candidates."""
        keys = (self.columns[:, None] * self.m + np.arange(self.m)[None, :]).ravel()
        return keys[self.is_open(keys)]


def find_openings(
    m: int,
    n: int,
    *,
    masked: PairList = (),
    taken: Pairs | None = None,
    among: Int[ndarray, "c"] | None = None,
) -> Openings:
    """What may be drawn in a kernel of m targets and n candidates.

    Args:
        masked: pairs that are never labelled, in any order.
        taken: pairs that have a label already.
        among: candidates that may be labelled, in any order; None for all.

    Raises:
        ConfigError: a pair or a candidate lies outside the kernel, `taken` has axes of different lengths, or `among`
            is empty.
    """
    closed = _keys(np.asarray(masked if isinstance(masked, ndarray) else list(masked)).reshape(-1, 2), m, n, "masked")
    had = np.zeros(0, dtype=np.int64)
    if taken is not None:
        if len(taken[0]) != len(taken[1]):
            raise ConfigError(
                f"`taken` has {len(taken[0])} targets and {len(taken[1])} candidates; give one of either for every pair."
            )
        had = _keys(np.stack(taken, axis=1), m, n, "labelled")
    barred = np.union1d(closed, had)
    columns = np.arange(n) if among is None else np.unique(np.asarray(among))
    if len(columns) == 0 or columns.dtype.kind not in "iu" or columns[0] < 0 or columns[-1] >= n:
        raise ConfigError(f"`among` must hold positions of candidates, at least one, from 0 to {n - 1}.")
    if len(columns) < n:
        barred = barred[np.isin(barred // m, columns)]
    return Openings(
        m,
        n,
        columns.astype(np.int64),
        barred,
        np.bincount(had % m, minlength=m),
        np.bincount(had // m, minlength=n),
    )


def _keys(pairs: Int[ndarray, "p 2"], m: int, n: int, what: str) -> Int[ndarray, "p"]:
    """Pairs as ascending numbers, each once."""
    pairs = pairs.astype(np.int64)
    i, j = pairs[:, 0], pairs[:, 1]
    if np.any((i < 0) | (i >= m) | (j < 0) | (j >= n)):
        raise ConfigError(f"a {what} pair lies outside the kernel of {m} targets and {n} candidates.")
    return np.unique(j * m + i)


def by_count(count: Int[ndarray, "q"], rng: np.random.Generator) -> Int[ndarray, "q"]:
    """Positions by falling count, ties in random order."""
    shuffled = rng.permutation(len(count))
    return shuffled[np.argsort(-count[shuffled], kind="stable")]


def fewest_that_hold(asked: int, openings: Openings, shape: Callable[[int], Int[ndarray, "q"]]) -> Int[ndarray, "L"]:
    """The open pairs of the smallest shape that has at least `asked` of them, by bisection.

    Args:
        asked: at most as many as may be drawn.
        shape: the pairs of the shape with at least so many pairs of open candidates, barred ones included.
    """
    low, high = asked, min(openings.m * len(openings.columns), asked + len(openings.barred))
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(openings.is_open(shape(middle))) >= asked:
            high = middle
        else:
            low = middle + 1
    keys = shape(high)
    return keys[openings.is_open(keys)]
