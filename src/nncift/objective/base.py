"""The seam between kernels and set functions or rules: what an objective is given, and what it must answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.objective.greedy import Ranking
from nncift.objective.problem import CoverageProblem


def _no_pairs() -> Int[ndarray, "0 2"]:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Kernels:
    """The filled kernels of one run, all from one teacher and estimator on one common scale.

    Every matrix is float32, C-contiguous and *candidate-major*: `target[j, i]` is K[i, j], the influence of pool row j
    on target row i. Higher is better.

    A masked pair is one whose pool row has the text of the row it would help: a row must not cover itself. Coverage
    objectives write the floor over masked entries **in place** (no copy of a large matrix is made), so the arrays must
    be writable where pairs are masked; what stood there before does not matter.

    Attributes:
        target: float32 [n, m], influence of pool rows on target rows.
        pool: float32 [n, n], `pool[j, i]` the influence of pool row j on pool row i; None where no objective needs it.
        existing: float32 [e, m], `existing[k, i]` the influence of existing example k on target row i; e may be 0.
        masked: int [p, 2], pairs (i, j) of `target` that do not count.
        masked_pool: int [q, 2], pairs (i, j) of `pool` that do not count.
        groups: int [m], the task of every target row as a code; None where the target has no tasks.

    Raises:
        ConfigError: a shape, dtype or memory order does not fit, there is no pair at all, or masked pairs cannot be
            written.
    """

    target: Float32[ndarray, "n m"]
    pool: Float32[ndarray, "n n"] | None = None
    existing: Float32[ndarray, "e m"] | None = None
    masked: Int[ndarray, "p 2"] = field(default_factory=_no_pairs)
    masked_pool: Int[ndarray, "q 2"] = field(default_factory=_no_pairs)
    groups: Int[ndarray, "m"] | None = None

    def __post_init__(self) -> None:
        for name, matrix in (("target", self.target), ("pool", self.pool), ("existing", self.existing)):
            if matrix is not None and (matrix.dtype != np.float32 or matrix.ndim != 2 or not matrix.flags.c_contiguous):
                raise ConfigError(
                    f"the {name} kernel is {matrix.dtype} {matrix.shape}; it must be a C-contiguous float32 matrix."
                )
        for name, matrix, pairs in (("target", self.target, self.masked), ("pool", self.pool, self.masked_pool)):
            if matrix is not None and len(pairs) and not matrix.flags.writeable:
                raise ConfigError(
                    f"the {name} kernel is read-only, but its masked pairs must be overwritten. Pass a copy."
                )
        n, m = self.target.shape
        if not n or not m:
            raise ConfigError(
                f"the target kernel has {n} candidates and {m} target rows; at least one of each is needed."
            )
        if self.pool is not None and self.pool.shape != (n, n):
            raise ConfigError(f"the pool kernel is {self.pool.shape}; with {n} pool rows it must be ({n}, {n}).")
        if self.existing is not None and self.existing.shape[1] != m:
            raise ConfigError(f"the existing kernel has {self.existing.shape[1]} rows; it must have the target's {m}.")
        if self.groups is not None and self.groups.shape != (m,):
            raise ConfigError(f"groups has shape {self.groups.shape}; one code for each of {m} target rows is needed.")


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

    def problem(self, kernels: Kernels, *, eta: float, nu: float, floor: float | None = None) -> CoverageProblem:
        """The objective on these kernels, ready for `greedy`.

        Args:
            kernels: finite (see `check_finite`).
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
    """

    name: ClassVar[str]
    needs_pool: ClassVar[bool]
    needs_existing: ClassVar[bool]
    pointwise: ClassVar[bool]

    def rank(self, kernels: Kernels, budget: int, *, rows: Sequence[str]) -> tuple[Ranking, tuple[str, ...]]:
        """The ranking of min(budget, n) candidates, and one sentence per pick.

        The first k picks must not depend on the budget, so that a smaller selection is a prefix of a larger one.

        Args:
            kernels: finite (see `check_finite`).
            budget: how many candidates, at least 0.
            rows: [m] ids of the target rows, for the sentences.
        """
        ...
