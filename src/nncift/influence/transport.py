"""Entropic optimal transport from a few weighted rows to many, and how its cost changes with their weights.

The transport problem is solved by its semi-dual: one number for each source row, the best prices of the other side following
from them in closed form. Sinkhorn steps climb that concave function surely but may creep for thousands of steps where mass
moves between separate groups; Newton steps, shortened until they gain, arrive in a few. The regularisation is halved from
the spread of the costs down to its aim, each solution starting the next.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

log = logging.getLogger(__name__)

_PRECISION = 1e-9  # total mass that may be out of place when the solver stops
_STEPS = 500  # at the last regularisation; fewer than 30 are usual
_EARLY_STEPS = 8  # at each regularisation above it
_STRIDES = tuple(0.25**k for k in range(10))  # parts of a Newton step that are tried, the whole first
_RIDGE = 1e-12  # keeps the Newton system solvable where a source row serves nobody yet


@dataclass(frozen=True, slots=True)
class Transport:
    """What moving one distribution onto another costs.

    Attributes:
        cost: min over plans P with these marginals of <C, P> + epsilon · KL(P, a ⊗ b); at least 0 where C is.
        gradient: [B] derivative of `cost` with respect to each source mass, as masses move among each other: the dual
            potential of the source, of mean 0 under `a`. Large where a row is far from what is left for it to serve.
    """

    cost: float
    gradient: Float[ndarray, " B"]


@dataclass(frozen=True, slots=True)
class _Climb:
    """The semi-dual at one point: its value, what each source sends, and each target's split among the sources [B, m]."""

    potential: Float[ndarray, " B"]
    value: float
    sent: Float[ndarray, " B"]
    split: Float[ndarray, "B m"]


def transport(
    cost: Float[ndarray, "B m"], source: Float[ndarray, " B"], target: Float[ndarray, " m"], *, epsilon: float
) -> Transport:
    """Entropic transport cost between two distributions, and its gradient with respect to the first.

    Args:
        cost: C[j, i], what it costs to move a unit of mass from source row j to target row i.
        source: masses of the source rows, positive, of sum 1.
        target: masses of the target rows, positive, of sum 1.
        epsilon: strength of the entropy, in the unit of `cost`; towards 0 the exact transport cost results.

    *Cost*: 30 to 100 passes over the B × m costs, each of B multiply-adds an entry; 3 B · m numbers of memory.
    *Reference*: Cuturi, Sinkhorn Distances, 2013; Cuturi and Peyré, A Smoothed Dual Approach for Variational Wasserstein
        Problems, 2016 (the semi-dual).
    """
    cost, source, target = (np.asarray(array, dtype=np.float64) for array in (cost, source, target))
    at, current = np.zeros(len(source)), max(float(np.ptp(cost)), epsilon)
    while current > epsilon:
        at = _climb(cost, source, target, current, at, _EARLY_STEPS).potential
        current /= 2
    top = _climb(cost, source, target, epsilon, at, _STEPS)
    misplaced = float(np.abs(source - top.sent).sum())
    if misplaced > _PRECISION:
        log.warning("optimal transport stopped with %.1e of the mass out of place; raise `blur`", misplaced)
    return Transport(top.value, top.potential - source @ top.potential)


def _climb(cost: ndarray, source: ndarray, target: ndarray, epsilon: float, start: ndarray, steps: int) -> _Climb:
    """Up to `steps` steps at one regularisation."""
    here = _stand(cost, source, target, epsilon, start)
    for _ in range(steps):
        missing = source - here.sent
        if np.abs(missing).sum() <= _PRECISION:
            break
        curvature = np.diag(here.sent + _RIDGE) - (here.split * target) @ here.split.T + np.outer(source, source)
        newton = np.linalg.solve(curvature, missing)
        for stride in _STRIDES:
            ahead = _stand(cost, source, target, epsilon, here.potential + stride * epsilon * newton)
            gain = ahead.value - here.value
            # near the top a gain is lost in rounding, and less mass out of place tells that the step was good
            closer = np.abs(source - ahead.sent).sum() < np.abs(missing).sum() / 2
            if gain > 0.1 * stride * epsilon * float(missing @ newton) or (closer and gain > -1e-12):
                break
        else:
            rise = np.log(source) - np.log(np.maximum(here.sent, 1e-300))
            ahead = _stand(cost, source, target, epsilon, here.potential + epsilon * rise)
        here = ahead
    return here


def _stand(cost: ndarray, source: ndarray, target: ndarray, epsilon: float, potential: ndarray) -> _Climb:
    exponent = (potential[:, None] - cost) / epsilon + np.log(source)[:, None]
    highest = exponent.max(0)
    split = np.exp(exponent - highest)
    total = split.sum(0)
    split /= total
    value = float(source @ potential - epsilon * (target @ (highest + np.log(total))))
    return _Climb(potential, value, split @ target, split)
