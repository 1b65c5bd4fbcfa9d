"""A trained network: its kernel in factors is that of the plain one, whatever its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nncift.errors import ConfigError
from nncift.estimator.fitted import FittedEstimator
from nncift.estimator.network import InfluenceNetwork, PointwiseNetwork
from nncift.kernel.deep import DeepKernel
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.lowrank import LowRankKernel

M, N, D = 5, 7, 6


def estimator(*, pointwise: bool = False, hidden: tuple[int, ...] = (11,)) -> FittedEstimator:
    cls = PointwiseNetwork if pointwise else InfluenceNetwork
    network = cls(D, hidden, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
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
@pytest.mark.parametrize(
    ("hidden", "made"), [((11,), FactorisedKernel), ((), LowRankKernel), ((11, 4), DeepKernel), ((9, 3, 6), DeepKernel)]
)
def test_the_kernel_in_factors_is_that_of_the_plain_network(
    hidden: tuple[int, ...], made: type, pointwise: bool
) -> None:
    model, (e_target, e_pool) = estimator(pointwise=pointwise, hidden=hidden), embeddings()
    kernel = model.kernel(None if pointwise else e_target, e_pool)
    exact = naive(model, e_target, e_pool)[: 1 if pointwise else M]
    assert isinstance(kernel, made) and kernel.shape == exact.shape and exact.std() > 1e-3
    assert np.abs(kernel.fill().T - exact).max() < 1e-5
    assert np.abs(kernel.candidate_means() - exact.mean(axis=0)).max() < 1e-5
    back = FittedEstimator.restored(model.record(), model.tensors())
    assert back.kernel(None if pointwise else e_target, e_pool).fill().tobytes() == kernel.fill().tobytes()


def test_embeddings_of_another_dimension_are_refused() -> None:
    e_target, e_pool = embeddings()
    with pytest.raises(ConfigError, match="the pool embeddings have 5 dimensions, the estimator was trained on 6"):
        estimator().kernel(e_target, e_pool[:, :5])
    with pytest.raises(ConfigError, match="the target embeddings have 5 dimensions"):
        estimator().kernel(e_target[:, :5], e_pool)
    with pytest.raises(ConfigError, match="needs the embeddings of the target"):
        estimator().kernel(None, e_pool)
