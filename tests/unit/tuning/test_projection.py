"""The projection keeps inner products on average, exactly where there is room, and wherever the batch is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from nncift.tuning.projection import CountSketch

SIZES = {"a": 700, "b": 1, "c": 2300, "d": 1999}
P = sum(SIZES.values())


def _project(vectors: Tensor, *, buckets: int, seed: int = 0, sizes: dict[str, int] = SIZES) -> Tensor:
    sketch = CountSketch(sizes, buckets=buckets, seed=seed)
    result = sketch.zeros(len(vectors))
    for (name, _), part in zip(sizes.items(), vectors.split(list(sizes.values()), dim=1), strict=True):
        sketch.add(result, name, part)
    return result


def _vectors(kind: str, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(8)
    if kind == "gaussian":
        return torch.randn(count, P, generator=draw)
    if kind == "spiky":  # nearly all weight on five coordinates that all vectors share
        spikes = torch.randn(count, P, generator=draw)
        spikes[:, :: P // 5] *= 300
        return spikes
    low = torch.randn(count, 3, generator=draw) @ torch.randn(3, P, generator=draw)
    return low + 0.05 * torch.randn(count, P, generator=draw)


@pytest.mark.parametrize("kind", ["gaussian", "spiky", "low-rank"])
def test_unbiased_with_the_error_of_a_dense_matrix(kind: str) -> None:
    r, seeds = 256, 300
    x, y = _vectors(kind, 2)
    exact = float(x @ y)
    got = []
    for seed in range(seeds):
        a, b = _project(torch.stack([x, y]), buckets=r, seed=seed)
        got.append(float(a @ b))
    bound = float(x.norm() * y.norm()) / r**0.5
    spread = np.std(got)
    assert abs(np.mean(got) - exact) < 4 * spread / seeds**0.5 + 1e-6 * bound
    # Var = (‖x‖²‖y‖² + ⟨x,y⟩² - 2 Σ x²y²)/r: between none (all weight on one coordinate) and √2 times the bound
    wanted = (float(x.square().sum() * y.square().sum()) + exact**2 - 2 * float((x * y).square().sum())) ** 0.5 / r**0.5
    assert 0.75 * wanted < spread < 1.25 * wanted and spread < 1.5 * 2**0.5 * bound


@pytest.mark.parametrize("kind", ["gaussian", "spiky", "low-rank"])
def test_cosines_are_within_four_standard_errors(kind: str) -> None:
    r = 512
    vectors = _vectors(kind, 60)
    error = []
    for seed in range(5):
        exact = torch.nn.functional.normalize(vectors, dim=1)
        got = torch.nn.functional.normalize(_project(vectors, buckets=r, seed=seed), dim=1)
        error.append((got @ got.T - exact @ exact.T)[np.triu_indices(60, 1)].abs())
    errors = torch.cat(error)
    assert float((errors < 4 / r**0.5).float().mean()) >= 0.99
    assert float(errors.max()) > 0


def test_exact_where_there_is_room() -> None:
    vectors = _vectors("gaussian", 5)
    got = _project(vectors, buckets=P)
    assert got.shape == (5, P) and _project(vectors, buckets=10 * P).shape == (5, P)
    torch.testing.assert_close(got.abs().sort(dim=1).values, vectors.abs().sort(dim=1).values)
    torch.testing.assert_close(got @ got.T, vectors @ vectors.T, atol=1e-2, rtol=1e-5)


@pytest.mark.parametrize("buckets", [1, 7, 256, 1999, 2300, P - 1])
def test_equals_a_matrix_of_one_sign_a_coordinate(buckets: int) -> None:
    matrix = _project(torch.eye(P), buckets=buckets)
    assert torch.equal(matrix.abs().sum(1), torch.ones(P)) and set(matrix.unique().tolist()) <= {-1.0, 0.0, 1.0}
    load = matrix.abs().sum(0)
    assert load.max() - load.min() <= 1  # equally full
    assert abs(float(matrix.sum())) < 5 * P**0.5
    vectors = _vectors("gaussian", 3)
    torch.testing.assert_close(_project(vectors, buckets=buckets), vectors @ matrix, atol=1e-3, rtol=1e-4)


def test_the_batch_may_be_cut_anywhere_and_the_seed_decides() -> None:
    vectors = _vectors("gaussian", 7)
    whole = _project(vectors, buckets=100)
    assert torch.equal(torch.cat([_project(part, buckets=100) for part in vectors.split(3)]), whole)
    assert not torch.equal(_project(vectors, buckets=100, seed=1), whole)
