"""How alike two candidates are: a symmetric kernel of the pool with itself, looked at one candidate at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, Int64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled
from nncift.kernel.lines import MASKED, DenseLines, Lines
from nncift.objective.base import Kernels
from nncift.objective.scale import needed, refuse_not_finite
from nncift.objective.survey import at_once

TOLERANCE = 1e-5
"""What two entries that should be equal may differ by, as a share of the kernel's largest entry in size."""

_SAMPLE = 1024  # candidates among which a kernel that is not stored is looked through for such entries


@dataclass(frozen=True, slots=True)
class Alike:
    """s[j, k] = s[k, j], how alike candidates j and k are.

    A masked pair is a pair of one text, so nothing is more alike: it counts as `same`.

    Attributes:
        lines: [n, n], `MASKED` where a pair is masked.
        same: the largest entry of the kernel; 0 where it has none.
        averaged: whether s is (K + Kᵀ) / 2 of a kernel in memory that is not symmetric itself.
    """

    lines: Lines
    same: float
    averaged: bool = False

    @classmethod
    def of(cls, kernels: Kernels, objective: str, *, symmetrise: bool) -> Alike:
        """The pool's kernel, after a look at its symmetry.

        A kernel in memory is compared with its transpose entry by entry, one that is computed among 1,024 candidates that
        are spread evenly.

        Args:
            objective: its name, for messages.
            symmetrise: take (K + Kᵀ) / 2, and do not look.

        Raises:
            ConfigError: there is no such kernel, it is not symmetric, or it would have to be in memory to be made so.
            ModelError: it holds numbers that are not finite.

        *Cost*: a survey of the kernel, and n² / 2 comparisons where it is in memory.
        """
        pool, found = needed(kernels.pool, objective, "pool"), kernels.of_pool
        refuse_not_finite(found, "the pool kernel")
        highest, lowest = (some[np.isfinite(some)] for some in (found.highest, found.lowest))
        same = float(highest.max()) if len(highest) else 0.0
        if symmetrise:
            if not isinstance(pool, DenseLines):
                raise ConfigError(
                    f"`{objective}` can take the mean of a kernel and its transpose only where it is in memory: use "
                    "--backend dense, or an influence that is symmetric."
                )
            return cls(pool, same, averaged=True)
        size = max(abs(same), abs(float(lowest.min(initial=0.0))))
        _refuse_asymmetry(pool, objective, TOLERANCE * size)
        return cls(pool, same)

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return self.lines.shape[0]

    def to(self, which: Int[ndarray, " b"]) -> Float64[ndarray, "b n"]:
        """How alike every candidate is to some."""
        found = self.lines.take(which).astype(np.float64)
        if self.averaged:
            assert isinstance(self.lines, DenseLines)
            found = (found + self.lines.values[:, which].T) / 2
        found[found == MASKED] = self.same
        return found

    def own(self) -> Float64[ndarray, " n"]:
        """s[j, j] of every candidate; a pass over the lines where they are not in memory."""
        n = self.size
        if isinstance(self.lines, DenseLines):
            found = self.lines.values.diagonal().astype(np.float64)
        else:
            found, step = np.empty(n), at_once(n)
            for first in range(0, n, step):
                which = np.arange(first, min(first + step, n))
                found[which] = self.lines.take(which)[np.arange(len(which)), which]
        found[found == MASKED] = self.same
        return found

    def among(self, chosen: Int[ndarray, " k"]) -> Float64[ndarray, "k k"]:
        """s of every pair of some candidates."""
        step, found = at_once(self.size), np.empty((len(chosen), len(chosen)))
        for first in range(0, len(chosen), step):
            found[first : first + step] = self.to(chosen[first : first + step])[:, chosen]
        return found

    def nearest_before(self, order: Int[ndarray, " k"]) -> tuple[Int64[ndarray, " k"], Float64[ndarray, " k"]]:
        """Of each candidate of an order the one before it that is most like it, and how alike they are; −1 for the first."""
        nearest, alike = np.full(len(order), -1), np.full(len(order), -np.inf)
        step = at_once(self.size)
        for first in range(0, len(order), step):
            found = self.to(order[first : first + step])[:, order]
            for place in range(max(first, 1), min(first + step, len(order))):
                before = found[place - first, :place]
                nearest[place] = order[before.argmax()]
                alike[place] = before.max()
        return nearest, alike


def _refuse_asymmetry(pool: Lines, objective: str, allowed: float) -> None:
    n = pool.shape[0]
    if isinstance(pool, DenseLines):
        which, square = np.arange(n), pool.values
    else:
        which = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
        square, step = np.empty((len(which), len(which)), dtype=np.float32), at_once(n)
        for first in range(0, len(which), step):
            square[first : first + step] = pool.take(which[first : first + step])[:, which]
    off, a, b = worst_pair(square)
    if off > allowed:
        j, k = which[a], which[b]
        raise ConfigError(
            f"`{objective}` needs a kernel that is symmetric: by positions in the pool {j} → {k} is {square[a, b]:.6g} and "
            f"{k} → {j} is {square[b, a]:.6g}, {off:.3g} apart where {allowed:.2g} is allowed. Take the mean of both with the "
            "objective's option symmetrise=true, or an influence that is symmetric (similarity, embedding)."
        )


def worst_pair(values: Float32[ndarray, "n n"]) -> tuple[float, int, int]:
    """By how much a pair differs from its mirror at most, and which; masked ones do not count.

    *Cost*: n² / 2 comparisons, in tiles.
    """
    off, a, b = _worst_pair(values)
    return float(off), int(a), int(b)


@compiled
def _worst_pair(values):
    n, width = len(values), 64
    worst, a, b = 0.0, 0, 0
    for top in range(0, n, width):
        for left in range(0, top + 1, width):
            for j in range(top, min(top + width, n)):
                for k in range(left, min(left + width, j)):
                    one, other = values[j, k], values[k, j]
                    if one != MASKED and other != MASKED:
                        off = abs(np.float64(one) - np.float64(other))
                        if off > worst:
                            worst, a, b = off, j, k
    return worst, a, b
