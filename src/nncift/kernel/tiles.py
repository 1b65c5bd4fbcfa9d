"""How factors are laid out for the compiled fills: candidates in groups of four, targets in tiles that stay in the cache.

Code compiled from other files takes `GROUP` and `four` in: after a change here numba's kept code must be deleted.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from nncift.kernel.compiled import compiled

GROUP = 4  # candidates that share one walk over a tile, and factors taken together
LANES = 64  # tiles are whole multiples of four of the widest registers, so that no entry goes through a scalar tail
_LINE = 64  # bytes
TILE = 512  # target columns per tile: at h = 100 the tile takes 200 KB and stays in the second-level cache


def padded(array: Float32[ndarray, "rows h"], rows: int) -> Float32[ndarray, "rows_padded h_padded"]:
    """The array with zero rows and zero factors added: a factor of zero adds exactly zero."""
    wider = np.zeros((rows, -(-array.shape[1] // GROUP) * GROUP), dtype=np.float32)
    wider[: array.shape[0], : array.shape[1]] = array
    return wider


def groups(pool: Float32[ndarray, "n h"]) -> Float32[ndarray, "n_padded h_padded"]:
    """The factors of the candidates, padded to whole groups."""
    return padded(pool, -(-len(pool) // GROUP) * GROUP)


def tiles(target: Float32[ndarray, "m h"]) -> Float32[ndarray, "tiles h_padded width"]:
    """The factors of the targets cut into tiles of equal width, each stored factor by factor so that targets are
    contiguous."""
    count = max(1, -(-len(target) // TILE))
    width = max(1, -(-len(target) // (count * LANES))) * LANES
    wider = padded(target, count * width)
    laid = aligned((count, wider.shape[1], width))
    laid[:] = wider.reshape(count, width, -1).transpose(0, 2, 1)
    return laid


def aligned(shape: tuple[int, ...]) -> Float32[ndarray, "..."]:
    """Memory that begins with a cache line, so that no register is loaded from two of them."""
    size = 4 * math.prod(shape)
    room = np.empty(size + _LINE, dtype=np.uint8)
    first = -room.ctypes.data % _LINE
    return room[first : first + size].view(np.float32).reshape(shape)


@compiled
def four(row, k):
    """Four neighbours as scalars, which stay in registers."""
    return row[k], row[k + 1], row[k + 2], row[k + 3]
