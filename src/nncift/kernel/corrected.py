"""Sparse corrections of a kernel: exact labels in place of predictions, and pairs that do not count."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.kernel.base import Kernel, checked_pairs, refuse_empty
from nncift.kernel.lines import MASKED, Lines, PatchedLines


def _no_pairs() -> Int[ndarray, "0 2"]:
    return np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class CorrectedKernel:
    """A kernel in which some pairs are known exactly and some do not count.

    Use it where labels replace the predictions of their pairs, and where a candidate has the text of a target. `fill`,
    `at` and the means hold the labels. Masked pairs are left out of the means, labelled or not; `fill` and `at` leave in
    them what they find, as objectives expect. A candidate (or target) without an unmasked pair gets the lowest finite mean
    of the others, 0 where there is none, as in the mean influence of a dense kernel.

    Attributes:
        base: predicts every pair.
        i, j: int [L], target and candidate of each label; no pair twice.
        y: float [L], the label, taken as float32.
        masked: int [p, 2], pairs (i, j) that do not count; a pair may stand there twice.

    Raises:
        ConfigError: a pair lies outside the kernel or is labelled twice, or the lengths differ.

    *Cost*: beside the base's own, O(L + p) predictions by `at` and a sort of the pairs.
    """

    base: Kernel
    i: Int[ndarray, "L"]
    j: Int[ndarray, "L"]
    y: Float[ndarray, "L"]
    masked: Int[ndarray, "p 2"] = field(default_factory=_no_pairs)

    def __post_init__(self) -> None:
        i, j = checked_pairs(self.i, self.j, self.shape)
        if self.y.shape != i.shape or self.y.dtype.kind != "f":
            raise ConfigError(
                f"y is {self.y.dtype} {self.y.shape}; one float label for each of {len(i)} pairs is needed."
            )
        if self.masked.ndim != 2 or self.masked.shape[1] != 2:
            raise ConfigError(f"masked has shape {self.masked.shape}; rows (i, j) are needed.")
        checked_pairs(self.masked[:, 0], self.masked[:, 1], self.shape)
        unique, counts = np.unique(self._keys(i, j), return_counts=True)
        if len(unique) < len(i):
            j_twice, i_twice = divmod(int(unique[counts > 1][0]), self.shape[0])
            raise ConfigError(f"target {i_twice} with candidate {j_twice} has more than one label; keep one of them.")

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n): targets, candidates."""
        return self.base.shape

    @property
    def flops(self) -> int:
        """Of `fill`: the base's; writing labels takes none."""
        return self.base.flops

    def fill(self, threads: int = 0) -> Float32[ndarray, "n m"]:
        """The base's kernel with the labels written over it; see `Kernel.fill`."""
        values = self.base.fill(threads)
        values[self.j, self.i] = self.y
        return values

    def lines(self) -> Lines:
        """The base's lines with the labels in place, `MASKED` in masked pairs, and means in linear time."""
        return _Lines(self)

    def at(self, i: Int[ndarray, "L2"], j: Int[ndarray, "L2"]) -> Float32[ndarray, "L2"]:
        """The label where the pair has one, the base's prediction elsewhere; see `Kernel.at`."""
        i, j = checked_pairs(i, j, self.shape)
        values = self.base.at(i, j)
        if len(self.y):
            known, asked = self._keys(self.i, self.j), self._keys(i, j)
            order = np.argsort(known)
            nearest = order[np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)]
            values = np.where(known[nearest] == asked, self.y[nearest].astype(np.float32), values)
        return values

    def candidate_means(self, threads: int = 0) -> Float64[ndarray, "n"]:
        """The mean of every candidate over its unmasked targets; see `Kernel.candidate_means`.

        Where a prediction is not finite neither is the mean, unless most of the candidate's pairs are corrected.
        """
        refuse_empty(self.shape[0], "target")
        return self._means(self.base.candidate_means(threads), of_candidates=True)

    def target_means(self, threads: int = 0) -> Float64[ndarray, "m"]:
        """The mean of every target over its unmasked candidates; see `candidate_means`."""
        refuse_empty(self.shape[1], "candidate")
        return self._means(self.base.target_means(threads), of_candidates=False)

    def _means(self, means: Float64[ndarray, "q"], *, of_candidates: bool) -> Float64[ndarray, "q"]:
        """Moves the base's means: out with the predictions of corrected pairs, in with the labels that count.

        Where more pairs are corrected than not, the rest are summed directly: that is shorter, and does not take a large
        sum from another.
        """
        m = self.shape[0]
        width, lines = self.shape if of_candidates else self.shape[::-1]
        labelled, masked = self._keys(self.i, self.j), np.unique(self._keys(self.masked[:, 0], self.masked[:, 1]))
        counts = ~np.isin(labelled, masked)
        j, i = np.divmod(np.union1d(labelled, masked), m)
        line, across = (j, i) if of_candidates else (i, j)
        exact = _sums((self.j if of_candidates else self.i)[counts], self.y[counts].astype(np.float32), lines)
        left = width - np.bincount(masked // m if of_candidates else masked % m, minlength=lines)
        corrected = np.bincount(line, minlength=lines)
        mostly = 2 * corrected > width

        few = ~mostly[line]
        means = means.copy()
        with np.errstate(invalid="ignore"):  # infinities of both signs make NaN, which says it all
            predicted = width * means - _sums(line[few], self.base.at(i[few], j[few]), lines)
            rest = _rest(line[~few], across[~few], mostly, width)
            values = self.base.at(*(rest[::-1] if of_candidates else rest))
            predicted[mostly] = _sums(rest[0], values, lines)[mostly]
            moved = (corrected > 0) & (left > 0)
            means[moved] = (predicted[moved] + exact[moved]) / left[moved]
        finite = means[(left > 0) & np.isfinite(means)]
        means[left == 0] = finite.min() if len(finite) else 0.0
        return means

    def _keys(self, i: Int[ndarray, "L2"], j: Int[ndarray, "L2"]) -> Int[ndarray, "L2"]:
        """One number per pair."""
        return np.asarray(j, dtype=np.int64) * self.shape[0] + np.asarray(i, dtype=np.int64)


class _Lines(PatchedLines):
    """Lines of a corrected kernel."""

    def __init__(self, kernel: CorrectedKernel) -> None:
        i, j = (np.concatenate(axis) for axis in zip((kernel.i, kernel.j), kernel.masked.T, strict=True))
        nothing = np.full(len(kernel.masked), MASKED)
        super().__init__(kernel.base.lines(), i, j, np.concatenate([kernel.y.astype(np.float32), nothing]))
        self._kernel = kernel

    def means(self, threads: int = 0) -> Float64[ndarray, " n"]:
        """The mean of each candidate over the rows that count."""
        return self._kernel.candidate_means(threads)


def _sums(line: Int[ndarray, "L"], values: Float[ndarray, "L"], lines: int) -> Float64[ndarray, "q"]:
    """The sum of the values of every line, in float64 and in their order."""
    return np.bincount(line, weights=values.astype(np.float64), minlength=lines)


def _rest(
    line: Int[ndarray, "L"], across: Int[ndarray, "L"], wanted: Bool[ndarray, "q"], width: int
) -> tuple[Int[ndarray, "R"], Int[ndarray, "R"]]:
    """(line, across) of all pairs of the wanted lines that are not among the given ones."""
    which = np.flatnonzero(wanted)
    place = np.zeros(len(wanted), dtype=np.int64)
    place[which] = np.arange(len(which))
    rest = np.ones((len(which), width), dtype=bool)
    rest[place[line], across] = False
    row, column = np.nonzero(rest)
    return which[row], column
