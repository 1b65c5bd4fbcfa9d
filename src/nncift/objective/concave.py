"""Concave coverage: a row is covered by many candidates together, each of which adds less than the one before."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled, cores
from nncift.kernel.lines import MASKED, DenseLines, Lines
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking
from nncift.objective.scale import refuse_not_finite
from nncift.objective.survey import LANES, at_once
from nncift.objective.together import Together

Shape = Literal["sqrt", "log", "ratio"]
"""How much a row's mass x is worth: √x, log(1 + x), x / (1 + x)."""

_PARTS = 64  # partial sums of a pass; their number, and so every rounding, is the same for any number of threads


@dataclass(frozen=True, slots=True)
class ConcaveCoverage:
    """f(A) = Σ_i g(Σ_{j∈A} max(K[i, j] − floor_i, 0)): every target row wants much help, and the first help counts most.

    Use it where facility location stops too early: there one good candidate covers a row and no other can add to it, so
    gains run out and one overestimated influence hides all others; here what a row gets is summed. It lies between
    `facility-location` and `top-mean`. `floor_i` is the mean unmasked influence on row i (or the given floor): help counts
    from the average candidate on, since measured from the smallest influence nearly everything would be help and f nearly
    a sum. A constant added to a row and a positive scale of the kernel change no pick. f is monotone and submodular.

    Attributes:
        shape: g; `sqrt`, `log` (saturates more) or `ratio` (most). x is measured in what the best candidate of a row gives,
            on average over the rows.

    *Cost*: no kernel beside target × pool; one more pass over it; lazy greedy as for facility location.
    *Reference*: Wei, Iyer and Bilmes 2014, Fast Multi-stage Submodular Maximization: feature-based functions, of which the
        features are the target rows; Lin and Bilmes 2011 (coverage that saturates).
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


@dataclass(frozen=True, slots=True)
class ConcaveFunction:
    """unit · Σ_i g(Σ_{j∈A} max(values[j, i] − floors_i, 0) / unit).

    Attributes:
        lines: [n, r], `MASKED` where a candidate gives nothing.
        floors: float64 [r], what gives nothing.
        unit: above 0, of mass.
        shape: g.
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = True

    lines: Lines
    floors: Float64[ndarray, " r"]
    unit: float
    shape: Shape

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.lines.shape[0]

    def begin(self, threads: int = 0) -> _Mass:
        """Nothing is chosen yet; at most so many threads work at once, 0 for all cores."""
        return _Mass(self, threads)

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition."""
        mass, step = np.zeros(len(self.floors)), at_once(len(self.floors))
        for first in range(0, len(chosen), step):
            lines = self.lines.take(np.asarray(chosen[first : first + step], dtype=np.int64))
            mass += np.maximum(lines - self.floors, 0.0).sum(axis=0)
        return float(self.worth(mass).sum())

    def worth(self, mass: Float64[ndarray, " r"]) -> Float64[ndarray, " r"]:
        """What each row's mass is worth, in the unit of the kernel."""
        x = mass / self.unit
        return self.unit * (np.sqrt(x) if self.shape == "sqrt" else np.log1p(x) if self.shape == "log" else x / (1 + x))

    def sentences(self, ranking: Ranking, rows: Sequence[str]) -> list[str]:
        """See `Explained.sentences`.

        *Cost*: one pass over the lines of the picks.
        """
        last, step = ranking.kept + ranking.positive, at_once(len(self.floors))
        mass, found = np.zeros(len(self.floors)), []
        for first in range(0, last, step):
            for line in self.lines.take(ranking.order[first : min(first + step, last)]):
                more = np.maximum(line - self.floors, 0.0)
                better = self.worth(mass + more) - self.worth(mass)
                mass += more
                helped, most = int((more > 0).sum()), int(better.argmax())
                found.append(
                    f"above the floor for {helped} of {len(more)} rows, adds most to {rows[most]!r} (+{better[most]:.4g})"
                )
        return found[ranking.kept :]


class _Mass:
    """What every row has got so far.

    Gains are written as quotients of the mass, g(M + m) − g(M) = m / (√(M + m) + √M) for one, not as differences: every
    operation in them is monotone, and so is rounding, whence no gain grows by a rounding error either. (`log` is as
    monotone as the platform's log1p.)
    """

    def __init__(self, function: ConcaveFunction, threads: int) -> None:
        self._function, self._together = function, Together(threads)
        self._mass = np.zeros(len(function.floors))
        self._shape = get_args(Shape).index(function.shape)

    @property
    def size(self) -> int:
        return self._function.size

    @property
    def batch(self) -> int:
        return (4 if isinstance(self._function.lines, DenseLines) else 16) * self._together.threads

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        function, found = self._function, np.empty(len(which))
        step = at_once(len(self._mass))

        def fill(start: int, stop: int) -> None:
            for first in range(start, stop, step):
                lines = function.lines.take(which[first : min(first + step, stop)])
                _gains(lines, function.floors, self._mass, function.unit, self._shape, found[first:stop])

        self._together.over(fill, len(which))
        return found

    def add(self, candidate: int) -> None:
        line = self._function.lines.take(np.array([candidate]))[0]
        self._mass += np.maximum(line - self._function.floors, 0.0)


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


@compiled
def _gains(lines, floors, mass, unit, shape, found):
    scale = np.sqrt(unit) if shape == 0 else unit if shape == 1 else unit * unit
    sums = np.empty(LANES)
    whole = len(mass) - len(mass) % LANES
    for b in range(len(lines)):
        sums[:] = 0.0
        line = lines[b]
        for first in range(0, whole, LANES):
            v, d, c = line[first : first + LANES], floors[first : first + LANES], mass[first : first + LANES]
            for lane in range(LANES):
                sums[lane] += _term(v[lane], d[lane], c[lane], unit, shape)
        for i in range(whole, len(mass)):
            sums[i - whole] += _term(line[i], floors[i], mass[i], unit, shape)
        total = 0.0
        for lane in range(LANES):
            total += sums[lane]
        found[b] = total * scale


@compiled
def _term(value, floor, mass, unit, shape):
    """g(mass + more) − g(mass), up to a factor; NaN stays NaN."""
    more = np.float64(value) - floor
    if more <= 0.0:
        return 0.0
    if shape == 0:
        return more / (np.sqrt(mass + more) + np.sqrt(mass))
    if shape == 1:
        return np.log1p(more / (unit + mass))
    return more / ((unit + mass) * (unit + mass + more))
