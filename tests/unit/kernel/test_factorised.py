"""The factorised kernel against the network it stands for, and its promise of equal bits."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.kernel import tiles
from nncift.kernel.factorised import FactorisedKernel


def random_network(rng: np.random.Generator, *, n: int, m: int, d: int, h: int) -> tuple[FactorisedKernel, np.ndarray]:
    """A kernel from random first and second layers, and K from the concatenated pairs in float64."""
    pool, target = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    first, shift = rng.normal(size=(h, 2 * d + 1)) / np.sqrt(d), rng.normal(size=h)
    second, bias, scale, offset = rng.normal(size=h) / np.sqrt(h), 0.3, 2.5, -1.25
    naive = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            pair = np.concatenate([pool[j], [0.0], target[i]])
            naive[i, j] = offset + scale * (second @ np.maximum(first @ pair + shift, 0.0) + bias)
    a, b = first[:, :d], first[:, d + 1 :]
    kernel = FactorisedKernel(
        (pool @ a.T).astype(np.float32),
        (target @ b.T + shift).astype(np.float32),
        second.astype(np.float32),
        bias,
        scale,
        offset,
    )
    return kernel, naive


def random_kernel(seed: int, *, n: int, m: int, h: int) -> FactorisedKernel:
    rng = np.random.default_rng(seed)
    pool, target, weights = (rng.normal(size=s).astype(np.float32) for s in ((n, h), (m, h), (h,)))
    return FactorisedKernel(pool, target, weights, 0.5, 2.0, 1.0)


@pytest.mark.parametrize(("n", "m"), [(7, 5), (1, 3), (3, 1), (4, 64), (5, 65), (2, 700)])
@pytest.mark.parametrize("h", [1, 4, 7, 100])
def test_equals_the_forward_pass_on_concatenated_pairs(n: int, m: int, h: int) -> None:
    kernel, naive = random_network(np.random.default_rng(n * m + h), n=n, m=m, d=6, h=h)
    values = kernel.fill()
    assert kernel.shape == (m, n)
    assert values.shape == (n, m) and values.dtype == np.float32 and values.flags.c_contiguous
    np.testing.assert_allclose(values.T, naive, rtol=1e-5, atol=1e-5)


def test_hand_computed_absolute_difference() -> None:
    """First layer [[1, 9, −1], [−1, 9, 1]] and weights (1, 1) make |e_c − e_t|, whatever the separator's weight."""
    pool, target = np.array([[2.0], [0.0], [1.0]], np.float32), np.array([[0.5], [3.0]], np.float32)
    a, b = np.array([[1.0, -1.0]], np.float32), np.array([[-1.0, 1.0]], np.float32)
    kernel = FactorisedKernel(pool @ a, target @ b, np.ones(2, np.float32), 0.0)
    assert kernel.fill().tolist() == [[1.5, 1.0], [0.5, 3.0], [0.5, 2.0]]


def test_a_pointwise_network_is_one_target_row() -> None:
    kernel = random_kernel(0, n=130, m=1, h=10)
    expected = 1.0 + 2.0 * (np.maximum(kernel.pool + kernel.target[0], 0) @ kernel.weights + 0.5)
    np.testing.assert_allclose(kernel.fill()[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n", "m", "h"), [(203, 77, 11), (9, 1100, 5), (1, 1, 3)])
def test_threads_and_tiles_do_not_change_a_bit(n: int, m: int, h: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = random_kernel(1, n=n, m=m, h=h)
    alone = kernel.fill(threads=1)
    for threads in (0, 2, 5):
        assert kernel.fill(threads).tobytes() == alone.tobytes()
    for tile in (1, 64, 100, 4096):
        monkeypatch.setattr(tiles, "TILE", tile)
        assert kernel.fill(threads=2).tobytes() == alone.tobytes()


def test_a_line_has_the_bits_of_the_whole() -> None:
    kernel = random_kernel(2, n=60, m=130, h=9)
    whole, lines = kernel.fill(), kernel.lines()
    assert lines.shape == whole.shape == (60, 130)
    for which in (np.array([59, 3, 3, 17, 0]), np.arange(5, 42), np.array([], dtype=np.int64)):
        assert lines.take(which).tobytes() == whole[which].tobytes()


@pytest.mark.parametrize("shift", [0.0, 10.0, 1000.0])
def test_what_all_candidates_have_in_common_does_not_cancel(shift: float) -> None:
    """Moving a constant from candidates to targets is no other kernel, and no worse one than its factors are."""
    rng = np.random.default_rng(7)
    pool, target, weights = (rng.normal(size=size) for size in ((40, 30), (50, 30), (30,)))
    pool, target = (pool - shift).astype(np.float32), (target + shift).astype(np.float32)
    kernel = FactorisedKernel(pool, target, weights.astype(np.float32), 0.0)
    each = np.maximum(target[None].astype(np.float64) + pool[:, None], 0.0)
    added = np.abs(weights) @ np.ones(30) * (1.0 + shift)
    np.testing.assert_allclose(kernel.fill(), each @ kernel.weights.astype(np.float64), rtol=0, atol=2e-7 * added)


def test_nan_stays_nan_and_touches_nothing_else() -> None:
    kernel = random_kernel(3, n=6, m=4, h=5)
    kernel.pool[2, 1] = np.nan
    values = kernel.fill()
    assert np.isnan(values[2]).all()
    assert np.isfinite(np.delete(values, 2, axis=0)).all()


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0)])
def test_empty_sides_give_empty_kernels(n: int, m: int) -> None:
    assert random_kernel(4, n=n, m=m, h=3).fill().shape == (n, m)


def test_refuses_other_dtypes_and_widths() -> None:
    good = random_kernel(5, n=3, m=2, h=4)
    with pytest.raises(ConfigError, match="pool is float64"):
        FactorisedKernel(good.pool.astype(np.float64), good.target, good.weights, 0.0)
    with pytest.raises(ConfigError, match="hidden widths differ"):
        FactorisedKernel(good.pool, good.target, good.weights[:3], 0.0)
    with pytest.raises(ConfigError, match="threads is -1"):
        good.fill(threads=-1)
