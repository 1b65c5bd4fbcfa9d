"""The set function of concave coverage: what the rows have got, and what more would be worth to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.kernel.compiled import compiled
from nncift.kernel.lines import DenseLines, Lines
from nncift.objective.ranking import Ranking
from nncift.objective.survey import LANES, at_once
from nncift.objective.together import Together

Shape = Literal["sqrt", "log", "ratio"]
"""How much a row's mass x is worth: √x, log(1 + x), x / (1 + x)."""

_TINY = 1e-300  # keeps 0 / 0 away; no sum feels it
_FACTORS = 16  # of a product; none is larger than 1 + the number of rows


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
    monotone as the platform's logarithm.)
    """

    def __init__(self, function: ConcaveFunction, threads: int) -> None:
        self._function, self._together = function, Together(threads)
        self._mass = np.zeros(len(function.floors))
        self._roots = np.sqrt(self._mass)
        self._shape = get_args(Shape).index(function.shape)

    @property
    def size(self) -> int:
        return self._function.size

    @property
    def batch(self) -> int:
        return 64  # a sum that is nearly modular loosens all bounds a little with every pick: hundreds are asked for

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        function, found, which = self._function, np.empty(len(which)), np.asarray(which, dtype=np.int64)
        lines, step = function.lines, at_once(len(self._mass))

        def gains(values: Float32[ndarray, "l r"], at: Int[ndarray, " b"], out: Float64[ndarray, " b"]) -> None:
            _gains(values, at, function.floors, self._mass, self._roots, function.unit, self._shape, out)

        def fill(start: int, stop: int) -> None:
            if isinstance(lines, DenseLines):
                gains(lines.values, which[start:stop], found[start:stop])
                return
            for first in range(start, stop, step):
                last = min(first + step, stop)
                gains(lines.take(which[first:last]), np.arange(last - first), found[first:last])

        self._together.over(fill, len(which))
        return found

    def add(self, candidate: int) -> None:
        line = self._function.lines.take(np.array([candidate]))[0]
        self._mass += np.maximum(line - self._function.floors, 0.0)
        self._roots = np.sqrt(self._mass)


@compiled
def _gains(lines, which, floors, mass, roots, unit, shape, found):
    for b in range(len(which)):
        line = lines[which[b]]
        if shape == 0:
            found[b] = np.sqrt(unit) * _of_roots(line, floors, mass, roots)
        elif shape == 1:
            found[b] = unit * _of_logarithms(line, floors, mass, unit)
        else:
            found[b] = unit * unit * _of_ratios(line, floors, mass, unit)


@compiled
def _more(value, floor):
    """What is above the floor; NaN stays NaN."""
    more = np.float64(value) - floor
    return 0.0 if more < 0.0 else more


@compiled
def _of_roots(line, floors, mass, roots):
    """Σ √(M + m) − √M = Σ m / (√(M + m) + √M)."""
    sums = np.zeros(LANES)
    whole = len(line) - len(line) % LANES
    for first in range(0, whole, LANES):
        v, d, c = line[first : first + LANES], floors[first : first + LANES], mass[first : first + LANES]
        root = roots[first : first + LANES]
        for lane in range(LANES):
            more = _more(v[lane], d[lane])
            sums[lane] += np.divide(more, np.sqrt(c[lane] + more) + root[lane] + _TINY)
    for i in range(whole, len(line)):
        more = _more(line[i], floors[i])
        sums[i - whole] += np.divide(more, np.sqrt(mass[i] + more) + roots[i] + _TINY)
    return _total(sums)


@compiled
def _of_logarithms(line, floors, mass, unit):
    """Σ log(u + M + m) − log(u + M) = log Π (1 + m / (u + M)), a few factors at a time lest the product overflow."""
    products, total, factors = np.ones(LANES), 0.0, 0
    whole = len(line) - len(line) % LANES
    for first in range(0, whole, LANES):
        v, d, c = line[first : first + LANES], floors[first : first + LANES], mass[first : first + LANES]
        for lane in range(LANES):
            products[lane] *= 1.0 + np.divide(_more(v[lane], d[lane]), unit + c[lane])
        factors += 1
        if factors == _FACTORS:
            total += _total(np.log(products))
            products[:] = 1.0
            factors = 0
    for i in range(whole, len(line)):
        products[i - whole] *= 1.0 + np.divide(_more(line[i], floors[i]), unit + mass[i])
    return total + _total(np.log(products))


@compiled
def _of_ratios(line, floors, mass, unit):
    """Σ (M + m) / (u + M + m) − M / (u + M), over u: Σ m / ((u + M) (u + M + m))."""
    sums = np.zeros(LANES)
    whole = len(line) - len(line) % LANES
    for first in range(0, whole, LANES):
        v, d, c = line[first : first + LANES], floors[first : first + LANES], mass[first : first + LANES]
        for lane in range(LANES):
            more, held = _more(v[lane], d[lane]), unit + c[lane]
            sums[lane] += np.divide(more, held * (held + more))
    for i in range(whole, len(line)):
        more, held = _more(line[i], floors[i]), unit + mass[i]
        sums[i - whole] += np.divide(more, held * (held + more))
    return _total(sums)


@compiled
def _total(sums):
    total = 0.0
    for lane in range(LANES):
        total += sums[lane]
    return total
