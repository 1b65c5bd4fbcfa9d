"""The influence network evaluated for all pairs at once, through the exact factorisation of its first layer.

The network's first layer is linear in the concatenated pair, W1 [e_j; 0; e_i] + b1 = A e_j + B e_i + b1. Projecting
every row once leaves h additions, comparisons and products per pair instead of a (2d + 1) × h matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.compiled import compiled, over_blocks

_GROUP = 4  # candidates that share one walk over a tile, and hidden units taken together
_LANES = 64  # tiles are whole multiples of four of the widest registers, so that no entry goes through a scalar tail
_TILE = 512  # target columns per tile: at h = 100 the tile takes 200 KB and stays in the second-level cache
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

    *Cost*: fill takes 4 n m bytes and n m h fused multiply-adds; no language-model call.
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

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The whole kernel, candidate-major: `values[j, i] = K[i, j]`, C-contiguous.

        Every entry goes through the same operations in the same order whatever stands beside it, so the result has the
        same bits for any number of threads (0 means all cores) and any sub-block.
        """
        m, n = self.shape
        pool = _padded(self.pool, -(-n // _GROUP) * _GROUP)
        tiles = _tiles(self.target)
        weights = _padded(self.weights[None, :], 1)[0]
        values = np.empty((n, m), dtype=np.float32)
        scale, offset = np.float32(self.scale), np.float32(self.offset + self.scale * self.bias)

        def task(start: int, stop: int) -> None:
            _fill(pool, tiles, weights, scale, offset, values, start, stop)

        over_blocks(task, n, threads=threads, multiple=_GROUP)
        return values

    def block(self, rows: ndarray | slice, columns: ndarray | slice) -> Float32[ndarray, "a b"]:
        """The entries of some candidates (`rows`) on some targets (`columns`), with the same bits as in `fill`."""
        return replace(self, pool=self.pool[rows], target=self.target[columns]).fill(threads=1)


def _padded(array: Float32[ndarray, "rows h"], rows: int) -> Float32[ndarray, "rows_padded h_padded"]:
    """The array with zero rows and zero hidden units added: a unit of weight zero adds exactly zero."""
    padded = np.zeros((rows, -(-array.shape[1] // _GROUP) * _GROUP), dtype=np.float32)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded


def _tiles(target: Float32[ndarray, "m h"]) -> Float32[ndarray, "tiles h_padded width"]:
    """The projected targets cut into tiles of equal width, each stored unit by unit so that targets are contiguous."""
    count = max(1, -(-len(target) // _TILE))
    width = max(1, -(-len(target) // (count * _LANES))) * _LANES
    padded = _padded(target, count * width)
    return np.ascontiguousarray(padded.reshape(count, width, -1).transpose(0, 2, 1))


@compiled
def _fill(pool, tiles, weights, scale, offset, values, start, stop):
    """Fills rows `start` to `stop` of `values`; one tile of targets stays in the cache while all candidates pass by."""
    width = tiles.shape[2]
    sums = np.empty((_GROUP, width), dtype=np.float32)
    for tile in range(tiles.shape[0]):
        first = tile * width
        columns = min(width, values.shape[1] - first)
        for j in range(start, stop, _GROUP):
            _score(pool, j, tiles[tile], weights, scale, offset, sums)
            for c in range(min(_GROUP, stop - j)):
                for i in range(columns):
                    values[j + c, first + i] = sums[c, i]


@compiled
def _score(pool, j, tile, weights, scale, offset, sums):
    """Scores four candidates on one tile, four units at a time: one load and store of a sum per four fused steps."""
    sums[:] = _ZERO
    s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
    for k in range(0, tile.shape[0], _GROUP):
        w = _four(weights, k)
        p0, p1, p2, p3 = _four(pool[j], k), _four(pool[j + 1], k), _four(pool[j + 2], k), _four(pool[j + 3], k)
        t0, t1, t2, t3 = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
        for i in range(tile.shape[1]):
            t = (t0[i], t1[i], t2[i], t3[i])
            s0[i] = _add(s0[i], w, p0, t)
            s1[i] = _add(s1[i], w, p1, t)
            s2[i] = _add(s2[i], w, p2, t)
            s3[i] = _add(s3[i], w, p3, t)
    for c in range(_GROUP):
        for i in range(tile.shape[1]):
            sums[c, i] = offset + scale * sums[c, i]


@compiled
def _four(row, k):
    return row[k], row[k + 1], row[k + 2], row[k + 3]


@compiled
def _add(total, w, p, t):
    """Adds four units in their fixed order."""
    total += w[0] * _relu(p[0] + t[0])
    total += w[1] * _relu(p[1] + t[1])
    total += w[2] * _relu(p[2] + t[2])
    total += w[3] * _relu(p[3] + t[3])
    return total


@compiled
def _relu(x):
    return _ZERO if x < _ZERO else x  # in this order NaN stays NaN
