"""Exact mean influences of the one-hidden-layer network in linear time, without a single pair being evaluated.

For one hidden unit and one candidate, the sum over targets of relu(target_i + pool) takes only the targets above −pool.
With the unit's targets sorted they are a suffix: its sum and its length are looked up after one binary search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from nncift.errors import ConfigError, RunError
from nncift.kernel.base import refuse_empty
from nncift.kernel.compiled import compiled, over_blocks

_TOGETHER = 256  # binary searches that take their steps side by side, so that none waits for another's memory
_SPAN = 1 << 15  # rows whose projections are turned unit by unit at a time: 13 MB at h = 100
_ARRAYS = ("projections", "weights", "constants")


@dataclass(frozen=True, slots=True)
class FrozenSide:
    """One side of a factorised kernel, made ready to give any row of the other side its mean over this one.

    Use it to score candidates that arrive later against the targets of an earlier run: freeze the targets once
    (`FactorisedKernel.frozen_targets`), keep `arrays()`, and call `means` on the projections of the new rows. Build it
    with `of` or `from_arrays`.

    Attributes:
        projections: float32 [h, q], the side's projections, each unit's in ascending order.
        suffix: float64 [h, q + 1], `suffix[k, s]` the sum of `projections[k, s:]`.
        weights: float32 [h], second layer.
        bias, scale, offset: as in `FactorisedKernel`.

    *Cost*: 12 h q bytes; O(h q log q) to build and O(h log q) per row scored.
    """

    projections: Float32[ndarray, "h q"]
    suffix: Float64[ndarray, "h q_1"]
    weights: Float32[ndarray, "h"]
    bias: float
    scale: float
    offset: float

    @classmethod
    def of(
        cls,
        rows: Float32[ndarray, "q h"],
        weights: Float32[ndarray, "h"],
        *,
        bias: float,
        scale: float,
        offset: float,
        threads: int = 0,
    ) -> FrozenSide:
        """Freezes the projected rows of one side.

        Args:
            rows: `target` or `pool` of a `FactorisedKernel`, at least one row.
            weights, bias, scale, offset: its other fields.
            threads: at most this many at once; 0 means all cores. Units are spread, so no bit depends on it.

        Raises:
            ConfigError: an array is not float32, the widths differ, or there is no row.
        """
        if weights.dtype != np.float32 or weights.ndim != 1:
            raise ConfigError(
                f"weights is {weights.dtype} {weights.shape}; one float32 number per hidden unit is needed."
            )
        _refuse_misfit(rows, len(weights))
        refuse_empty(len(rows), "row on that side")
        projections = np.empty((len(weights), len(rows)), dtype=np.float32)
        suffix = np.empty((len(weights), len(rows) + 1), dtype=np.float64)

        def task(start: int, stop: int) -> None:
            projections[start:stop] = rows[:, start:stop].T
            projections[start:stop].sort(axis=1)  # NaN goes last
            _suffix_sums(projections, suffix, start, stop)

        over_blocks(task, len(weights), threads=threads)
        return cls(projections, suffix, weights, bias, scale, offset)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ndarray]) -> FrozenSide:
        """The side that `arrays()` was taken from, with the same bits.

        Raises:
            RunError: an array is missing or has another shape or type.
        """
        try:
            projections, weights, constants = (arrays[name] for name in _ARRAYS)
            bias, scale, offset = constants.tolist()
            return cls.of(projections.T, weights, bias=bias, scale=scale, offset=offset)
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise RunError(
                f"these are not the arrays of a frozen side ({', '.join(_ARRAYS)}): {str(error).rstrip('.')}. "
                "Freeze the side again."
            ) from error

    def arrays(self) -> dict[str, ndarray]:
        """All there is to keep, as plain arrays: `write_npz` takes them. The sums are not kept, they are quick to redo."""
        constants = np.array([self.bias, self.scale, self.offset], dtype=np.float64)
        return dict(zip(_ARRAYS, (self.projections, self.weights, constants), strict=True))

    def means(self, rows: Float32[ndarray, "n h"], *, threads: int = 0) -> Float64[ndarray, "n"]:
        """The mean of K over this side, for every projected row of the other side.

        A row's mean has the same bits for any number of threads and whatever rows stand beside it.

        Raises:
            ConfigError: `rows` is not float32 or has another width.
        """
        _refuse_misfit(rows, len(self.weights))
        totals = np.empty(len(rows), dtype=np.float64)

        def task(start: int, stop: int) -> None:
            for first in range(start, stop, _SPAN):
                part = slice(first, min(first + _SPAN, stop))
                totals[part] = self._totals(rows[part])

        over_blocks(task, len(rows), threads=threads, multiple=_TOGETHER)
        return self.offset + self.scale * (totals / self.projections.shape[1] + self.bias)

    def _totals(self, rows: Float32[ndarray, "a h"]) -> Float64[ndarray, "a"]:
        """Σ w · relu over units and this side; padded so that every row goes through the same compiled code."""
        by_unit = np.zeros((rows.shape[1], -(-len(rows) // _TOGETHER) * _TOGETHER), dtype=np.float32)
        by_unit[:, : len(rows)] = rows.T
        totals = np.zeros(by_unit.shape[1], dtype=np.float64)
        for k, weight in enumerate(self.weights.astype(np.float64)):  # in this order for every row
            _add_unit(self.projections[k], self.suffix[k], weight, by_unit[k], totals)
        return totals[: len(rows)]


def _refuse_misfit(rows: ndarray, width: int) -> None:
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != width:
        raise ConfigError(
            f"the projections are {rows.dtype} {rows.shape}; a float32 array of rows × {width} hidden units is needed."
        )


@compiled
def _suffix_sums(projections, suffix, start, stop):
    count = projections.shape[1]
    for k in range(start, stop):
        total = 0.0
        suffix[k, count] = total
        for s in range(count - 1, -1, -1):
            total += np.float64(projections[k, s])
            suffix[k, s] = total


@compiled
def _add_unit(ascending, suffix, weight, rows, totals):
    """Adds one unit to the totals of all rows.

    The first value above −row is found by halving the range the same number of times for all, without a branch: NaN among
    the values lies last and counts as above, so it gets into every sum.
    """
    count = len(ascending)
    first = np.empty(_TOGETHER, dtype=np.int64)
    below = np.empty(_TOGETHER, dtype=np.float32)
    for start in range(0, len(rows), _TOGETHER):
        for c in range(_TOGETHER):
            first[c] = 0
            below[c] = -rows[start + c]
        length = count
        while length > 1:
            half = length // 2
            for c in range(_TOGETHER):
                s = first[c]
                first[c] = s + half if ascending[s + half - 1] <= below[c] else s
            length -= half
        for c in range(_TOGETHER):
            row = np.float64(rows[start + c])
            s = first[c] + (1 if ascending[first[c]] <= below[c] else 0)
            total = suffix[s] + row * (count - s)
            if not np.isfinite(row):  # an infinite sum, zero, or NaN, as the outermost values decide
                total = _relu(row + ascending[0]) + _relu(row + ascending[count - 1])
            totals[start + c] += weight * total


@compiled
def _relu(x):
    return 0.0 if x < 0.0 else x  # in this order NaN stays NaN
