"""The influence network evaluated for all pairs at once, through the exact factorisation of its first layer.

The network's first layer is linear in the concatenated pair, W1 [e_j; 0; e_i] + b1 = A e_j + B e_i + b1. Projecting
every row once leaves h additions, comparisons and products per pair instead of a (2d + 1) × h matrix product. The additions
go too: with p = A e_j and t = B e_i + b1, w · relu(t + p) = w · max(t, -p) + w · p, and the last part is one number for each
candidate. So that nothing large cancels there, what all candidates have in common is first moved from p to t.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.base import checked_pairs
from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import Lines
from nncift.kernel.sums import FrozenSide
from nncift.kernel.tiles import GROUP, aligned, four, groups, padded, tiles

_ZERO = np.float32(0.0)


@dataclass(frozen=True, slots=True)
class FactorisedKernel:
    """K[i, j] = offset + scale · (w · relu(target_i + pool_j) + bias), with w the weights of the second layer.

    Use it to fill the whole kernel from a trained network. A pointwise network is the same with one target row of
    first-layer biases (m = 1).

    Attributes:
        pool: float32 [n, h], E_pool Aᵀ.
        target: float32 [m, h], E_target Bᵀ + b1.
        weights: float32 [h], second layer.
        bias: of the second layer.
        scale: what a unit of the network's output is worth in label units (undoes the standardisation of labels).
        offset: the label that an output of zero stands for.

    Raises:
        ConfigError: an array is not float32 or the widths h differ.

    *Cost*: fill takes 4 n m bytes, n m h comparisons and as many fused multiply-adds; the means O((m + n) h log m); no
    language-model call.
    *Reference*: the InfluenceNetwork of NN-CIFT, arXiv 2502.09969, section 4; the factorisation is exact.
    """

    pool: Float32[ndarray, "n h"]
    target: Float32[ndarray, "m h"]
    weights: Float32[ndarray, "h"]
    bias: float
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        arrays = {"pool": self.pool, "target": self.target, "weights": self.weights}
        for name, array in arrays.items():
            if array.dtype != np.float32 or array.ndim != (1 if name == "weights" else 2):
                raise ConfigError(
                    f"{name} is {array.dtype} {array.shape}; a float32 array of rows × hidden units is needed."
                )
        widths = {name: array.shape[-1] for name, array in arrays.items()}
        if len(set(widths.values())) != 1:
            raise ConfigError(f"the hidden widths differ: {widths}. Take all three from one network.")

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): targets, candidates."""
        return len(self.target), len(self.pool)

    @property
    def flops(self) -> int:
        """Of `fill`: a comparison, a product and an addition per unit and pair."""
        return len(self.target) * len(self.pool) * (3 * len(self.weights) + 2)

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The whole kernel, candidate-major: `values[j, i] = K[i, j]`, C-contiguous.

        Every entry goes through the same operations in the same order whatever stands beside it, so the result has the
        same bits for any number of threads (0 means all cores) and any sub-block.
        """
        m, n = self.shape
        middle = self._middle()
        knees, tiled = middle - self.pool, tiles(self.target + middle)
        weights, scale, offsets = padded(self.weights[None, :], 1)[0], np.float32(self.scale), self.offsets(knees)
        knees = groups(knees)
        values = np.empty((n, m), dtype=np.float32)

        def task(start: int, stop: int) -> None:
            _fill(knees, tiled, weights, scale, offsets, values, start, stop, aligned((GROUP, tiled.shape[2])))

        over_blocks(task, n, threads=threads, multiple=GROUP)
        return values

    def lines(self) -> Lines:
        """See `Kernel.lines`."""
        middle = self._middle()
        return _Lines(self, middle, tiles(self.target + middle), padded(self.weights[None, :], 1)[0])

    def at(self, i: Int[ndarray, "L"], j: Int[ndarray, "L"]) -> Float32[ndarray, "L"]:
        """K[i, j] of some pairs, through the operations of `fill` in their order; see `Kernel.at`."""
        i, j = checked_pairs(i, j, self.shape)
        values = np.empty(len(i), dtype=np.float32)
        middle = self._middle()
        which, place = np.unique(j, return_inverse=True)
        knees = middle - self.pool[which]
        offsets = self.offsets(knees)
        _at(knees, self.target + middle, self.weights, np.float32(self.scale), offsets, i, place, values)
        return values

    def candidate_means(self, threads: int = 0) -> Float64[ndarray, "n"]:
        """The mean of every candidate over all targets; see `FrozenSide`, of which `frozen_targets` keeps the sorted half."""
        return self.frozen_targets(threads).means(self.pool, threads=threads)

    def target_means(self, threads: int = 0) -> Float64[ndarray, "m"]:
        """The mean of every target over all candidates; see `FrozenSide`."""
        return self._frozen(self.pool, threads).means(self.target, threads=threads)

    def frozen_targets(self, threads: int = 0) -> FrozenSide:
        """What is needed of the targets to give any candidate its mean, also one that is not in this kernel."""
        return self._frozen(self.target, threads)

    def _frozen(self, rows: Float32[ndarray, "q h"], threads: int) -> FrozenSide:
        constants = {"bias": self.bias, "scale": self.scale, "offset": self.offset}
        return FrozenSide.of(rows, self.weights, **constants, threads=threads)

    def offsets(self, knees: Float32[ndarray, "c h"]) -> Float32[ndarray, " c"]:
        """What is added to every influence of some candidates, told by their -p: w · p, the bias and the offset."""
        own = np.einsum(
            "ch,h->c", knees, self.weights, dtype=np.float64
        )  # a sum of its own for each, whoever stands beside
        return (self.offset + self.scale * (self.bias - own)).astype(np.float32)

    def _middle(self) -> Float32[ndarray, " h"]:
        """What is moved from candidates to targets: the candidates' mean, nothing for a unit where it is no number."""
        if not len(self.pool):
            return np.zeros_like(self.weights)
        with np.errstate(invalid="ignore"):
            mean = self.pool.mean(axis=0, dtype=np.float64)
        return np.where(np.isfinite(mean), mean, 0.0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of a network, the targets laid out once."""

    kernel: FactorisedKernel
    middle: Float32[ndarray, " h"]
    tiled: Float32[ndarray, "tiles h width"]
    weights: Float32[ndarray, " h"]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.kernel.pool), len(self.kernel.target)

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        kernel, knees = self.kernel, self.middle - self.kernel.pool[which]
        values = np.empty((len(which), len(kernel.target)), dtype=np.float32)
        scale, offsets, sums = np.float32(kernel.scale), kernel.offsets(knees), aligned((GROUP, self.tiled.shape[2]))
        _fill(groups(knees), self.tiled, self.weights, scale, offsets, values, 0, len(which), sums)
        return values

    def pick(self, which: Int[ndarray, " k"]) -> Lines:
        return replace(self, kernel=replace(self.kernel, pool=self.kernel.pool[which]))  # `middle` stays that of all


@compiled
def _fill(knees, tiles, weights, scale, offsets, values, start, stop, sums):
    """Fills rows `start` to `stop` of `values`; one tile of targets stays in the cache while all candidates pass by."""
    width = tiles.shape[2]
    for tile in range(tiles.shape[0]):
        first = tile * width
        columns = min(width, values.shape[1] - first)
        for j in range(start, stop, GROUP):
            _score(knees, j, tiles[tile], weights, sums)
            for c in range(min(GROUP, stop - j)):
                for i in range(columns):
                    values[j + c, first + i] = offsets[j + c] + scale * sums[c, i]


@compiled
def _score(knees, j, tile, weights, sums):
    """Scores four candidates on one tile, four units at a time: one load and store of a sum per four fused steps."""
    sums[:] = _ZERO
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    for k in range(0, tile.shape[0], GROUP):
        w = four(weights, k)
        q0, q1, q2, q3 = four(knees[j], k), four(knees[j + 1], k), four(knees[j + 2], k), four(knees[j + 3], k)
        t0, t1, t2, t3 = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
        for i in range(tile.shape[1]):
            t = (t0[i], t1[i], t2[i], t3[i])
            s0[i] = _add(s0[i], w, q0, t)
            s1[i] = _add(s1[i], w, q1, t)
            s2[i] = _add(s2[i], w, q2, t)
            s3[i] = _add(s3[i], w, q3, t)


@compiled
def _at(knees, target, weights, scale, offsets, i, j, values):
    for pair in range(len(values)):
        q, t = knees[j[pair]], target[i[pair]]
        total = _ZERO
        for k in range(len(weights)):
            total += weights[k] * _above(q[k], t[k])
        values[pair] = offsets[j[pair]] + scale * total


@compiled
def _add(total, w, q, t):
    """Adds four units in their fixed order."""
    total += w[0] * _above(q[0], t[0])
    total += w[1] * _above(q[1], t[1])
    total += w[2] * _above(q[2], t[2])
    total += w[3] * _above(q[3], t[3])
    return total


@compiled
def _above(q, t):
    """The larger; NaN of the target stays NaN, that of the candidate is in its offset."""
    return q if q > t else t
