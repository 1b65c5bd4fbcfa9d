"""Exact lazy greedy for a `CoverageProblem`, reproducible to the bit, ties always to the lowest index.

Why laziness changes nothing, ties included. A gain is a sum of terms max(0, min(v, cap) − covered) taken in a fixed
order. `covered` only grows, rounded subtraction and rounded addition are monotone, so an old gain is an upper bound of
the new one exactly, rounding and all. The heap puts the larger bound first and, among equal bounds, the lower index. A
candidate is accepted only when it stands on top with a gain computed in this very step: everybody else's true gain is
at most their bound, hence smaller, or equal with a higher index. Comparing all true gains would have picked the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from nncift.errors import ConfigError, ModelError
from nncift.kernel.compiled import compiled, over_blocks
from nncift.objective.problem import CoverageProblem

_LANES = 64  # partial sums of a gain: enough for the widest registers, and the order of addition is fixed by the source


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates in the order in which they were picked; the first k of them are the greedy choice for budget k.

    Attributes:
        order: int64 [k], positions of candidates, each at most once.
        gains: float64 [k], what each pick added to the objective when it was picked.
        positive: how many picks, all at the head, had a gain above zero.
        merit: what ordered the picks after those; empty for a rule whose picks follow no gain.
    """

    order: Int64[ndarray, "k"]
    gains: Float64[ndarray, "k"]
    positive: int
    merit: str

    @property
    def rest_rule(self) -> str:
        """A sentence that says how the picks without a positive gain were ordered."""
        return rest_rule(self.positive, len(self.order), self.merit)


def greedy(problem: CoverageProblem, budget: int, *, rest: Float64[ndarray, "n"], threads: int = 0) -> Ranking:
    """Ranks candidates by their marginal gain, each step taking the largest; ties go to the lowest index.

    Once no gain is positive the objective has nothing more to say. What is left follows `rest`, largest first, then the
    lowest index; the gain recorded is still the true one. A modular objective (no rows) always ranks by its own worth.

    Args:
        problem: what to maximise.
        budget: how many candidates; more than there are means all of them.
        rest: float64 [n], finite; the order of merit once no gain is positive, usually the mean influence.
        threads: for the first pass over the kernel; 0 means all cores. The ranking does not depend on it.

    Returns:
        The ranking of min(budget, n) candidates.

    Raises:
        ConfigError: the budget is negative, or `rest` has another length or holds numbers that are not finite.
        ModelError: the kernel holds numbers that are not finite (the message names candidates by position).

    *Cost*: one pass over the kernel, then some 25 to 35 gains of r terms per pick; memory 40 bytes per candidate.
    *Reference*: Minoux 1978 (lazy greedy); Nemhauser, Wolsey and Fisher 1978 (at least 1 − 1/e of the optimum where f
    is monotone).
    """
    n, r = problem.values.shape
    if budget < 0:
        raise ConfigError(f"the budget is {budget}; it must be 0 or more.")
    if rest.shape != (n,) or not np.isfinite(rest).all():
        raise ConfigError(f"rest has shape {rest.shape}; {n} finite numbers are needed, one for each candidate.")
    cap = np.full(r, np.inf) if problem.cap is None else problem.cap
    modular = np.zeros(n) if problem.modular is None else problem.modular
    covered = np.minimum(problem.start, cap)
    bounds = np.empty(n)

    def first_pass(start: int, stop: int) -> None:
        _gains(problem.values, cap, covered, modular, bounds, start, stop)

    over_blocks(first_pass, n, threads=threads)
    if not np.isfinite(bounds).all():
        bad = np.flatnonzero(~np.isfinite(bounds))
        raise ModelError(
            f"{len(bad)} of {n} candidates have values that are not finite, at positions {bad[:5].tolist()}."
        )

    order = np.empty(min(budget, n), dtype=np.int64)
    gains = np.empty(len(order))
    positive = _lazy(problem.values, cap, covered, modular, bounds, order, gains)
    if positive < len(order):
        left = np.setdiff1d(np.arange(n), order[:positive])
        merit = rest if r else modular
        order[positive:] = left[np.argsort(-merit[left], kind="stable")][: len(order) - positive]
        _follow(problem.values, cap, covered, modular, order, gains, positive)
    return Ranking(order, gains, int(positive), "mean influence" if r else "their own score")


def rest_rule(positive: int, picks: int, merit: str) -> str:
    """A sentence that says how the picks without a positive gain were ordered."""
    if not merit:
        return "Every pick follows the rule."
    if positive == picks:
        return "Every pick had a positive gain."
    return f"Picks {positive + 1} to {picks} had no positive gain and follow {merit}, then the lowest id."


@compiled
def _gain(line, cap, covered, worth):
    """What a candidate adds now. NaN stays NaN: each comparison keeps the number that it is in doubt about."""
    sums = np.zeros(_LANES)
    whole = len(line) - len(line) % _LANES
    for first in range(0, whole, _LANES):
        v, c, d = line[first : first + _LANES], cap[first : first + _LANES], covered[first : first + _LANES]
        for lane in range(_LANES):
            sums[lane] += _term(v[lane], c[lane], d[lane])
    for i in range(whole, len(line)):
        sums[i - whole] += _term(line[i], cap[i], covered[i])
    total = 0.0
    for lane in range(_LANES):
        total += sums[lane]
    return total + worth


@compiled
def _term(value, cap, covered):
    capped = cap if value > cap else np.float64(value)
    more = capped - covered
    return 0.0 if more < 0.0 else more


@compiled
def _cover(line, cap, covered):
    for i in range(len(line)):
        covered[i] = max(covered[i], min(np.float64(line[i]), cap[i]))


@compiled
def _gains(values, cap, covered, modular, bounds, start, stop):
    for j in range(start, stop):
        bounds[j] = _gain(values[j], cap, covered, modular[j])


@compiled
def _lazy(values, cap, covered, modular, bounds, order, gains):
    """Picks while the best gain is positive. `bounds` must be fresh; returns the number of picks."""
    size = len(bounds)
    heap = np.arange(size)
    fresh_at = np.zeros(size, dtype=np.int64)
    for at in range(size // 2 - 1, -1, -1):
        _sink(heap, size, at, bounds)
    for step in range(len(order)):
        best = heap[0]
        while fresh_at[best] != step:
            bounds[best] = _gain(values[best], cap, covered, modular[best])
            fresh_at[best] = step
            _sink(heap, size, 0, bounds)
            best = heap[0]
        if bounds[best] <= 0.0:
            return step
        order[step] = best
        gains[step] = bounds[best]
        _cover(values[best], cap, covered)
        size -= 1
        heap[0] = heap[size]
        _sink(heap, size, 0, bounds)
    return len(order)


@compiled
def _sink(heap, size, at, bounds):
    """Lets the candidate at one place of the heap sink until no child comes before it."""
    moving = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(heap[child + 1], heap[child], bounds):
            child += 1
        if not _before(heap[child], moving, bounds):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@compiled
def _before(a, b, bounds):
    return bounds[a] > bounds[b] or (bounds[a] == bounds[b] and a < b)


@compiled
def _follow(values, cap, covered, modular, order, gains, first):
    """Records the true gains of picks that are already ordered."""
    for step in range(first, len(order)):
        j = order[step]
        gains[step] = _gain(values[j], cap, covered, modular[j])
        _cover(values[j], cap, covered)
