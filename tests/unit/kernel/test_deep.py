"""The deep kernel against the layers it stands for, and its promise of equal bits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.kernel.base import Kernel
from nncift.kernel.deep import DeepKernel


def random_kernel(seed: int, *, n: int, m: int, widths: tuple[int, ...]) -> tuple[DeepKernel, np.ndarray]:
    """A kernel of some hidden layers, and its K [m, n] in float64, pair by pair."""
    rng = np.random.default_rng(seed)
    pool, target = (rng.normal(size=(rows, widths[0])).astype(np.float32) for rows in (n, m))
    layers = tuple((rng.normal(size=(out, into)) / np.sqrt(into)).astype(np.float32) for into, out in pairwise(widths))
    biases = tuple(rng.normal(size=out).astype(np.float32) for out in widths[1:])
    weights = (rng.normal(size=widths[-1]) / np.sqrt(widths[-1])).astype(np.float32)
    x = np.maximum(target[:, None].astype(np.float64) + pool[None], 0)
    for layer, bias in zip(layers, biases, strict=True):
        x = np.maximum(x @ layer.T.astype(np.float64) + bias, 0)
    return DeepKernel(pool, target, layers, biases, weights, 0.5, 2.0, 1.0), 1 + 2 * (x @ weights + 0.5)


SIZES = [(7, 5), (1, 3), (3, 1), (130, 1), (5, 65), (2, 700)]


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("widths", [(1, 1), (4, 7), (20, 9, 13), (5, 3, 2, 6)])
def test_equals_the_layers_pair_by_pair(n: int, m: int, widths: tuple[int, ...]) -> None:
    kernel, exact = random_kernel(n * m, n=n, m=m, widths=widths)
    values = kernel.fill()
    assert isinstance(kernel, Kernel) and kernel.shape == (m, n)
    assert values.shape == (n, m) and values.dtype == np.float32 and values.flags.c_contiguous
    np.testing.assert_allclose(values.T, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernel.candidate_means(), exact.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernel.target_means(), exact.mean(axis=1), rtol=1e-5, atol=1e-5)


def test_hand_computed_square_of_steps() -> None:
    """x₁ = relu(c − t), relu(t − c); x₂ = relu(|c − t| − 1); K = 3 x₂ − 1."""
    pool, target = np.array([[2.0], [0.0], [1.0]], np.float32), np.array([[0.5], [3.0]], np.float32)
    halves = np.array([[1.0, -1.0]], np.float32)
    once, shift = np.ones((1, 2), np.float32), -np.ones(1, np.float32)
    kernel = DeepKernel(pool @ halves, target @ -halves, (once,), (shift,), np.array([3.0], np.float32), 0.0, 1.0, -1.0)
    assert kernel.fill().tolist() == [[0.5, -1.0], [-1.0, 5.0], [-1.0, 2.0]]


@pytest.mark.parametrize(("n", "m"), [(203, 77), (9, 110), (1, 3), (130, 1)])
def test_threads_and_neighbours_do_not_change_a_bit(n: int, m: int) -> None:
    kernel, _ = random_kernel(1, n=n, m=m, widths=(11, 6, 9))
    for result in (kernel.fill, kernel.candidate_means, kernel.target_means):
        alone = result(threads=1)
        for threads in (0, 2, 5):
            assert result(threads=threads).tobytes() == alone.tobytes()
    whole = kernel.fill()
    rows = np.array([n - 1, 0, n // 2])
    part = replace(kernel, pool=kernel.pool[rows])
    assert part.fill().tobytes() == whole[rows].tobytes()
    assert part.candidate_means().tobytes() == kernel.candidate_means()[rows].tobytes()
    i, j = np.random.default_rng(2).integers(0, (m, n), (150, 2)).T
    assert kernel.at(i, j).tobytes() == whole[j, i].tobytes()


def test_nan_stays_nan_and_touches_nothing_else() -> None:
    kernel, _ = random_kernel(3, n=6, m=4, widths=(5, 3))
    kernel.pool[2, 1] = np.nan
    values = kernel.fill()
    assert np.isnan(values[2]).all() and np.isfinite(np.delete(values, 2, axis=0)).all()


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0)])
def test_empty_sides_give_empty_kernels_and_no_means(n: int, m: int) -> None:
    kernel, _ = random_kernel(4, n=n, m=m, widths=(3, 2))
    assert kernel.fill().shape == (n, m)
    with pytest.raises(ConfigError, match="no target" if m == 0 else "no candidate"):
        (kernel.candidate_means if m == 0 else kernel.target_means)()


def test_counts_its_operations() -> None:
    kernel, _ = random_kernel(5, n=3, m=2, widths=(10, 7))
    assert kernel.flops == 6 * (2 * 10 + 2 * 70 + 2 * 7 + 2 * 7 + 2)


def test_refuses_other_dtypes_and_widths() -> None:
    good, _ = random_kernel(6, n=3, m=2, widths=(4, 5))
    with pytest.raises(ConfigError, match="float32"):
        replace(good, pool=good.pool.astype(np.float64))
    with pytest.raises(ConfigError, match=r"\[4, 5\] go into \[4, 3\]"):
        replace(good, weights=good.weights[:3])
    with pytest.raises(ConfigError, match="widths of the hidden layers differ"):
        replace(good, layers=(), biases=())
    with pytest.raises(ConfigError, match="widths of the hidden layers differ"):
        replace(good, target=good.target[:, :3])
    with pytest.raises(ConfigError, match="threads is -1"):
        good.fill(threads=-1)
