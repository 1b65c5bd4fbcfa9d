"""Workers elsewhere, as far as objectives know of them: shards of candidates go out, and answers come back in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.kernel.lines import DenseLines, Lines

Item = TypeVar("Item")
Result = TypeVar("Result")

_SHARDS = 4  # for each worker, so that a slow one is not waited for


class Spread(Protocol):
    """Workers that hold nothing."""

    @property
    def workers(self) -> int:
        """How many."""
        ...

    def each(self, do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """What `do`, a function of a module, makes of each item; items are made as workers get to them."""
        ...


def worth_sending(lines: Lines) -> bool:
    """Whether lines are computed: a walk over those that are stored takes less time than to send them."""
    return not isinstance(lines, DenseLines)


def shards(n: int, workers: int) -> list[Int[ndarray, " k"]]:
    """Candidates in consecutive shards."""
    return np.array_split(np.arange(n), max(1, min(n, _SHARDS * workers)))
