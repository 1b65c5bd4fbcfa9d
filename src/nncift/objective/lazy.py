"""Exact lazy greedy, reproducible to the bit, ties always to the lowest index.

Why laziness changes nothing, ties included. Gains never grow, rounding and all (see `problem.Coverage`), and dividing by a
cost keeps their order: an old ratio is an upper bound of the new one. The heap puts the larger bound first and, among
equal bounds, the lower index. A candidate is accepted only when it stands on top with a gain computed in this very step:
everybody else's true ratio is at most their bound, hence smaller, or equal with a higher index. Comparing all true gains
would have picked the same.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from nncift.errors import ModelError
from nncift.kernel.compiled import compiled
from nncift.objective.functions import Chosen
from nncift.objective.heap import Heap, before, build, sink
from nncift.objective.limits import Room
from nncift.objective.picks import Picked
from nncift.objective.problem import Coverage, gain


def lazy(chosen: Chosen, room: Room, weight: Float64[ndarray, " n"], *, stop: bool) -> Picked:
    """Picks the largest gain per weight while there is room, some stale bounds refreshed at a time.

    Args:
        chosen: a submodular function.
        room: what may still be chosen.
        weight: above 0; what a gain is divided by.
        stop: whether to stop when no gain is positive.
    """
    picked = Picked()
    heap, gains = first_bounds(chosen, room, weight, picked)
    step, least = 0, room.cost.min(initial=np.inf)
    while heap.size and room.left[0] >= least:
        best = heap.top()
        if not room.fits(best):
            heap.drop()
        elif heap.fresh[best] == step:
            if stop and heap.bounds[best] <= 0:
                break
            heap.drop()
            chosen.add(best)
            room.take(best)
            picked.add(best, float(gains[best]))
            step += 1
        else:
            some = heap.pull(step, chosen.batch)
            gains[some] = chosen.gains(some)
            heap.bounds[some] = gains[some] / weight[some]
            heap.fresh[some] = step
            heap.push(some)
            picked.evaluations += len(some)
    return picked


def lazy_dense(
    chosen: Coverage,
    values: Float32[ndarray, "n r"],
    room: Room,
    weight: Float64[ndarray, " n"],
    *,
    stop: bool,
) -> Picked:
    """`lazy` for a kernel in memory, one stale bound at a time, compiled as a whole: some 30 gains per pick."""
    picked = Picked()
    heap, gains = first_bounds(chosen, room, weight, picked)
    most = int(min(heap.size, room.left[0] // room.cost.min(initial=np.inf))) if heap.size else 0
    order, added = np.empty(most, dtype=np.int64), np.empty(most)
    cap = np.empty(0) if chosen.problem.cap is None else chosen.cap
    steps, evaluated = _lazy(
        values, cap, chosen.covered, chosen.worth, heap.bounds, gains, weight, heap.heap, heap.size, heap.fresh,
        room.cost, room.group, room.quota, room.left, room.open, order, added, stop,
    )  # fmt: skip
    picked.order, picked.added = order[:steps].tolist(), added[:steps].tolist()
    picked.evaluations += int(evaluated)
    return picked


def first_bounds(
    chosen: Chosen, room: Room, weight: Float64[ndarray, " n"], picked: Picked
) -> tuple[Heap, Float64[ndarray, " n"]]:
    """The heap of what there is room for, every bound true, and the gains.

    Raises:
        ModelError: a gain is no number.
    """
    fitting = room.fitting()
    gains = np.zeros(chosen.size)
    gains[fitting] = chosen.gains(fitting)
    picked.evaluations += len(fitting)
    refuse_not_finite(fitting, gains[fitting])
    heap = Heap(fitting, gains / weight)
    heap.fresh[fitting] = 0
    return heap, gains


def refuse_not_finite(which: Int64[ndarray, " b"], gains: Float64[ndarray, " b"]) -> None:
    """Refuses gains that cannot be compared.

    Raises:
        ModelError: a gain is not finite.
    """
    if not np.isfinite(gains).all():
        bad = which[~np.isfinite(gains)]
        raise ModelError(
            f"{len(bad)} of {len(which)} candidates have values that are not finite, at positions {bad[:5].tolist()}."
        )


@compiled
def _second(size, heap, bounds):
    """The place in the heap of what comes behind the top: it is nearly always looked at next."""
    if size < 3:
        return size - 1
    return 1 if before(heap[1], heap[2], bounds) else 2


@compiled
def _lazy(
    values, cap, covered, worth, bounds, gains, weight, heap, size, fresh, cost, group, quota, left, open_, order, added,
    stop,
):  # fmt: skip
    step, evaluated = 0, 0
    build(heap, size, bounds)
    while size and step < len(order):
        best = heap[0]
        if cost[best] > left[0] or quota[group[best]] <= 0:
            size -= 1
            heap[0] = heap[size]
            sink(heap, size, 0, bounds)
        elif fresh[best] != step:
            gains[best] = gain(values[best], values[heap[_second(size, heap, bounds)]], cap, covered, worth[best])
            bounds[best] = gains[best] / weight[best]
            fresh[best] = step
            evaluated += 1
            sink(heap, size, 0, bounds)
        else:
            if stop and bounds[best] <= 0.0:
                break
            order[step], added[step] = best, gains[best]
            line = values[best]
            for i in range(len(line)):
                covered[i] = max(covered[i], min(np.float64(line[i]), cap[i] if len(cap) else np.inf))
            open_[best] = False
            left[0] -= cost[best]
            quota[group[best]] -= 1
            step += 1
            size -= 1
            heap[0] = heap[size]
            sink(heap, size, 0, bounds)
    return step, evaluated
