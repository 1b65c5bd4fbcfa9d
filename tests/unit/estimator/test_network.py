"""The published network: its size, its arithmetic, and the halves of its first layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nncift.errors import ConfigError
from nncift.estimator.network import InfluenceNetwork, PointwiseNetwork, parse_hidden


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_published_sizes() -> None:
    pairwise = InfluenceNetwork(1024, (100,), generator=generator())
    pointwise = PointwiseNetwork(1024, (100,), generator=generator())
    assert sum(weight.numel() for weight in pairwise.parameters()) == 205_101
    assert sum(weight.numel() for weight in pointwise.parameters()) == 102_601
    assert tuple(pairwise.layers[0].weight.shape) == (100, 2049)


@pytest.mark.parametrize(
    ("hidden", "pairwise", "pointwise"),
    [
        ((), 2_050, 1_025),
        ((100,), 205_101, 102_601),
        ((500,), 1_025_501, 513_001),
        ((5000,), 10_255_001, 5_130_001),
        ((1000, 500), 2_551_001, 1_526_001),
        ((4000, 2000, 1000), 18_204_001, 14_104_001),
    ],
)
def test_the_sizes_of_other_layouts(hidden: tuple[int, ...], pairwise: int, pointwise: int) -> None:
    """(2 · 1024 + 1) h₁ + h₁, then h₁ h₂ + h₂ and so on, and h + 1 for the output; pointwise with 1024 inputs."""
    for cls, size in ((InfluenceNetwork, pairwise), (PointwiseNetwork, pointwise)):
        assert sum(weight.numel() for weight in cls(1024, hidden, generator=generator()).parameters()) == size


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("100", (100,)),
        ("1000,500", (1000, 500)),
        (" [1000, 500] ", (1000, 500)),
        ("none", ()),
        ("[]", ()),
        ("None", ()),
    ],
)
def test_layouts_are_read(text: str, layout: tuple[int, ...]) -> None:
    assert parse_hidden(text) == layout


@pytest.mark.parametrize("text", ["", "0", "100,", "ten", "-5", "100;50", "1e3", "100,0", "[100", "٣"])
def test_words_that_are_no_layout_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--hidden is"):
        parse_hidden(text)


@pytest.mark.parametrize(("pool", "target", "output"), [(2.0, 0.5, 1.5), (-1.0, 3.0, 4.0), (0.25, 0.25, 0.0)])
def test_hand_set_weights_give_the_distance_whatever_the_separator_weighs(
    pool: float, target: float, output: float
) -> None:
    network = InfluenceNetwork(1, (2,), generator=generator())
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[1.0, 9.0, -1.0], [-1.0, 9.0, 1.0]]))
        network.layers[0].bias.zero_()
        network.layers[1].weight.fill_(1.0)
        network.layers[1].bias.zero_()
    assert network(torch.tensor([[pool]]), torch.tensor([[target]])).item() == output
    hidden = network.project_pool(np.array([[pool]], np.float32)) + network.project_target(
        np.array([[target]], np.float32)
    )
    assert np.maximum(hidden, 0).sum() == output


def test_the_halves_add_up_to_the_first_layer() -> None:
    network = InfluenceNetwork(6, (9,), generator=generator())
    rng = np.random.default_rng(0)
    e_pool, e_target = rng.normal(size=(7, 6)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    pool, target = network.project_pool(e_pool), network.project_target(e_target)
    assert pool.shape == (7, 9) and target.shape == (5, 9) and pool.dtype == target.dtype == np.float32
    for i in range(5):
        for j in range(7):
            inputs = np.concatenate([e_pool[j], [0], e_target[i]]).astype(np.float32)
            hidden = network.layers[0](torch.from_numpy(inputs)).detach().numpy()
            assert np.allclose(pool[j] + target[i], hidden, atol=1e-6)


@pytest.mark.parametrize("cls", [InfluenceNetwork, PointwiseNetwork])
def test_the_initial_weights_come_from_the_generator_alone(cls: type) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (cls(8, (5,), generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.layers[0].weight, same.layers[0].weight)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)
    bound = one.layers[0].in_features ** -0.5
    assert 0.5 * bound < one.layers[0].weight.abs().max().item() <= bound
