"""The low-rank kernel: hand-computed entries, and its promise of equal bits."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.kernel import tiles
from nncift.kernel.lowrank import LowRankKernel


def random_kernel(seed: int, *, n: int, m: int, r: int) -> LowRankKernel:
    rng = np.random.default_rng(seed)
    target, pool = (rng.normal(size=s).astype(np.float32) for s in ((m, r), (n, r)))
    return LowRankKernel(0.5, rng.normal(size=m), rng.normal(size=n), target, pool)


def test_hand_computed() -> None:
    target, pool = np.array([[1.0, 2.0], [0.0, -1.0]], np.float32), np.array([[3.0, 0.5], [0, 0], [1, 1]], np.float32)
    kernel = LowRankKernel(10.0, np.array([0.25, -1.0]), np.array([0.0, 100.0, -3.0]), target, pool)
    assert kernel.shape == (2, 3)
    assert kernel.fill().tolist() == [[14.25, 8.5], [110.25, 109.0], [10.25, 5.0]]
    assert kernel.at(np.array([1, 0]), np.array([2, 1])).tolist() == [5.0, 110.25]
    assert kernel.candidate_means().tolist() == [11.375, 109.625, 7.625]
    np.testing.assert_allclose(kernel.target_means(), [134.75 / 3, 122.5 / 3], rtol=1e-15)
    assert kernel.flops == 2 * 3 * (2 * 2 + 2)


def test_without_factors_only_the_effects_are_left() -> None:
    kernel = random_kernel(0, n=5, m=3, r=0)
    effects = 0.5 + kernel.column[:, None] + kernel.row[None]
    np.testing.assert_allclose(kernel.fill(), effects, rtol=1e-7)
    np.testing.assert_allclose(kernel.candidate_means(), effects.mean(1), rtol=1e-14)
    np.testing.assert_allclose(kernel.target_means(), effects.mean(0), rtol=1e-14)


def test_large_effects_cost_an_inner_product_one_rounding() -> None:
    """Ten million and minus ten million leave the product of the factors as it was; in float32 half a unit would be lost."""
    kernel = random_kernel(1, n=7, m=4, r=3)
    far = replace(kernel, offset=1e7, row=kernel.row - 1e7)
    plain = replace(kernel, offset=0.0)
    np.testing.assert_allclose(far.fill(), plain.fill(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("n", "m", "r"), [(203, 77, 11), (9, 1100, 5), (1, 2, 3), (66, 65, 64)])
def test_threads_tiles_and_neighbours_do_not_change_a_bit(
    n: int, m: int, r: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = random_kernel(2, n=n, m=m, r=r)
    alone = kernel.fill(threads=1)
    for threads in (0, 2, 5):
        assert kernel.fill(threads).tobytes() == alone.tobytes()
    for tile in (1, 64, 4096):
        monkeypatch.setattr(tiles, "TILE", tile)
        assert kernel.fill(threads=2).tobytes() == alone.tobytes()
    rows, columns = np.arange(n)[::-3], np.arange(m)[::-2]
    part = LowRankKernel(0.5, kernel.row[columns], kernel.column[rows], kernel.target[columns], kernel.pool[rows])
    assert part.fill().tobytes() == np.ascontiguousarray(alone[rows][:, columns]).tobytes()


def test_the_threads_of_the_linear_algebra_library_do_not_change_a_bit() -> None:
    code = (
        "import hashlib, numpy as np; from nncift.kernel.lowrank import LowRankKernel; rng = np.random.default_rng(0)\n"
        "target, pool = (rng.normal(size=(k, 70)).astype(np.float32) for k in (301, 517))\n"
        "kernel = LowRankKernel(0.5, rng.normal(size=301), rng.normal(size=517), target, pool)\n"
        "for x in (kernel.fill(), kernel.candidate_means(), kernel.target_means()):\n"
        "    print(hashlib.sha256(x.tobytes()).hexdigest())"
    )
    outs = []
    for count in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        outs.append(done.stdout.split())
    assert len(outs[0]) == 3 and outs[0] == outs[1]


def test_nan_reaches_all_that_depends_on_it_and_nothing_else() -> None:
    for name in ("pool", "column"):
        kernel = random_kernel(3, n=6, m=4, r=5)
        getattr(kernel, name)[2] = np.nan
        values, means = kernel.fill(), kernel.candidate_means()
        assert np.isnan(values[2]).all() and np.isfinite(np.delete(values, 2, axis=0)).all()
        assert np.isnan(means[2]) and np.isfinite(np.delete(means, 2)).all()
        assert np.isnan(kernel.target_means()).all()
        assert np.isnan(kernel.at(np.array([0, 0]), np.array([2, 3]))).tolist() == [True, False]
    kernel = random_kernel(3, n=6, m=4, r=5)
    kernel.target[1, 0], kernel.pool[:, 0] = np.nan, 0.0
    assert np.isnan(kernel.candidate_means()).all()
    kernel = random_kernel(3, n=6, m=4, r=5)
    kernel.target[:2, 0] = np.inf, -np.inf
    assert np.isnan(kernel.candidate_means()).all()


@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0)])
def test_empty_sides_give_empty_kernels_and_no_mean(n: int, m: int) -> None:
    kernel = random_kernel(4, n=n, m=m, r=3)
    assert kernel.fill().shape == (n, m)
    with pytest.raises(ConfigError, match="to take a mean over"):
        _ = kernel.target_means() if n == 0 else kernel.candidate_means()


def test_refuses_what_does_not_fit() -> None:
    good = random_kernel(5, n=3, m=2, r=4)
    with pytest.raises(ConfigError, match="row is float32"):
        replace(good, row=good.row.astype(np.float32))
    with pytest.raises(ConfigError, match="target is float64"):
        replace(good, target=good.target.astype(np.float64))
    with pytest.raises(
        ConfigError, match=r"pool is float32 \(2, 4\); a float32 array of 3 rows, as many as column has"
    ):
        replace(good, pool=good.pool[:2])
    with pytest.raises(ConfigError, match="target has 4 factors and pool 3"):
        replace(good, pool=good.pool[:, :3])
    with pytest.raises(ConfigError, match=r"j \(candidate\) is 3 in pair 1; the kernel has positions 0 to 2"):
        good.at(np.array([0, 1]), np.array([2, 3]))
    with pytest.raises(ConfigError, match=r"i \(target\) is -1 in pair 0"):
        good.at(np.array([-1]), np.array([2]))
    with pytest.raises(ConfigError, match="two equally long integer arrays"):
        good.at(np.array([1.0]), np.array([2]))
