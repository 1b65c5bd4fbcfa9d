"""Labels and masks on top of a kernel, by hand and at the edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.kernel.base import Kernel
from nncift.kernel.corrected import CorrectedKernel
from nncift.kernel.lowrank import LowRankKernel

NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Table:
    """A kernel of given entries [n, m] that counts how many were looked up."""

    values: np.ndarray
    asked: list[int]

    @property
    def shape(self) -> tuple[int, int]:
        n, m = self.values.shape
        return m, n

    @property
    def flops(self) -> int:
        return 17

    def fill(self, threads: int = 0) -> np.ndarray:
        return self.values.copy()

    def at(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        self.asked.append(len(i))
        return self.values[j, i]

    def candidate_means(self, threads: int = 0) -> np.ndarray:
        return self.values.mean(axis=1, dtype=np.float64)

    def target_means(self, threads: int = 0) -> np.ndarray:
        return self.values.mean(axis=0, dtype=np.float64)


def table() -> Table:
    """K of four targets (columns) and three candidates (rows)."""
    return Table(np.array([[1, 2, 3, 6], [0, 0, 4, 4], [-1, -1, -1, -1]], np.float32), [])


def test_labels_take_the_place_of_predictions() -> None:
    base = table()
    kernel = CorrectedKernel(base, np.array([3, 0]), np.array([0, 2]), np.array([10.0, 3.0], np.float32))
    assert isinstance(kernel, Kernel) and kernel.shape == (4, 3) and kernel.flops == 17
    assert kernel.fill().tolist() == [[1, 2, 3, 10], [0, 0, 4, 4], [3, -1, -1, -1]]
    assert kernel.candidate_means().tolist() == [4.0, 2.0, 0.0]
    assert kernel.target_means().tolist() == pytest.approx([4 / 3, 1 / 3, 2.0, 13 / 3])
    assert kernel.at(np.array([3, 2, 0]), np.array([0, 0, 2])).tolist() == [10.0, 3.0, 3.0]
    assert base.values[0, 3] == 6.0


def test_masked_pairs_are_left_out_labelled_or_not() -> None:
    masked = np.array([[3, 0], [0, 1], [1, 1], [2, 1], [3, 0]])
    kernel = CorrectedKernel(table(), np.array([3, 3]), np.array([0, 1]), np.array([99.0, 7.0], np.float32), masked)
    assert kernel.candidate_means().tolist() == [2.0, 7.0, -1.0]
    assert kernel.target_means().tolist() == [0.0, 0.5, 1.0, 3.0]
    assert kernel.fill()[0, 3] == 99.0


def test_what_has_no_pair_left_gets_the_lowest_mean() -> None:
    all_of_first = np.array([[i, 0] for i in range(4)])
    nothing = np.empty(0, np.float32)
    kernel = CorrectedKernel(table(), NONE, NONE, nothing, all_of_first)
    assert kernel.candidate_means().tolist() == [-1.0, 2.0, -1.0]
    everything = np.array([[i, j] for i in range(4) for j in range(3)])
    kernel = CorrectedKernel(table(), NONE, NONE, nothing, everything)
    assert kernel.candidate_means().tolist() == [0.0] * 3 and kernel.target_means().tolist() == [0.0] * 4


def test_a_few_unmasked_pairs_are_summed_and_not_what_is_left_of_a_large_sum() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 999)).astype(np.float32)
    values[1, :998], values[1, 998] = 1e20, 0.125
    base = Table(values, [])
    masked = np.array([[i, 1] for i in range(998)])
    kernel = CorrectedKernel(base, NONE, NONE, np.empty(0, np.float32), masked)
    assert kernel.candidate_means()[1] == 0.125
    assert sum(base.asked) == 1


def test_predictions_are_looked_up_only_where_pairs_are_corrected() -> None:
    base = Table(np.random.default_rng(1).normal(size=(40, 1000)).astype(np.float32), [])
    i, j = np.arange(30), np.arange(30)
    kernel = CorrectedKernel(base, i, j, np.zeros(30, np.float32), np.array([[5, 5], [6, 7]]))
    kernel.candidate_means(), kernel.target_means()
    assert max(base.asked) <= 31


def test_untouched_candidates_keep_their_bits() -> None:
    rng = np.random.default_rng(2)
    target, pool = (rng.normal(size=(k, 3)).astype(np.float32) for k in (7, 50))
    base = LowRankKernel(1.0, rng.normal(size=7), rng.normal(size=50), target, pool)
    kernel = CorrectedKernel(base, np.array([2]), np.array([4]), np.array([5.0], np.float32))
    changed = kernel.candidate_means() != base.candidate_means()
    assert np.flatnonzero(changed).tolist() == [4]


def test_nan_is_not_silenced() -> None:
    base = table()
    base.values[0, 1] = np.nan
    kernel = CorrectedKernel(base, np.array([0, 2]), np.array([0, 2]), np.array([0.0, np.nan], np.float32))
    assert np.isnan(kernel.candidate_means()).tolist() == [True, False, True]
    assert np.isnan(kernel.at(np.array([1, 2]), np.array([0, 2]))).all()
    masked = np.array([[i, 1] for i in range(4)])
    kernel = CorrectedKernel(base, NONE, NONE, np.empty(0, np.float32), masked)
    assert kernel.candidate_means()[1:].tolist() == [-1.0, -1.0]


def test_refuses_what_does_not_fit() -> None:
    one = np.array([1])
    y = np.ones(1, np.float32)
    with pytest.raises(ConfigError, match=r"i \(target\) is 4 in pair 0; the kernel has positions 0 to 3"):
        CorrectedKernel(table(), np.array([4]), one, y)
    with pytest.raises(ConfigError, match=r"j \(candidate\) is 3"):
        CorrectedKernel(table(), one, one, y, np.array([[1, 3]]))
    with pytest.raises(ConfigError, match="one float label for each of 1 pairs"):
        CorrectedKernel(table(), one, one, np.ones(2, np.float32))
    with pytest.raises(ConfigError, match=r"rows \(i, j\) are needed"):
        CorrectedKernel(table(), one, one, y, np.array([1, 2, 3]))
    with pytest.raises(ConfigError, match="target 3 with candidate 1 has more than one label"):
        CorrectedKernel(table(), np.array([3, 0, 3]), np.array([1, 1, 1]), np.ones(3, np.float32))
