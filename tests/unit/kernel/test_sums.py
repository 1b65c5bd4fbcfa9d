"""Frozen sides: hand-computed sums, what is kept of them, rows that arrive later, and values that are no numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nncift.data.arrays import read_npz, write_npz
from nncift.errors import ConfigError, RunError
from nncift.kernel import sums
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.sums import FrozenSide


def random_kernel(seed: int, *, n: int, m: int, h: int) -> FactorisedKernel:
    rng = np.random.default_rng(seed)
    pool, target, weights = (rng.normal(size=s).astype(np.float32) for s in ((n, h), (m, h), (h,)))
    return FactorisedKernel(pool, target, weights, 0.5, 2.0, 1.0)


def brute(kernel: FactorisedKernel) -> np.ndarray:
    """K [m, n] in float64, unit by unit."""
    total = np.full(kernel.shape, kernel.bias)
    for k, weight in enumerate(kernel.weights.astype(np.float64)):
        x = kernel.target[:, None, k].astype(np.float64) + kernel.pool[None, :, k]
        with np.errstate(invalid="ignore"):
            total += weight * np.where(x < 0, 0.0, x)
    return kernel.offset + kernel.scale * total


def test_hand_computed_with_a_tie_and_a_weight_of_zero() -> None:
    """relu over targets (−1, 2, 3) is (0, 1, 2) at −1, a tie at 1, and (0, 0, 0) at −3, another tie."""
    target = np.array([[3.0, 5.0], [-1.0, 5.0], [2.0, 5.0]], np.float32)
    pool = np.array([[-1.0, 0.0], [1.0, 0.0], [-3.0, 0.0], [-9.0, 9.0]], np.float32)
    kernel = FactorisedKernel(pool, target, np.array([2.0, 0.0], np.float32), 0.5, 3.0, -1.0)
    assert kernel.candidate_means().tolist() == [-1 + 3 * (x + 0.5) for x in (2.0, 14 / 3, 0.0, 0.0)]
    assert kernel.target_means().tolist() == [-1 + 3 * (x / 4 + 0.5) for x in (2 * (2 + 4), 0.0, 2 * (1 + 3))]


@pytest.mark.parametrize(("n", "m", "h"), [(9, 2000, 20), (700, 33, 20), (5, 1, 3), (1, 6, 1), (4, 3, 0)])
def test_equals_all_pairs(n: int, m: int, h: int) -> None:
    kernel = random_kernel(n, n=n, m=m, h=h)
    np.testing.assert_allclose(kernel.candidate_means(), brute(kernel).mean(0), rtol=1e-9)
    np.testing.assert_allclose(kernel.target_means(), brute(kernel).mean(1), rtol=1e-9)


def test_far_values_cost_no_digits() -> None:
    """Sums of a hundred thousand in float32 would keep three digits of what is left after −1e4 + 1e4."""
    kernel = random_kernel(1, n=5, m=3000, h=4)
    kernel = replace(kernel, target=kernel.target + np.float32(1e4), pool=kernel.pool - np.float32(1e4))
    np.testing.assert_allclose(kernel.candidate_means(), brute(kernel).mean(0), rtol=1e-9)


def test_later_candidates_get_what_they_would_have_got(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = random_kernel(2, n=1500, m=400, h=6)
    frozen = kernel.frozen_targets()
    whole = kernel.candidate_means()
    some = np.array([1499, 3, 3, 700, 0])
    assert frozen.means(kernel.pool[some]).tobytes() == whole[some].tobytes()
    assert frozen.means(kernel.pool[:0]).shape == (0,)
    monkeypatch.setattr(sums, "_SPAN", 256)
    assert frozen.means(kernel.pool, threads=1).tobytes() == whole.tobytes()


def test_a_side_that_was_kept_gives_the_same_bits(tmp_path: Path) -> None:
    kernel = random_kernel(3, n=50, m=70, h=6)
    kernel.target[3, 2] = np.nan
    frozen = kernel.frozen_targets()
    write_npz(tmp_path / "targets.npz", frozen.arrays())
    again = FrozenSide.from_arrays(read_npz(tmp_path / "targets.npz"))
    assert again.suffix.tobytes() == frozen.suffix.tobytes()
    assert again.means(kernel.pool).tobytes() == frozen.means(kernel.pool).tobytes()
    kernel.target[3, 2] = 1.0
    again = FrozenSide.from_arrays(kernel.frozen_targets(threads=2).arrays())
    assert again.means(kernel.pool).tobytes() == kernel.candidate_means().tobytes()


def test_nan_reaches_all_that_depends_on_it_and_nothing_else() -> None:
    kernel = random_kernel(4, n=600, m=7, h=5)
    kernel.pool[2, 1] = np.nan
    means = kernel.candidate_means()
    assert np.isnan(means[2]) and np.isfinite(np.delete(means, 2)).all()
    assert np.isnan(kernel.target_means()).all()
    for weight in (1.0, 0.0):
        other = random_kernel(4, n=600, m=7, h=5)
        other.target[6, 3], other.weights[3] = np.nan, weight
        assert np.isnan(other.candidate_means()).all()
        assert np.isnan(other.target_means()).tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("seed", range(30))
def test_infinities_are_those_of_the_pairs(seed: int) -> None:
    """Zero times infinity and infinity less infinity are NaN here as they are in every pair."""
    rng = np.random.default_rng(seed)
    kernel = random_kernel(seed, n=6, m=4, h=3)
    for side in (kernel.pool, kernel.target):
        if rng.random() < 0.7:
            side[rng.integers(len(side)), rng.integers(3)] = rng.choice([np.inf, -np.inf])
    kernel.weights[rng.integers(3)] *= rng.integers(0, 2)
    with np.errstate(invalid="ignore"):
        truth = brute(kernel)
        np.testing.assert_allclose(kernel.candidate_means(), truth.mean(0), rtol=1e-9)
        np.testing.assert_allclose(kernel.target_means(), truth.mean(1), rtol=1e-9)


def test_refuses_what_does_not_fit() -> None:
    kernel = random_kernel(5, n=4, m=3, h=2)
    frozen = kernel.frozen_targets()
    with pytest.raises(ConfigError, match="float64"):
        frozen.means(kernel.pool.astype(np.float64))
    with pytest.raises(ConfigError, match="rows × 2 hidden units"):
        frozen.means(kernel.pool[:, :1])
    with pytest.raises(ConfigError, match="no row on that side"):
        replace(kernel, target=kernel.target[:0]).candidate_means()
    with pytest.raises(ConfigError, match="threads is -1"):
        kernel.candidate_means(threads=-1)


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": np.ones(3, np.float32)},
        {"weights": np.ones(2)},
        {"projections": np.ones((2, 5))},
        {"projections": np.ones((2, 0), np.float32)},
        {"constants": np.ones(2)},
        {"constants": np.ones(())},
    ],
    ids=str,
)
def test_refuses_damaged_arrays(damage: dict[str, np.ndarray]) -> None:
    arrays = random_kernel(6, n=4, m=5, h=2).frozen_targets().arrays()
    with pytest.raises(RunError, match="not the arrays of a frozen side"):
        FrozenSide.from_arrays({**arrays, **damage})
    del arrays[next(iter(damage))]
    with pytest.raises(RunError, match="Freeze the side again"):
        FrozenSide.from_arrays(arrays)
