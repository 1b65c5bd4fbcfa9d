"""Concave coverage: a row is covered by many candidates together, each of which adds less than the one before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled, cores
from nncift.kernel.lines import MASKED, Lines
from nncift.objective.base import Kernels
from nncift.objective.mass import ConcaveFunction, Shape
from nncift.objective.scale import refuse_not_finite
from nncift.objective.survey import at_once

_PARTS = 64  # partial sums of a pass; their number, and so every rounding, is the same for any number of threads


@dataclass(frozen=True, slots=True)
class ConcaveCoverage:
    """f(A) = Σ_i g(Σ_{j∈A} max(K[i, j] − floor_i, 0)): every target row wants much help, and the first help counts most.

    Use it where gains of facility location run out too early: there one good candidate covers a row and no other can add to
    it; here what a row gets is summed. It lies between `facility-location` and `top-mean`, and close to the latter where
    influences are estimates, which are smoother than what they estimate. `floor_i` is the mean unmasked influence on row i
    (or the given floor): help counts from the average candidate on, since measured from the smallest influence nearly
    everything would be help and f nearly a sum. A constant added to a row and a positive scale of the kernel change no
    pick. f is monotone and submodular.

    Attributes:
        shape: g; `sqrt`, `log` (saturates more) or `ratio` (most). x is measured in what the best candidate of a row gives,
            on average over the rows.

    *Cost*: no kernel beside target × pool, one more pass over it, and some hundreds of gains per pick, since every pick
    lowers all others a little.
    *Reference*: Kirchhoff and Bilmes 2014, Submodularity for Data Selection in Statistical Machine Translation
    (feature-based functions; here the features are the target rows); Lin and Bilmes 2011 (coverage that saturates).
    """

    name: ClassVar[str] = "concave-coverage"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False

    shape: Shape = "sqrt"

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise ConfigError(f"shape is {self.shape!r}; it must be one of {', '.join(get_args(Shape))}.")

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> ConcaveFunction:
        """See `Objective.problem`; `eta` and `nu` play no part.

        Raises:
            ModelError: an influence is not finite.
        """
        refuse_not_finite(kernels.of_target, "the target kernel")
        r = kernels.target.shape[1]
        floors = row_means(kernels.target, threads=kernels.threads) if floor is None else np.full(r, float(floor))
        best = np.maximum(kernels.of_target.highest.astype(np.float64) - floors, 0.0)
        unit = float(best[best > 0].mean()) if (best > 0).any() else 1.0
        return ConcaveFunction(kernels.target, floors, unit, self.shape)


def row_means(lines: Lines, *, threads: int = 0) -> Float64[ndarray, " r"]:
    """The mean of every row over the candidates that are not masked; 0 where all are.

    *Cost*: a pass over the lines, and 64 sums of r numbers.
    """
    n, r = lines.shape
    part, step = -(-n // _PARTS), at_once(r)

    def sums(start: int) -> tuple[Float64[ndarray, " r"], Int[ndarray, " r"]]:
        total, count = np.zeros(r), np.zeros(r, dtype=np.int64)
        for first in range(start, min(start + part, n), step):
            _add_up(lines.take(np.arange(first, min(first + step, start + part, n))), total, count)
        return total, count

    with ThreadPoolExecutor(threads or cores()) as executor:
        found = list(executor.map(sums, range(0, n, part)))
    total, count = np.zeros(r), np.zeros(r, dtype=np.int64)
    for some, many in found:  # in their order
        total += some
        count += many
    return total / np.maximum(count, 1)


@compiled
def _add_up(lines, total, count):
    for b in range(len(lines)):
        for i in range(len(total)):
            value = lines[b, i]
            total[i] += 0.0 if value == MASKED else np.float64(value)
            count[i] += value != MASKED
