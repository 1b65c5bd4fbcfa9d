"""The set function of the facility location family: capped coverage of rows plus a worth of each candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.ahead import CACHE_LINE, ask_for
from nncift.kernel.compiled import compiled
from nncift.kernel.lines import DenseLines, Lines
from nncift.objective.survey import LANES, at_once
from nncift.objective.together import Together


@dataclass(frozen=True, slots=True)
class CoverageProblem:
    """f(A) = Σ_i [min(max(start_i, max_{j∈A} values[j, i]), cap_i) − min(start_i, cap_i)] + Σ_{j∈A} modular_j.

    Facility location, its conditional gain and its mutual informations are this function with other `start`, `cap` and
    `modular`, so one compiled gain serves them all, and no kernel is ever copied to be shifted. f is submodular, and it
    is monotone where `modular` is nowhere negative. A purely modular objective has no rows (r = 0).

    Attributes:
        lines: [n, r], what each candidate is worth for each row: finite, or `MASKED` for nothing.
        start: float64 [r], coverage of each row before anything is chosen.
        cap: float64 [r], coverage beyond it is worth nothing; None for no cap.
        modular: float64 [n], added when candidate j is chosen; None for nothing.

    Raises:
        ConfigError: a dtype or a length does not fit.
    """

    submodular: ClassVar[bool] = True
    exhaustible: ClassVar[bool] = True

    lines: Lines
    start: Float64[ndarray, " r"]
    cap: Float64[ndarray, " r"] | None = None
    modular: Float64[ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        n, r = self.lines.shape
        for name, array, length in (("start", self.start, r), ("cap", self.cap, r), ("modular", self.modular, n)):
            if array is not None and (array.dtype != np.float64 or array.shape != (length,)):
                raise ConfigError(f"{name} is {array.dtype} {array.shape}; float64 of shape ({length},) is needed.")

    @classmethod
    def of_scores(cls, scores: Float64[ndarray, " n"]) -> CoverageProblem:
        """The objective in which every candidate has a worth of its own, and nothing else counts."""
        return cls(DenseLines(np.empty((len(scores), 0), dtype=np.float32)), np.empty(0), modular=scores)

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.lines.shape[0]

    @property
    def rows(self) -> int:
        """How many rows are covered."""
        return self.lines.shape[1]

    @property
    def limit(self) -> Float64[ndarray, " r"]:
        """The cap of every row, infinity where there is none."""
        return np.full(self.rows, np.inf) if self.cap is None else self.cap

    @property
    def worth(self) -> Float64[ndarray, " n"]:
        """What every candidate is worth by itself."""
        return np.zeros(self.size) if self.modular is None else self.modular

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition: to compare any subset, say a random one, with greedy."""
        gained = np.minimum(self.covered(chosen), self.limit) - np.minimum(self.start, self.limit)
        return float(gained.sum()) + (0.0 if self.modular is None else float(self.modular[chosen].sum()))

    def covered(self, chosen: Int[ndarray, " k"]) -> Float64[ndarray, " r"]:
        """How well each row is covered by a set of candidates, beyond its cap too."""
        covered, step = self.start.copy(), at_once(self.rows)
        for first in range(0, len(chosen), step):
            lines = self.lines.take(np.asarray(chosen[first : first + step], dtype=np.int64))
            np.maximum(covered, lines.max(axis=0, initial=-np.inf), out=covered)
        return covered

    def only(self, which: Int[ndarray, " k"]) -> CoverageProblem:
        """The same function of some candidates, which holds nothing of the others."""
        modular = None if self.modular is None else self.modular[which]
        return replace(self, lines=self.lines.pick(which), modular=modular)

    def begin(self, threads: int = 0) -> Coverage:
        """Nothing is chosen yet."""
        return Coverage(self, threads=threads)


class Coverage:
    """What is covered so far, and what every candidate would add.

    A gain is a sum of terms max(0, min(v, cap) − covered) in a fixed order, so its bits depend neither on the block that
    is asked for nor on threads. `covered` only grows, rounded subtraction and addition are monotone: an old gain is an
    upper bound of the new one exactly, rounding and all.
    """

    def __init__(self, problem: CoverageProblem, *, threads: int) -> None:
        self.problem = problem
        self.cap, self.worth = problem.limit, problem.worth
        self.covered = np.minimum(problem.start, self.cap)
        self._together = Together(threads)

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.problem.size

    @property
    def batch(self) -> int:
        """How many gains are best asked for at once: where lines are computed, enough for every thread."""
        return (4 if isinstance(self.problem.lines, DenseLines) else 16) * self._together.threads

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        """What each of some candidates would add now."""
        found = np.empty(len(which))
        self._together.over(lambda start, stop: self._fill(which, found, start, stop), len(which))
        return found

    def add(self, candidate: int) -> None:
        """Chooses a candidate."""
        _cover(self._line(candidate), self.cap, self.covered)

    def _fill(self, which: Int[ndarray, " b"], found: Float64[ndarray, " b"], start: int, stop: int) -> None:
        lines = self.problem.lines
        if isinstance(lines, DenseLines):
            _gains_at(lines.values, which, self.cap, self.covered, self.worth, found, start, stop)
            return
        step = at_once(self.problem.rows)
        for first in range(start, stop, step):
            some = which[first : min(first + step, stop)]
            _gains_of(lines.take(some), some, self.cap, self.covered, self.worth, found, first)

    def _line(self, candidate: int) -> Float32[ndarray, " r"]:
        lines = self.problem.lines
        return lines.values[candidate] if isinstance(lines, DenseLines) else lines.take(np.array([candidate]))[0]


@compiled
def gain(line, following, cap, covered, worth):
    """What a candidate adds now. NaN stays NaN: each comparison keeps the number that it is in doubt about.

    `following` is the line that is likely wanted next: it is asked for meanwhile, since candidates lie anywhere in memory.
    A cap of no length is none.
    """
    sums = np.zeros(LANES)
    whole = len(line) - len(line) % LANES
    for first in range(0, whole, LANES):
        for at in range(first, first + LANES, CACHE_LINE):
            ask_for(following, at)  # pyright: ignore[reportCallIssue]
        v, d = line[first : first + LANES], covered[first : first + LANES]
        if len(cap):
            c = cap[first : first + LANES]
            for lane in range(LANES):
                sums[lane] += _term(v[lane], c[lane], d[lane])
        else:
            for lane in range(LANES):
                sums[lane] += _term(v[lane], np.inf, d[lane])
    for i in range(whole, len(line)):
        sums[i - whole] += _term(line[i], cap[i] if len(cap) else np.inf, covered[i])
    total = 0.0
    for lane in range(LANES):
        total += sums[lane]
    return total + worth


@compiled
def _term(value, cap, covered):
    capped = cap if value > cap else np.float64(value)
    more = capped - covered
    return 0.0 if more < 0.0 else more


@compiled
def _gains_at(values, which, cap, covered, worth, found, start, stop):
    for b in range(start, stop):
        found[b] = gain(values[which[b]], values[which[min(b + 1, stop - 1)]], cap, covered, worth[which[b]])


@compiled
def _gains_of(lines, which, cap, covered, worth, found, first):
    for b in range(len(which)):
        found[first + b] = gain(lines[b], lines[b], cap, covered, worth[which[b]])


@compiled
def _cover(line, cap, covered):
    for i in range(len(line)):
        covered[i] = max(covered[i], min(np.float64(line[i]), cap[i]))
