"""What a workload must say to be measured: its inputs, the sides that do the same work, and what it takes at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy import ndarray

Size = Mapping[str, int]
Facts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Data:
    """Arrays of a workload on disk, each loaded when a side asks for it: a side never carries what only another needs."""

    folder: Path

    def __getitem__(self, name: str) -> ndarray:
        return np.load(self.folder / f"{name}.npy")

    def write(self, arrays: Mapping[str, ndarray]) -> None:
        """Keeps arrays under their names."""
        for name, array in arrays.items():
            np.save(self.folder / f"{name}.npy", np.ascontiguousarray(array))


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run gave.

    Attributes:
        values: what sides are compared by: picks in their order, or entries, or means.
        total: the sum of the gains as the side itself counted them; 0 where there is none.
        facts: numbers worth a line of the report, by name.
    """

    values: ndarray
    total: float = 0.0
    facts: Facts = field(default_factory=dict)


Run = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work.

    Attributes:
        words: how the table names it.
        open: loads what it needs (data, size, threads) and returns what is timed.
        share: the part of the work that a run does; its time is divided by it.
        apart: as `open`, of something that every run contains and that is shown apart; None for nothing.
    """

    words: str
    open: Callable[[Data, Size, int], Run]
    share: Callable[[Size], float] = lambda size: 1.0
    apart: Callable[[Data, Size, int], Run] | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What our side cannot do without.

    Attributes:
        operations: float32 lanes through an arithmetic unit; an addition, a comparison and a fused product count one each.
        bytes: read from memory beyond the caches.
        words: the arithmetic in words.
    """

    operations: float
    bytes: float
    words: str


@dataclass(frozen=True, slots=True)
class Workload:
    """One piece of work.

    Attributes:
        title: what is done, with `{n}` and the like for sizes.
        size: at full scale; `tiny` for tests.
        agreed: the size at which answers are compared, where that is not the full one.
        judges: sides that answers are compared with and that nobody times.
        within: sides that are a part of ours, timed for information.
        prepare: makes the arrays, from a seed.
        sides: by name; `ours` is one of them.
        agree: asserts that the answers of all sides are equal, and says in a sentence how nearly.
        work: what our side takes at least, given its facts.
        holds: the bytes of the inputs that every side is given.
    """

    title: str
    size: Size
    tiny: Size
    prepare: Callable[[Size], Mapping[str, ndarray]]
    sides: Mapping[str, Side]
    agree: Callable[[Data, Size, Mapping[str, Answer]], str]
    work: Callable[[Size, Facts], Work]
    holds: Callable[[Size], float]
    agreed: Size | None = None
    judges: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
