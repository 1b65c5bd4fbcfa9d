"""A fitted estimator: factors, predictions of pairs, and the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncift.errors import ConfigError, RunError
from nncift.estimator import fitted
from nncift.estimator.fitted import FittedEstimator, load
from nncift.estimator.network import InfluenceNetwork, PointwiseNetwork

M, N, D = 5, 7, 6


def estimator(*, pointwise: bool = False) -> FittedEstimator:
    cls = PointwiseNetwork if pointwise else InfluenceNetwork
    network = cls(D, 11, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    return FittedEstimator(network, 2.5, -0.75, "minilm/abc", 9, "patience", 126, 4)


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
@pytest.mark.parametrize("block", [1, 2, 3, 34, 35, 36])
def test_predictions_equal_the_plain_network_whatever_the_block(
    pointwise: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitted, "_PAIRS", block)
    model, (e_target, e_pool) = estimator(pointwise=pointwise), embeddings()
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(M), np.arange(N), indexing="ij"))
    order = np.random.default_rng(0).permutation(M * N)
    values = model.predict(None if pointwise else e_target, e_pool, i[order], j[order])
    assert values.dtype == np.float32
    assert np.abs(values - naive(model, e_target, e_pool)[i[order], j[order]]).max() < 1e-5


@pytest.mark.parametrize("pointwise", [False, True])
def test_the_factors_make_the_kernel(pointwise: bool) -> None:
    model, (e_target, e_pool) = estimator(pointwise=pointwise), embeddings()
    part = model.factors(None if pointwise else e_target, e_pool)
    assert part.pool.shape == (N, 11) and part.target.shape == (1 if pointwise else M, 11)
    assert part.pool.dtype == part.target.dtype == part.weights.dtype == np.float32
    hidden = np.maximum(part.pool[None] + part.target[:, None], 0)
    kernel = part.offset + part.scale * (hidden @ part.weights + part.bias)
    assert np.abs(kernel - naive(model, e_target, e_pool)[: len(kernel)]).max() < 1e-5


def test_no_pairs_give_no_predictions() -> None:
    model, (e_target, e_pool) = estimator(), embeddings()
    assert model.predict(e_target, e_pool, np.zeros(0, np.int32), np.zeros(0, np.int32)).shape == (0,)


def test_rows_of_the_same_text_get_the_same_prediction() -> None:
    model, (e_target, e_pool) = estimator(), embeddings()
    e_pool[4] = e_pool[2]
    values = model.predict(e_target, e_pool, np.array([3, 3]), np.array([2, 4]))
    assert values[0] == values[1]


@pytest.mark.parametrize("pointwise", [False, True])
def test_a_saved_estimator_comes_back_the_same(pointwise: bool, tmp_path: Path) -> None:
    model, (e_target, e_pool) = estimator(pointwise=pointwise), embeddings()
    model.save(tmp_path / "one.safetensors")
    model.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    back = load(tmp_path / "one.safetensors", expect_embedder="minilm/abc", expect_dimension=D)
    assert back.record() == model.record()
    i, j = np.array([4, 0, 3]), np.array([6, 1, 1])
    assert np.array_equal(back.predict(e_target, e_pool, i, j), model.predict(e_target, e_pool, i, j))


def test_another_embedder_or_dimension_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "estimator.safetensors"
    estimator().save(path)
    assert load(path, expect_embedder=None).embedder == "minilm/abc"
    with pytest.raises(ConfigError, match=r"trained on the embeddings of 'minilm/abc', here they come from 'bge/xyz'"):
        load(path, expect_embedder="bge/xyz")
    with pytest.raises(ConfigError, match="embeddings of 6 dimensions, here they have 384"):
        load(path, expect_embedder="minilm/abc", expect_dimension=384)
    replace(estimator(), embedder=None).save(path)
    with pytest.raises(ConfigError, match="embeddings of None"):
        load(path, expect_embedder="minilm/abc")


def test_embeddings_of_another_dimension_are_refused() -> None:
    e_target, e_pool = embeddings()
    with pytest.raises(ConfigError, match="the pool embeddings have 5 dimensions, the estimator was trained on 6"):
        estimator().factors(e_target, e_pool[:, :5])
    with pytest.raises(ConfigError, match="the target embeddings have 5 dimensions"):
        estimator().factors(e_target[:, :5], e_pool)
    with pytest.raises(ConfigError, match="needs the embeddings of the target"):
        estimator().factors(None, e_pool)


@pytest.mark.parametrize("damage", ["cut", "text", "other", "gone"])
def test_a_damaged_file_is_an_error_that_names_it(damage: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "estimator.safetensors"
    estimator().save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("not an estimator")
    elif damage == "other":
        save_file({"x": np.zeros(3, np.float32)}, path)
    else:
        path.unlink()
    with pytest.raises(RunError, match=r"estimator\.safetensors cannot be read as an estimator.*Train it again"):
        load(path, expect_embedder=None)
