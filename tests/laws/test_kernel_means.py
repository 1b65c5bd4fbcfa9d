"""Linear-time means against every pair in float64, for every kernel, at random sizes and with ties everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncift.kernel.base import Kernel
from nncift.kernel.corrected import CorrectedKernel
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.lowrank import LowRankKernel
from nncift.objective.base import Kernels

Case = tuple[Kernel, np.ndarray, np.ndarray]
"""A kernel, its K [m, n] in float64 pair by pair, and the size of what is added up in each pair."""


def network(rng: np.random.Generator, m: int, n: int, width: int) -> Case:
    """Small whole numbers: target = −pool happens all the time, and so do weights of zero."""
    target, pool = (rng.integers(-3, 4, size=(rows, width)) / 2 for rows in (m, n))
    if rng.random() < 0.5:
        target, pool = target + rng.normal(size=target.shape) * 3, pool * rng.uniform(0, 3)
    target, pool = target.astype(np.float32), pool.astype(np.float32)
    weights = (rng.normal(size=width) * rng.integers(0, 2, size=width)).astype(np.float32)
    bias, scale, offset = rng.normal(size=3).tolist()
    each = np.maximum(target[:, None].astype(np.float64) + pool[None], 0.0) * weights.astype(np.float64)
    moved, middle = pool - pool.mean(axis=0), pool.mean(axis=0)
    added = (
        np.abs(np.maximum(target[:, None] + middle, -moved[None])) + np.abs(moved)[None]
    )  # relu(t + p) = max(t, -p) + p
    size = abs(offset) + abs(scale) * ((added * np.abs(weights)).sum(axis=2) + abs(bias))
    kernel = FactorisedKernel(pool, target, weights, bias, scale, offset)
    return kernel, offset + scale * (each.sum(axis=2) + bias), size


def low_rank(rng: np.random.Generator, m: int, n: int, width: int) -> Case:
    target, pool = (rng.normal(size=(rows, width)).astype(np.float32) for rows in (m, n))
    row, column, offset = rng.normal(size=m), rng.normal(size=n), float(rng.normal() * 10)
    effects = offset + row[:, None] + column[None]
    each = target[:, None].astype(np.float64) * pool[None]
    size = abs(offset) + np.abs(row)[:, None] + np.abs(column)[None] + np.abs(each).sum(axis=2)
    return LowRankKernel(offset, row, column, target, pool), effects + each.sum(axis=2), size


def corrected(rng: np.random.Generator, m: int, n: int, width: int) -> Case:
    base, truth, size = (network if rng.random() < 0.5 else low_rank)(rng, m, n, width)
    i, j = np.nonzero(rng.random((m, n)) < rng.random() ** 2)
    y = (rng.normal(size=len(i)) * 5).astype(np.float32)
    truth[i, j], size[i, j] = y, np.abs(y) + size[i, j]
    return CorrectedKernel(base, i.astype(np.int32), j.astype(np.int32), y), truth, size


SOME = pytest.mark.parametrize("make", [network, low_rank, corrected])
Make = Callable[[np.random.Generator, int, int, int], Case]


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """seed, m, n, width; m and n differ, and one of them is often 1."""
    m, n = draw(st.one_of(st.just(1), st.integers(1, 300))), draw(st.one_of(st.just(2), st.integers(1, 300)))
    return draw(st.integers(0, 2**32 - 1)), m, n + (m == n), draw(st.integers(0, 9))


@SOME
@settings(deadline=None, max_examples=60)
@given(size=sizes())
def test_means_are_those_of_all_pairs(make: Make, size: tuple[int, int, int, int]) -> None:
    seed, m, n, width = size
    kernel, truth, added = make(np.random.default_rng(seed), m, n, width)
    assert isinstance(kernel, Kernel) and kernel.shape == (m, n)
    # float64 sums leave 1e-15 of what is added; a prediction taken out of a mean was rounded to float32 before
    allowed = 2e-7 if make is corrected else 1e-12
    for axis, means in ((0, kernel.candidate_means()), (1, kernel.target_means())):
        assert means.dtype == np.float64 and means.shape == (kernel.shape[1 - axis],)
        np.testing.assert_array_less(np.abs(means - truth.mean(axis)), allowed * added.mean(axis) + 1e-300)


@SOME
@settings(deadline=None, max_examples=40)
@given(size=sizes())
def test_fill_and_at_are_the_pairs_themselves(make: Make, size: tuple[int, int, int, int]) -> None:
    seed, m, n, width = size
    rng = np.random.default_rng(seed)
    kernel, truth, added = make(rng, m, n, width)
    values = kernel.fill()
    assert values.dtype == np.float32 and values.shape == (n, m) and values.flags.c_contiguous
    np.testing.assert_array_less(np.abs(values.T - truth), 1e-6 * added + 1e-300)
    i, j = rng.integers(0, m, 50), rng.integers(0, n, 50)
    found = kernel.at(i, j)
    assert found.dtype == np.float32
    np.testing.assert_array_less(np.abs(found - values[j, i]), 1e-6 * added[i, j] + 1e-300)


@SOME
@pytest.mark.parametrize(("m", "n"), [(1, 700), (700, 1), (65, 1030), (1030, 65)])
def test_threads_do_not_change_a_bit(make: Make, m: int, n: int) -> None:
    kernel, _, _ = make(np.random.default_rng(m), m, n, 7)
    for result in (kernel.fill, kernel.candidate_means, kernel.target_means):
        alone = result(threads=1)
        for threads in (0, 2, 5):
            assert result(threads=threads).tobytes() == alone.tobytes()


@settings(deadline=None, max_examples=100)
@given(size=sizes())
def test_labels_and_masks_give_the_means_of_the_dense_path(size: tuple[int, int, int, int]) -> None:
    seed, m, n, width = size
    rng = np.random.default_rng(seed)
    plain, _, added = corrected(rng, m, n, width)
    assert isinstance(plain, CorrectedKernel)
    masked = rng.random((m, n)) < rng.random() ** 2
    masked[:, rng.random(n) < rng.choice([0.0, 0.1, 1.0])] = True
    pairs = np.argwhere(masked)
    pairs = np.concatenate([pairs, pairs[::3]])  # a pair may be said twice
    kernel = CorrectedKernel(plain.base, plain.i, plain.j, plain.y, pairs)
    values = plain.fill()
    dense = Kernels.dense(values.copy(), masked=pairs).means
    np.testing.assert_allclose(kernel.candidate_means(), dense, rtol=1e-6, atol=1e-6 * added.max())
    turned = Kernels.dense(values.T.copy(), masked=pairs[:, ::-1].copy()).means
    np.testing.assert_allclose(kernel.target_means(), turned, rtol=1e-6, atol=1e-6 * added.max())
    assert kernel.fill().tobytes() == values.tobytes()
