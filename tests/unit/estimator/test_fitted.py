"""A trained network: its factors make the kernel of the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nncift.errors import ConfigError
from nncift.estimator.fitted import FittedEstimator
from nncift.estimator.network import InfluenceNetwork, PointwiseNetwork

M, N, D = 5, 7, 6


def estimator(*, pointwise: bool = False) -> FittedEstimator:
    cls = PointwiseNetwork if pointwise else InfluenceNetwork
    network = cls(D, 11, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    return FittedEstimator(network, 2.5, -0.75, 9, "patience", 126, 4)


def embeddings() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(M, D)).astype(np.float32), rng.normal(size=(N, D)).astype(np.float32)


def naive(model: FittedEstimator, e_target: np.ndarray, e_pool: np.ndarray) -> np.ndarray:
    """Every pair on its own, through the plain network."""
    kernel = np.zeros((len(e_target), len(e_pool)))
    for i, target in enumerate(torch.from_numpy(e_target)):
        for j, pool in enumerate(torch.from_numpy(e_pool)):
            inputs = (pool[None],) if model.pointwise else (pool[None], target[None])
            kernel[i, j] = model.offset + model.scale * model.network(*inputs).item()
    return kernel


@pytest.mark.parametrize("pointwise", [False, True])
def test_the_factors_make_the_kernel(pointwise: bool) -> None:
    model, (e_target, e_pool) = estimator(pointwise=pointwise), embeddings()
    part = model.factors(None if pointwise else e_target, e_pool)
    assert part.pool.shape == (N, 11) and part.target.shape == (1 if pointwise else M, 11)
    assert part.pool.dtype == part.target.dtype == part.weights.dtype == np.float32
    hidden = np.maximum(part.pool[None] + part.target[:, None], 0)
    kernel = part.offset + part.scale * (hidden @ part.weights + part.bias)
    assert np.abs(kernel - naive(model, e_target, e_pool)[: len(kernel)]).max() < 1e-5


def test_embeddings_of_another_dimension_are_refused() -> None:
    e_target, e_pool = embeddings()
    with pytest.raises(ConfigError, match="the pool embeddings have 5 dimensions, the estimator was trained on 6"):
        estimator().factors(e_target, e_pool[:, :5])
    with pytest.raises(ConfigError, match="the target embeddings have 5 dimensions"):
        estimator().factors(e_target[:, :5], e_pool)
    with pytest.raises(ConfigError, match="needs the embeddings of the target"):
        estimator().factors(None, e_pool)
