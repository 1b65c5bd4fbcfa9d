"""A heap of candidates by their bounds: the largest first, of equal ones the lowest index."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from nncift.kernel.compiled import compiled


@compiled
def before(a, b, bounds):
    """Whether candidate a stands before b."""
    return bounds[a] > bounds[b] or (bounds[a] == bounds[b] and a < b)


@compiled
def sink(heap, size, at, bounds):
    """Lets the candidate at one place of the heap sink until no child comes before it."""
    moving = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and before(heap[child + 1], heap[child], bounds):
            child += 1
        if not before(heap[child], moving, bounds):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@compiled
def build(heap, size, bounds):
    """Makes a heap of what stands there."""
    for at in range(size // 2 - 1, -1, -1):
        sink(heap, size, at, bounds)


@compiled
def _pull(heap, size, bounds, fresh, step, out):
    """Moves stale candidates from the top into `out` until it is full, a fresh one stands on top, or none is left."""
    count = 0
    while count < len(out) and size and fresh[heap[0]] != step:
        out[count] = heap[0]
        count += 1
        size -= 1
        heap[0] = heap[size]
        sink(heap, size, 0, bounds)
    return count, size


@compiled
def _push(heap, size, candidates, bounds):
    for candidate in candidates:
        at = size
        size += 1
        while at and before(candidate, heap[(at - 1) // 2], bounds):
            heap[at] = heap[(at - 1) // 2]
            at = (at - 1) // 2
        heap[at] = candidate
    return size


class Heap:
    """Candidates by bounds that may be out of date.

    Attributes:
        bounds: float64 [n], of every candidate.
        fresh: int64 [n], the step in which each bound was true, −1 for never.
        size: how many candidates are in the heap.
    """

    def __init__(self, candidates: Int64[ndarray, " c"], bounds: Float64[ndarray, " n"]) -> None:
        self.bounds = bounds
        self.fresh = np.full(len(bounds), -1, dtype=np.int64)
        self.heap = candidates.astype(np.int64).copy()
        self.size = len(self.heap)
        build(self.heap, self.size, bounds)

    def top(self) -> int:
        """The candidate of the largest bound."""
        return int(self.heap[0])

    def pull(self, step: int, batch: int) -> Int64[ndarray, " b"]:
        """Takes out up to a batch of the largest bounds that are stale, none behind the first that is fresh."""
        out = np.empty(batch, dtype=np.int64)
        count, self.size = _pull(self.heap, self.size, self.bounds, self.fresh, step, out)
        return out[:count]

    def push(self, candidates: Int64[ndarray, " b"]) -> None:
        """Puts candidates back, by their bounds."""
        self.size = _push(self.heap, self.size, candidates, self.bounds)

    def drop(self) -> None:
        """Takes out the candidate of the largest bound."""
        self.size -= 1
        self.heap[0] = self.heap[self.size]
        sink(self.heap, self.size, 0, self.bounds)
