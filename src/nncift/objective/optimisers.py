"""Greedy choice without a heap: the oracle that looks at everything, and two that look at less than the best needs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from nncift.objective.functions import Chosen
from nncift.objective.lazy import first_bounds, refuse_not_finite
from nncift.objective.limits import Room
from nncift.objective.picks import Picked


def naive(chosen: Chosen, room: Room, weight: Float64[ndarray, " n"], *, stop: bool) -> Picked:
    """Computes every gain in every step; the oracle of the others, and the only one where gains can grow.

    Raises:
        ModelError: a gain is no number.

    *Cost*: n gains per pick.
    *Reference*: Nemhauser, Wolsey and Fisher 1978.
    """
    picked = Picked()
    while len(fitting := room.fitting()):
        gains = chosen.gains(fitting)
        refuse_not_finite(fitting, gains)
        picked.evaluations += len(fitting)
        at = int(np.argmax(gains / weight[fitting]))  # of equal ones the first
        if stop and gains[at] <= 0:
            break
        _choose(chosen, room, picked, int(fitting[at]), float(gains[at]))
    return picked


def stochastic(
    chosen: Chosen,
    room: Room,
    weight: Float64[ndarray, " n"],
    *,
    stop: bool,
    epsilon: float,
    rng: np.random.Generator,
) -> Picked:
    """Takes the best of a random sample in each step: n / k · ln(1 / ε) of the candidates that are left.

    Candidates without a positive gain are sampled no more, so that it ends where the greedy choice ends. Old gains are
    used as bounds, which changes no pick and saves most of them.

    *Cost*: at most n ln(1 / ε) gains in all.
    *Reference*: Mirzasoleiman et al. 2015, Lazier Than Lazy Greedy: 1 − 1/e − ε of the optimum in expectation, for a
    monotone submodular function and a number of candidates.
    """
    picked = Picked()
    left = room.fitting()
    count = len(left)
    picks = max(1.0, room.left[0] / float(room.cost[left].mean())) if count else 1.0
    size = max(1, int(np.ceil(count / picks * np.log(1 / epsilon))))
    bounds = np.full(chosen.size, np.inf)
    while count:
        places = np.sort(rng.choice(count, min(size, count), replace=False, shuffle=False))
        sample = left[places]
        fits = np.array([room.fits(j) for j in sample.tolist()])
        best, gain = _best_of(chosen, np.sort(sample[fits]), weight, bounds, picked)
        if best >= 0 and (gain > 0 or not stop):
            _choose(chosen, room, picked, best, gain)
        gone = ~fits | ~room.open[sample] | ((bounds[sample] <= 0) & stop)
        for place in places[gone][::-1].tolist():
            count -= 1
            left[place] = left[count]
    return picked


def threshold(chosen: Chosen, room: Room, weight: Float64[ndarray, " n"], *, epsilon: float) -> Picked:
    """Takes whatever reaches a threshold, in the order of candidates, and lowers the threshold by a share ε.

    For a function that is monotone. It goes on until no gain is positive or there is no more room.

    *Cost*: O(n / ε · ln(n / ε)) gains, in practice a few n: old gains are bounds, and what cannot reach the threshold is not
    computed. Many picks share a walk, which suits large blocks.
    *Reference*: Badanidiyuru and Vondrák 2014, Fast Algorithms for Maximizing Submodular Functions: 1 − 1/e − ε of the
    optimum for a number of candidates.
    """
    picked = Picked()
    heap, gains = first_bounds(chosen, room, weight, picked)
    bounds = heap.bounds
    fitting = room.fitting()
    level = float(bounds[fitting].max(initial=0.0))
    while level > 0:
        reached = fitting[bounds[fitting] >= level]
        at = 0
        while at < len(reached):
            some = reached[at : at + chosen.batch]
            gains[some] = chosen.gains(some)
            bounds[some] = gains[some] / weight[some]
            picked.evaluations += len(some)
            good = next((k for k, j in enumerate(some.tolist()) if bounds[j] >= level and room.fits(j)), None)
            if good is None:
                at += len(some)
            else:
                _choose(chosen, room, picked, int(some[good]), float(gains[some[good]]))
                at += good + 1  # what stood behind it in the block is computed again, now that it is chosen
        fitting = room.fitting()
        level = min(level * (1 - epsilon), float(bounds[fitting].max(initial=0.0)))
    return picked


def _best_of(
    chosen: Chosen,
    sample: Int64[ndarray, " s"],
    weight: Float64[ndarray, " n"],
    bounds: Float64[ndarray, " n"],
    picked: Picked,
) -> tuple[int, float]:
    """The best of a sample, equal ones by index; a bound is refreshed only where it could still win."""
    order = sample[np.argsort(-bounds[sample], kind="stable")]
    best, ratio, gain, at = -1, -np.inf, 0.0, 0
    while at < len(order) and bounds[order[at]] >= ratio:
        some = order[at : at + chosen.batch]
        gains = chosen.gains(some)
        picked.evaluations += len(some)
        bounds[some] = gains / weight[some]
        for j, ratio_j, gain_j in zip(some.tolist(), bounds[some].tolist(), gains.tolist(), strict=True):
            if ratio_j > ratio or (ratio_j == ratio and j < best):
                best, ratio, gain = j, ratio_j, gain_j
        at += len(some)
    return best, gain


def _choose(chosen: Chosen, room: Room, picked: Picked, candidate: int, gain: float) -> None:
    chosen.add(candidate)
    room.take(candidate)
    picked.add(candidate, gain)
