"""Which way the kernels of a run go: stored, or computed line by line from factors; why, how many bytes, how many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nncift.errors import ConfigError
from nncift.kernel.compiled import cores
from nncift.kernel.lowrank import LowRankKernel
from nncift.objective.base import Kernels
from nncift.objective.coverage import FacilityLocation
from nncift.pipeline.blocks import kernel_bytes
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.pipeline.room import memory

Backend = Literal["dense", "tiled"]
"""Whether kernels are stored, or evaluated line by line whenever a line is needed."""

_DENSE_SHARE = 1 / 8  # of the memory: what a kernel may take beside rows, embeddings and everything else
_MOST_SHARE = 0.5  # where it must be stored, and of factors
_PROBE = 1024  # rows and candidates of the kernel that is timed
_GAINS = 30  # computed for each pick of lazy greedy, about


@dataclass(frozen=True, slots=True)
class Route:
    """How the kernels of a run are laid out.

    Attributes:
        backend: stored or not.
        shape: (rows, candidates) of all kernels together.
        stored: bytes of the kernels where they are stored.
        factors: bytes of the factors that they are computed from; 0 where these are the embeddings themselves.
        memory: bytes of this machine's memory.
        why: in words.
    """

    backend: Backend
    shape: tuple[int, int]
    stored: int
    factors: int
    memory: int
    why: str

    @property
    def bytes(self) -> int:
        """What this route takes."""
        return self.stored if self.backend == "dense" else self.factors

    def text(self) -> str:
        """The route in words."""
        rows, columns = self.shape
        size = f"{rows:,} rows × {columns:,} candidates"
        if self.backend == "dense":
            return f"Kernels: {size}, stored in {_size(self.stored)}, {self.why}."
        source = f"factors of {_size(self.factors)}" if self.factors else "the embeddings"
        return f"Kernels: {size}, computed line by line from {source}, {self.why}."

    def seconds(self, budget: int, *, factors: int, threads: int) -> float:
        """What choosing takes on this machine at most, from a timed probe; reading rows and writing the subset not counted.

        Args:
            budget: rows to choose.
            factors: numbers a row in the factors, 0 where the kernels are there already.
            threads: as of the run.
        """
        rows, columns = self.shape
        pairs, gains = float(rows) * columns, float(rows) * (columns + _GAINS * budget)
        entry, term = _probe(factors, threads)
        computed = pairs if self.backend == "dense" else 2 * pairs + gains
        return (computed * entry if factors else 0.0) + gains * term


def refuse_entries(rows: int, entries: int, threads: int) -> None:
    """Refuses to keep more entries than there is room for.

    Args:
        rows: that are covered.
        entries: of each, 0 for all.
        threads: of the run; each keeps entries of its own until they are put together.

    Raises:
        ConfigError: they would take more than half of the memory.
    """
    need, have = 8 * (entries + 1) * rows * ((threads or cores()) + 1) if entries else 0, memory()
    if need > _MOST_SHARE * have:
        raise ConfigError(
            f"--entries {entries} of {rows:,} rows take {_size(need)} while they are gathered, more than half of this "
            f"machine's {_size(have)}. Keep fewer, or say --threads 1."
        )


def choose_route(axes: Axes, asked: str, *, whole: str, factors: int) -> Route:
    """Stored where the kernels take at most an eighth of the memory, else evaluated line by line.

    Args:
        axes: of the run.
        asked: `auto`, or the one that the user wants.
        whole: why the run cannot do without stored kernels, empty where it can.
        factors: numbers a row that they are computed from otherwise; 0 where these are the embeddings.

    Raises:
        ConfigError: they must be stored and do not fit, or not even their factors do; with the arithmetic and what to lower.
    """
    need, have, shape = kernel_bytes(axes), memory(), kernel_shape(axes)
    if asked == "tiled" and whole:
        raise ConfigError(f"--backend tiled cannot be used: {whole}. Leave it out.")
    small = need <= _DENSE_SHARE * have
    backend: Backend = "dense" if whole or asked == "dense" or (asked == "auto" and small) else "tiled"
    beside = 4 * factors * (shape[0] + shape[1])
    if backend == "dense" and need > _MOST_SHARE * have:
        raise ConfigError(_too_large(axes, need, have, whole))
    if backend == "tiled" and beside > _MOST_SHARE * have:
        raise ConfigError(
            f"even in factors of {factors:,} numbers a row the kernels of {shape[0]:,} rows × {shape[1]:,} candidates take "
            f"{_size(beside)}, more than half of this machine's {_size(have)}. Use --estimator paper, which has 100 a row, or "
            "select from parts of the pool first."
        )
    why = whole or ("as asked" if asked != "auto" else "")
    if not why:
        limit = f"an eighth of this machine's {_size(have)}"
        why = f"at most {limit}" if small else f"because stored they would take {_size(need)}, more than {limit}"
    elif whole:
        why = f"because {whole}"
    return Route(backend, shape, need, beside, have, why)


def _too_large(axes: Axes, need: int, have: int, whole: str) -> str:
    rows, columns = kernel_shape(axes)
    beside = 4 * (rows - axes.m) * axes.n
    fits = int((_MOST_SHARE * have - beside) / (4 * columns))
    mend = (
        f"Lower --max-targets to at most {fits:,}."
        if fits > 0
        else "Use --objective flvmi, which needs no pool × pool kernel."
    )
    return (
        f"the kernels of {rows:,} rows × {columns:,} candidates take {_size(need)}, more than half of this machine's "
        f"{_size(have)}{', and ' + whole if whole else ''}. {mend}"
    )


def _probe(factors: int, threads: int) -> tuple[float, float]:
    """Seconds for an entry that is computed from so many factors, and for a term of a gain."""
    rng = np.random.default_rng(0)
    sides = [rng.standard_normal((_PROBE, max(1, factors)), dtype=np.float32) for _ in range(2)]
    kernel = LowRankKernel(0.0, np.zeros(_PROBE), np.zeros(_PROBE), *sides)
    coverage = FacilityLocation().problem(Kernels.dense(kernel.fill(threads))).begin(threads)
    every = np.arange(_PROBE)
    return _timed(lambda: kernel.fill(threads)) / _PROBE**2, _timed(lambda: coverage.gains(every)) / _PROBE**2


def _timed(work: Callable[[], object]) -> float:
    work()  # compiles, the first time
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
