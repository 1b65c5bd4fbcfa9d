"""The seam between kernels and set functions or rules: what an objective is given, and what it must answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.lines import MASKED, Averaged, DenseLines, Lines
from nncift.objective.functions import SetFunction
from nncift.objective.ranking import Ranking
from nncift.objective.spread import Spread
from nncift.objective.survey import Survey, at_once, survey


def _no_pairs() -> Int[ndarray, "0 2"]:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Kernels:
    """The kernels of one run, all from one teacher and estimator on one common scale; higher is better.

    A masked pair is one whose pool row has the text of the row it would help: a row must not cover itself. `MASKED` stands
    there in the lines.

    Attributes:
        target: [n, m], the influence of pool row j on target row i.
        pool: [n, n], that of pool row j on pool row i; None where no objective needs it.
        existing: [e, m], that of existing example k on target row i; e may be 0.
        existing_pool: [e, n], that of existing example k on pool row i; None where no objective needs it.
        masked: int [p, 2], pairs (i, j) of `target` that do not count.
        masked_pool: int [q, 2], pairs (i, j) of `pool` that do not count.
        known: int [k], target rows whose text an existing row has: they are covered as well as anything can.
        known_pool: int [l], pool rows whose text an existing row has.
        groups: int [m], the task of every target row as a code; None where the target has no tasks.
        threads: at most so many work at once; 0 for all cores. Nothing depends on it.
        spread: workers elsewhere who share walks over computed lines; nothing depends on them.

    Raises:
        ConfigError: a shape does not fit, or there is no pair at all.
    """

    target: Lines
    pool: Lines | None = None
    existing: Lines | None = None
    existing_pool: Lines | None = None
    masked: Int[ndarray, "p 2"] = field(default_factory=_no_pairs)
    masked_pool: Int[ndarray, "q 2"] = field(default_factory=_no_pairs)
    known: Int[ndarray, " k"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known_pool: Int[ndarray, " l"] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    groups: Int[ndarray, " m"] | None = None
    threads: int = 0
    spread: Spread | None = None

    def __post_init__(self) -> None:
        n, m = self.target.shape
        if not n or not m:
            raise ConfigError(
                f"the target kernel has {n} candidates and {m} target rows; at least one of each is needed."
            )
        if self.pool is not None and self.pool.shape != (n, n):
            raise ConfigError(f"the pool kernel is {self.pool.shape}; with {n} pool rows it must be ({n}, {n}).")
        if self.existing is not None and self.existing.shape[1] != m:
            raise ConfigError(f"the existing kernel has {self.existing.shape[1]} rows; it must have the target's {m}.")
        if self.existing_pool is not None and self.existing_pool.shape[1] != n:
            raise ConfigError(f"the existing_pool kernel has {self.existing_pool.shape[1]} rows; it must have {n}.")
        if self.groups is not None and self.groups.shape != (m,):
            raise ConfigError(f"groups has shape {self.groups.shape}; one code for each of {m} target rows is needed.")

    @classmethod
    def dense(
        cls,
        target: Float32[ndarray, "n m"],
        *,
        pool: Float32[ndarray, "n n"] | None = None,
        existing: Float32[ndarray, "e m"] | None = None,
        existing_pool: Float32[ndarray, "e n"] | None = None,
        masked: Int[ndarray, "p 2"] | None = None,
        masked_pool: Int[ndarray, "q 2"] | None = None,
        groups: Int[ndarray, " m"] | None = None,
    ) -> Kernels:
        """Kernels of matrices in memory, candidate-major; `MASKED` is written over masked pairs **in place**.

        Raises:
            ConfigError: a matrix is no C-contiguous float32 one, or is read-only where pairs are masked.
        """
        none = _no_pairs()
        masked, masked_pool = none if masked is None else masked, none if masked_pool is None else masked_pool
        lines = {
            name: None if matrix is None else _masked_lines(matrix, pairs, name)
            for name, matrix, pairs in (
                ("target", target, masked), ("pool", pool, masked_pool), ("existing", existing, none),
                ("existing_pool", existing_pool, none),
            )
        }  # fmt: skip
        found = lines["target"]
        assert found is not None
        return cls(found, lines["pool"], lines["existing"], lines["existing_pool"], masked, masked_pool, groups=groups)

    @cached_property
    def of_target(self) -> Survey:
        """What the target's kernel looks like; a walk over it when it is first asked for."""
        return survey(self.target, threads=self.threads, spread=self.spread)

    @cached_property
    def of_pool(self) -> Survey:
        """The same of the pool's kernel."""
        if self.pool is self.target:  # a pool that is its own target
            return self.of_target
        assert self.pool is not None
        return survey(self.pool, threads=self.threads, spread=self.spread)

    @cached_property
    def of_existing(self) -> Survey:
        """The same of the existing rows' kernel."""
        assert self.existing is not None
        return survey(self.existing, threads=self.threads, spread=self.spread)

    @cached_property
    def of_existing_pool(self) -> Survey:
        """The same of what the existing rows do for pool rows."""
        assert self.existing_pool is not None
        return survey(self.existing_pool, threads=self.threads, spread=self.spread)

    @cached_property
    def means(self) -> Float64[ndarray, " n"]:
        """The mean influence of every candidate on the target rows, masked pairs left out: what follows when gains run out.

        A candidate that has no unmasked pair gets the lowest of the others, 0 where there is none. Where the kernel is kept
        in factors this takes time linear in n + m.
        """
        if isinstance(self.target, Averaged) and "of_target" not in vars(self):
            return self.target.means(self.threads)
        return self.of_target.means

    def dense_target(self) -> Float32[ndarray, "n m"]:
        """The target's kernel as one matrix, for a rule that needs it by row.

        Raises:
            ConfigError: it would take more than half of this machine's memory.
        """
        if isinstance(self.target, DenseLines):
            return self.target.values
        n, m = self.target.shape
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 8 * n * m > have:
            raise ConfigError(
                f"this rule needs the whole kernel of {m:,} rows × {n:,} candidates, {4 * n * m / 1e9:.1f} GB, more than half "
                f"of this machine's {have / 1e9:.1f} GB. Use --objective facility-location, or lower --max-targets."
            )
        values, step = np.empty((n, m), dtype=np.float32), at_once(m)
        for first in range(0, n, step):
            values[first : first + step] = self.target.take(np.arange(first, min(first + step, n)))
        return values


def _masked_lines(matrix: Float32[ndarray, "n r"], pairs: Int[ndarray, "p 2"], name: str) -> DenseLines:
    if len(pairs) and not matrix.flags.writeable:
        raise ConfigError(f"the {name} kernel is read-only, but its masked pairs must be overwritten. Pass a copy.")
    if len(pairs):
        matrix[pairs[:, 1], pairs[:, 0]] = MASKED
    return DenseLines(matrix)


@runtime_checkable
class Objective(Protocol):
    """A set function to be maximised: one file, one line in the registry.

    Attributes:
        name: its registered name.
        needs_pool: whether `Kernels.pool` must be there.
        needs_existing: whether `Kernels.existing` must be there.
        pointwise: whether it makes sense where every candidate has one score, a kernel of one row.
    """

    name: ClassVar[str]
    needs_pool: ClassVar[bool]
    needs_existing: ClassVar[bool]
    pointwise: ClassVar[bool]

    def problem(self, kernels: Kernels, *, eta: float, nu: float, floor: float | None = None) -> SetFunction:
        """The objective on these kernels, ready for `greedy`.

        Args:
            kernels: finite (see `survey.check_finite`).
            eta: at least 0; how much the target counts beside the pool (mutual information).
            nu: at least 0; how much the existing examples take away (conditional gain).
            floor: the influence that is worth nothing (anything below it is worth nothing too); None takes the smallest
                unmasked influence.
        """
        ...


@runtime_checkable
class Rule(Protocol):
    """A way to choose that is no set function: it ranks the candidates itself, and says why. One line in the registry.

    Attributes:
        name, needs_pool, needs_existing, pointwise: as in `Objective`.
        needs_whole: whether it must have the whole kernel at once.
    """

    name: ClassVar[str]
    needs_pool: ClassVar[bool]
    needs_existing: ClassVar[bool]
    pointwise: ClassVar[bool]
    needs_whole: ClassVar[bool]

    def rank(self, kernels: Kernels, budget: int, *, rows: Sequence[str]) -> tuple[Ranking, tuple[str, ...]]:
        """The ranking of min(budget, n) candidates, and one sentence per pick.

        The first k picks must not depend on the budget, so that a smaller selection is a prefix of a larger one.

        Args:
            kernels: finite (see `survey.check_finite`).
            budget: how many candidates, at least 0.
            rows: [m] ids of the target rows, for the sentences.
        """
        ...
