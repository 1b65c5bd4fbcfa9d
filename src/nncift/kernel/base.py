"""What an estimator's predictions must answer to be filled, looked up and averaged, whatever they are made of."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.lines import Lines


@runtime_checkable
class Kernel(Protocol):
    """All K[i, j] of m targets and n candidates, kept as factors until somebody needs the entries.

    NaN in a factor is NaN in everything that depends on it. `threads` is at most how many threads work at once, 0 for all
    cores; no result's bits depend on it.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): targets, candidates."""
        ...

    @property
    def flops(self) -> int:
        """Estimated floating-point operations of `fill`."""
        ...

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The whole kernel, candidate-major: `values[j, i] = K[i, j]`, C-contiguous and writable."""
        ...

    def lines(self) -> Lines:
        """The kernel candidate by candidate, never stored: each line has the bits that it has in `fill`."""
        ...

    def at(self, i: Int[ndarray, "L"], j: Int[ndarray, "L"]) -> Float32[ndarray, "L"]:
        """K[i, j] of some pairs, equal to `fill` up to float32 rounding.

        Raises:
            ConfigError: i and j differ in length, are no integers, or lie outside the kernel.
        """
        ...

    def candidate_means(self, threads: int = 0) -> Float64[ndarray, "n"]:
        """The mean of every candidate over all targets, summed in float64, in time linear in m + n.

        Raises:
            ConfigError: there is no target.
        """
        ...

    def target_means(self, threads: int = 0) -> Float64[ndarray, "m"]:
        """The mean of every target over all candidates, summed in float64, in time linear in m + n.

        Raises:
            ConfigError: there is no candidate.
        """
        ...


def checked_pairs(
    i: Int[ndarray, "L"], j: Int[ndarray, "L"], shape: tuple[int, int]
) -> tuple[Int[ndarray, "L"], Int[ndarray, "L"]]:
    """Pairs as int64, inside a kernel of that shape; compiled code would read past an array without a word.

    Raises:
        ConfigError: as `Kernel.at` says.
    """
    i, j = np.asarray(i), np.asarray(j)
    if i.ndim != 1 or i.shape != j.shape or i.dtype.kind not in "iu" or j.dtype.kind not in "iu":
        raise ConfigError(
            f"pairs are i {i.dtype} {i.shape} and j {j.dtype} {j.shape}; two equally long integer arrays are needed."
        )
    for name, positions, count in (("i (target)", i, shape[0]), ("j (candidate)", j, shape[1])):
        outside = np.flatnonzero((positions < 0) | (positions >= count))
        if len(outside):
            first = int(outside[0])
            raise ConfigError(
                f"{name} is {positions[first]} in pair {first}; the kernel has positions 0 to {count - 1}."
            )
    return i.astype(np.int64), j.astype(np.int64)


def refuse_empty(count: int, of: str) -> None:
    """Refuses a mean over nothing.

    Raises:
        ConfigError: the count is 0.
    """
    if not count:
        raise ConfigError(f"the kernel has no {of} to take a mean over; at least one is needed.")
