"""A network of several hidden layers evaluated for all pairs: its first layer factorised, the deeper ones tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.base import checked_pairs, refuse_empty
from nncift.kernel.compiled import compiled, over_blocks
from nncift.kernel.lines import Lines
from nncift.kernel.tiles import GROUP, four, padded

_ZERO = np.float32(0.0)
_TILE = 64  # pairs that go through the layers side by side: 1,000 units of them take 256 KB
_SPAN = 1 << 16  # pairs whose values are kept at a time where only their means are asked for

_Parts = tuple[ndarray, ndarray, tuple[ndarray, ...], tuple[ndarray, ...], ndarray, np.float32, np.float32]
"""Both sides, layers and biases, the output's weights, and what makes labels of it."""


@dataclass(frozen=True, slots=True)
class DeepKernel:
    """K[i, j] = offset + scale · (w · x_L + bias), with x_1 = relu(target_i + pool_j) and x_l = relu(W_l x_(l-1) + b_l).

    Use it for a trained network of two hidden layers or more. Only the first layer falls apart into halves that are computed
    once a row; what is behind it costs its weights for every pair, and so does a mean: there are no suffix sums behind a
    second layer. A pointwise network is the same with one target row of first-layer biases (m = 1).

    Attributes:
        pool: float32 [n, h_1], what each pool row adds to the first hidden layer.
        target: float32 [m, h_1], what each target row adds, the first layer's bias included.
        layers: one or more, float32 [h_l, h_(l-1)].
        biases: float32 [h_l], one array for each of `layers`.
        weights: float32 [h_L], of the output.
        bias: of the output.
        scale: what a unit of the network's output is worth in label units.
        offset: the label that an output of zero stands for.

    Raises:
        ConfigError: an array is not float32, or the widths do not follow each other.

    *Cost*: fill takes 4 n m bytes and n m Σ h_l h_(l-1) fused multiply-adds, the means the same in memory that is linear in
    m + n; no language-model call.
    """

    pool: Float32[ndarray, "n h"]
    target: Float32[ndarray, "m h"]
    layers: tuple[Float32[ndarray, "g h"], ...]
    biases: tuple[Float32[ndarray, "g"], ...]
    weights: Float32[ndarray, "k"]
    bias: float
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        arrays = [(self.pool, 2), (self.target, 2), (self.weights, 1)]
        arrays += [*((layer, 2) for layer in self.layers), *((bias, 1) for bias in self.biases)]
        if any(array.dtype != np.float32 or array.ndim != axes for array, axes in arrays):
            raise ConfigError(
                "a deep kernel is made of float32 matrices, and of float32 vectors for biases and output."
            )
        widths = [self.pool.shape[1], *(len(layer) for layer in self.layers)]
        into = [*(layer.shape[1] for layer in self.layers), len(self.weights)]
        if not self.layers or widths != into or widths != [self.target.shape[1], *map(len, self.biases)]:
            raise ConfigError(
                f"the widths of the hidden layers differ: {widths} go into {into}. Take all from one network."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): targets, candidates."""
        return len(self.target), len(self.pool)

    @property
    def flops(self) -> int:
        """Of `fill`: a product and an addition per weight and pair, and two operations per hidden unit."""
        deeper = sum(2 * layer.size + 2 * len(layer) for layer in self.layers)
        return len(self.target) * len(self.pool) * (2 * self.pool.shape[1] + deeper + 2 * len(self.weights) + 2)

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The whole kernel, candidate-major: `values[j, i] = K[i, j]`, C-contiguous.

        It is no BLAS product, whose bits depend on the shape of a block: every entry goes through the same operations in the
        same order whatever stands beside it, so the bits are the same for any number of threads (0 means all cores).
        """
        m, n = self.shape
        values, parts = np.empty((n, m), dtype=np.float32), self._parts()
        flat = values.reshape(-1)

        def task(start: int, stop: int) -> None:
            _sweep(*parts, start * m, flat[start * m : stop * m])

        over_blocks(task, n, threads=threads)
        return values

    def lines(self) -> Lines:
        """See `Kernel.lines`."""
        return _Lines(self)

    def at(self, i: Int[ndarray, "L"], j: Int[ndarray, "L"]) -> Float32[ndarray, "L"]:
        """K[i, j] of some pairs, through the operations of `fill` in their order; see `Kernel.at`."""
        i, j = checked_pairs(i, j, self.shape)
        values = np.empty(len(i), dtype=np.float32)
        _at(*self._parts(), i, j, values)
        return values

    def candidate_means(self, threads: int = 0) -> Float64[ndarray, "n"]:
        """The mean of every candidate over all targets, from every pair; no more than a few rows are kept at a time."""
        m, n = self.shape
        refuse_empty(m, "target")
        means, parts = np.empty(n, dtype=np.float64), self._parts()

        def task(start: int, stop: int) -> None:
            for first, last in _spans(start, stop, max(1, _SPAN // m)):
                values = np.empty((last - first) * m, dtype=np.float32)
                _sweep(*parts, first * m, values)
                means[first:last] = values.astype(np.float64).reshape(-1, m).sum(axis=1) / m

        over_blocks(task, n, threads=threads)
        return means

    def target_means(self, threads: int = 0) -> Float64[ndarray, "m"]:
        """The mean of every target over all candidates; the sides only change their names."""
        refuse_empty(self.shape[1], "candidate")
        return replace(self, pool=self.target, target=self.pool).candidate_means(threads)

    def _parts(self) -> _Parts:
        """What the compiled code reads, padded to whole groups: a unit of zero weights adds exactly zero."""
        layers = tuple(padded(layer, -(-len(layer) // GROUP) * GROUP) for layer in self.layers)
        biases = tuple(padded(bias[None], 1)[0] for bias in self.biases)
        sides = padded(self.pool, len(self.pool)), padded(self.target, len(self.target))
        output = padded(self.weights[None], 1)[0]
        return *sides, layers, biases, output, np.float32(self.scale), np.float32(self.offset + self.scale * self.bias)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of a deep network."""

    kernel: DeepKernel

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.kernel.pool), len(self.kernel.target)

    def take(self, which: Int[ndarray, " b"]) -> Float32[ndarray, "b r"]:
        return replace(self.kernel, pool=self.kernel.pool[which]).fill(threads=1)

    def pick(self, which: Int[ndarray, " k"]) -> Lines:
        return _Lines(replace(self.kernel, pool=self.kernel.pool[which]))


def _spans(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


@compiled
def _sweep(pool, target, layers, biases, weights, scale, offset, first, values):
    """Fills consecutive pairs, candidate by candidate; pair `first` comes first."""
    m = len(target)
    i, j = np.empty(_TILE, dtype=np.int64), np.empty(_TILE, dtype=np.int64)
    here, there = _rooms(pool, layers)
    for start in range(0, len(values), _TILE):
        count = min(_TILE, len(values) - start)
        for c in range(count):
            j[c], i[c] = divmod(first + start + c, m)
        _tile(pool, target, layers, biases, weights, scale, offset, i, j, here, there, values[start : start + count])


@compiled
def _at(pool, target, layers, biases, weights, scale, offset, i, j, values):
    here, there = _rooms(pool, layers)
    for start in range(0, len(values), _TILE):
        part = slice(start, min(start + _TILE, len(values)))
        _tile(pool, target, layers, biases, weights, scale, offset, i[part], j[part], here, there, values[part])


@compiled
def _rooms(pool, layers):
    """Two places that layers are written to by turns."""
    widest = pool.shape[1]
    for layer in layers:
        widest = max(widest, layer.shape[0])
    return np.zeros((widest, _TILE), dtype=np.float32), np.zeros((widest, _TILE), dtype=np.float32)


@compiled
def _tile(pool, target, layers, biases, weights, scale, offset, i, j, here, there, values):
    """One tile of pairs through all layers; places beyond its last pair keep what they held and are not read."""
    for c in range(len(values)):
        p, t = pool[j[c]], target[i[c]]
        for k in range(len(p)):
            here[k, c] = _relu(p[k] + t[k])
    for place in range(len(layers)):
        _layer(layers[place], biases[place], here, there)
        here, there = there, here
    for c in range(len(values)):
        total = _ZERO
        for k in range(len(weights)):
            total += weights[k] * here[k, c]
        values[c] = offset + scale * total


@compiled
def _layer(layer, bias, here, there):
    """Four units of the next layer at a time, four of this one: a load and a store of a sum per four fused steps."""
    for unit in range(0, layer.shape[0], GROUP):
        s0, s1, s2, s3 = there[unit], there[unit + 1], there[unit + 2], there[unit + 3]
        b0, b1, b2, b3 = four(bias, unit)
        s0[:], s1[:], s2[:], s3[:] = b0, b1, b2, b3
        for k in range(0, layer.shape[1], GROUP):
            w0, w1, w2, w3 = (
                four(layer[unit], k),
                four(layer[unit + 1], k),
                four(layer[unit + 2], k),
                four(layer[unit + 3], k),
            )
            x0, x1, x2, x3 = here[k], here[k + 1], here[k + 2], here[k + 3]
            for c in range(_TILE):
                x = (x0[c], x1[c], x2[c], x3[c])
                s0[c] = _add(s0[c], w0, x)
                s1[c] = _add(s1[c], w1, x)
                s2[c] = _add(s2[c], w2, x)
                s3[c] = _add(s3[c], w3, x)
        for row in (s0, s1, s2, s3):
            for c in range(_TILE):
                row[c] = _relu(row[c])


@compiled
def _add(total, w, x):
    """Adds four units in their fixed order."""
    total += w[0] * x[0]
    total += w[1] * x[1]
    total += w[2] * x[2]
    total += w[3] * x[3]
    return total


@compiled
def _relu(x):
    return _ZERO if x < _ZERO else x  # in this order NaN stays NaN
