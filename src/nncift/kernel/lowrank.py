"""The kernel of an additive and a low-rank part: an effect per target, an effect per candidate, and an inner product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.base import checked_pairs, refuse_empty
from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import Lines
from nncift.kernel.tiles import GROUP, four, groups, tiles

_ZERO = np.float32(0.0)


@dataclass(frozen=True, slots=True)
class LowRankKernel:
    """K[i, j] = offset + row_i + column_j + target_i · pool_j.

    Use it for an estimator that is linear in features of pairs of which each is a product of a target's and a candidate's,
    as a Gaussian process with a product kernel is. With r = 0 only the effects are left.

    Attributes:
        offset: in label units.
        row: float64 [m], effect of each target.
        column: float64 [n], effect of each candidate.
        target: float32 [m, r].
        pool: float32 [n, r].

    Raises:
        ConfigError: an array has another type or shape.

    *Cost*: fill takes 4 n m bytes and n m r fused multiply-adds, the means O((m + n) r); no language-model call.
    """

    offset: float
    row: Float64[ndarray, "m"]
    column: Float64[ndarray, "n"]
    target: Float32[ndarray, "m r"]
    pool: Float32[ndarray, "n r"]

    def __post_init__(self) -> None:
        for name, effects, factors_name, factors in (
            ("row", self.row, "target", self.target),
            ("column", self.column, "pool", self.pool),
        ):
            if effects.dtype != np.float64 or effects.ndim != 1:
                raise ConfigError(f"{name} is {effects.dtype} {effects.shape}; one float64 number per row is needed.")
            if factors.dtype != np.float32 or factors.ndim != 2 or len(factors) != len(effects):
                raise ConfigError(
                    f"{factors_name} is {factors.dtype} {factors.shape}; a float32 array of {len(effects)} rows, as many as "
                    f"{name} has, × factors is needed."
                )
        if self.target.shape[1] != self.pool.shape[1]:
            raise ConfigError(
                f"target has {self.target.shape[1]} factors and pool {self.pool.shape[1]}. Take both from one estimator."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): targets, candidates."""
        return len(self.target), len(self.pool)

    @property
    def flops(self) -> int:
        """Of `fill`: a product and an addition per factor and pair, and two additions of effects."""
        return len(self.target) * len(self.pool) * (2 * self.pool.shape[1] + 2)

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The whole kernel, candidate-major: `values[j, i] = K[i, j]`, C-contiguous.

        The inner product is taken in float32, the effects are added to it in float64. It is no BLAS product, whose bits
        depend on the shape of a block and on the library's own threads: every entry goes through the same operations in the
        same order whatever stands beside it, so the bits are the same for any number of threads (0 means all cores) and any
        subset of the rows.
        """
        m, n = self.shape
        pool, tiled = groups(self.pool), tiles(self.target)
        column = self.offset + self.column
        values = np.empty((n, m), dtype=np.float32)

        def task(start: int, stop: int) -> None:
            _fill(pool, tiled, self.row, column, values, start, stop)

        over_blocks(task, n, threads=threads, multiple=GROUP)
        return values

    def lines(self) -> Lines:
        """See `Kernel.lines`."""
        return _Lines(self, tiles(self.target))

    def at(self, i: Int[ndarray, "L"], j: Int[ndarray, "L"]) -> Float32[ndarray, "L"]:
        """K[i, j] of some pairs, through the operations of `fill` in their order; see `Kernel.at`."""
        i, j = checked_pairs(i, j, self.shape)
        values = np.empty(len(i), dtype=np.float32)
        _at(self.pool, self.target, self.row, self.offset + self.column, i, j, values)
        return values

    def candidate_means(self, threads: int = 0) -> Float64[ndarray, "n"]:
        """offset + mean(row) + column_j + mean(target) · pool_j; too short for `threads` to matter."""
        return self.offset + _side_means(self.row, self.target, self.column, self.pool, "target")

    def target_means(self, threads: int = 0) -> Float64[ndarray, "m"]:
        """offset + row_i + mean(column) + target_i · mean(pool); too short for `threads` to matter."""
        return self.offset + _side_means(self.column, self.pool, self.row, self.target, "candidate")


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of a low-rank kernel, the targets laid out once."""

    kernel: LowRankKernel
    tiled: Float32[ndarray, "tiles r width"]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.kernel.pool), len(self.kernel.target)

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b m"]:
        kernel = self.kernel
        values = np.empty((len(which), len(kernel.target)), dtype=np.float32)
        column = kernel.offset + kernel.column[which]
        _fill(groups(kernel.pool[which]), self.tiled, kernel.row, column, values, 0, len(which))
        return values

    def pick(self, which: Int[ndarray, " k"]) -> Lines:
        kernel = self.kernel
        return _Lines(replace(kernel, column=kernel.column[which], pool=kernel.pool[which]), self.tiled)


def _side_means(
    averaged: Float64[ndarray, "q"],
    factors: Float32[ndarray, "q r"],
    effects: Float64[ndarray, "n"],
    rows: Float32[ndarray, "n r"],
    what: str,
) -> Float64[ndarray, "n"]:
    refuse_empty(len(averaged), what)
    with np.errstate(invalid="ignore"):  # infinities of both signs make NaN, which says it all
        middle = factors.mean(axis=0, dtype=np.float64)
        return (
            averaged.mean() + effects + np.einsum("nr,r->n", rows, middle)
        )  # einsum asks no BLAS: same bits everywhere


@compiled
def _fill(pool, tiled, row, column, values, start, stop):
    """Fills rows `start` to `stop` of `values`; one tile of targets stays in the cache while all candidates pass by."""
    width = tiled.shape[2]
    products = np.empty((GROUP, width), dtype=np.float32)
    for tile in range(tiled.shape[0]):
        first = tile * width
        columns = min(width, values.shape[1] - first)
        for j in range(start, stop, GROUP):
            _multiply(pool, j, tiled[tile], products)
            for c in range(min(GROUP, stop - j)):
                for i in range(columns):
                    values[j + c, first + i] = np.float32(column[j + c] + row[first + i] + np.float64(products[c, i]))


@compiled
def _multiply(pool, j, tile, products):
    """Four candidates times one tile, four factors at a time: one load and store of a sum per four fused steps."""
    products[:] = _ZERO
    s0, s1, s2, s3 = products[0], products[1], products[2], products[3]
    for k in range(0, tile.shape[0], GROUP):
        p0, p1, p2, p3 = four(pool[j], k), four(pool[j + 1], k), four(pool[j + 2], k), four(pool[j + 3], k)
        t0, t1, t2, t3 = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
        for i in range(tile.shape[1]):
            t = (t0[i], t1[i], t2[i], t3[i])
            s0[i] = _add(s0[i], p0, t)
            s1[i] = _add(s1[i], p1, t)
            s2[i] = _add(s2[i], p2, t)
            s3[i] = _add(s3[i], p3, t)


@compiled
def _add(total, p, t):
    """Adds four products in their fixed order."""
    total += p[0] * t[0]
    total += p[1] * t[1]
    total += p[2] * t[2]
    total += p[3] * t[3]
    return total


@compiled
def _at(pool, target, row, column, i, j, values):
    for pair in range(len(values)):
        p, t = pool[j[pair]], target[i[pair]]
        total = _ZERO
        for k in range(len(p)):
            total += p[k] * t[k]
        values[pair] = np.float32(column[j[pair]] + row[i[pair]] + np.float64(total))
