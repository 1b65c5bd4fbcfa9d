"""An adapter goes on by seed and comes off without a trace."""

from __future__ import annotations

import pytest
import torch

from nncift.errors import ModelError
from nncift.lm.tokens import Query
from nncift.tuning.lora import attach, detach
from nncift.tuning.losses import row_losses
from toys import toy_lm

KINDS = ("llama", "gemma3", "gpt2")
ROWS = [Query((1, 5, 6), (7, 8, 9), False), Query((1,), (30, 31, 32, 33, 34), False)]


@pytest.mark.parametrize("kind", KINDS)
def test_detach_restores_the_model(kind: str) -> None:
    lm = toy_lm(kind)
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    modules = dict(lm.model.named_modules())
    attributes = set(vars(lm.model))
    lm.model.get_input_embeddings().weight.requires_grad_(False)
    wanted = {name for name, weight in lm.model.named_parameters() if weight.requires_grad}
    attach(lm, rank=3, alpha=6, seed=0)
    assert len(dict(lm.model.named_modules())) > len(modules)
    detach(lm)
    assert dict(lm.model.named_modules()) == modules
    assert {name for name, weight in lm.model.named_parameters() if weight.requires_grad} == wanted
    assert lm.model.state_dict().keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in lm.model.state_dict().items())
    assert set(vars(lm.model)) == attributes
    attach(lm, rank=2, alpha=2, seed=0)  # and it takes another
    detach(lm)
    detach(lm)  # nothing to do


@pytest.mark.parametrize(("kind", "maps"), [("llama", 4), ("gemma3", 4), ("gpt2", 2)])
def test_attention_projections_are_found(kind: str, maps: int) -> None:
    lm = toy_lm(kind)
    layers = lm.model.config.num_hidden_layers
    weights = attach(lm, rank=3, alpha=6, seed=0)
    assert len(weights) == 2 * maps * layers
    assert all("attn" in name and weight.dtype == torch.float32 for name, weight in weights.items())
    trainable = {name: weight for name, weight in lm.model.named_parameters() if weight.requires_grad}
    assert list(trainable) == list(weights) and all(trainable[name] is weights[name] for name in weights)
    assert not any("lm_head" in name for name, weight in lm.model.named_parameters() if weight.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_adapter_changes_nothing_and_a_stepped_one_does(kind: str) -> None:
    lm = toy_lm(kind)
    plain = row_losses(lm, ROWS).detach()
    weights = attach(lm, rank=3, alpha=6, seed=0)
    fresh = row_losses(lm, ROWS)
    torch.testing.assert_close(fresh.detach(), plain)
    fresh.sum().backward()
    for weight in weights.values():
        weight.data -= 0.1 * weight.grad
    assert row_losses(lm, ROWS).sum() < plain.sum()


def test_the_seed_decides_and_global_generators_stay() -> None:
    lm = toy_lm()
    state = torch.random.get_rng_state()

    def first(seed: int) -> dict[str, torch.Tensor]:
        weights = {name: weight.detach().clone() for name, weight in attach(lm, rank=3, alpha=6, seed=seed).items()}
        detach(lm)
        return weights

    one, again, other = first(1), first(1), first(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], again[name]) for name in one)
    a = [name for name in one if "lora_A" in name]
    assert a and all(not torch.equal(one[name], other[name]) for name in a)
    assert all(not weight.any() for name, weight in one.items() if "lora_B" in name)
    assert len({one[name].numpy().tobytes() for name in a}) == len(a)


def test_two_adapters_are_refused() -> None:
    lm = toy_lm()
    attach(lm, rank=1, alpha=1, seed=0)
    with pytest.raises(ModelError, match="has an adapter already"):
        attach(lm, rank=1, alpha=1, seed=0)


def test_a_model_in_bfloat16_gets_adapters_in_float32() -> None:
    lm = toy_lm()
    lm.model.to(torch.bfloat16)
    weights = attach(lm, rank=3, alpha=6, seed=0)
    assert all(weight.dtype == torch.float32 for weight in weights.values())


@pytest.mark.parametrize("kind", KINDS)
def test_all_linear_maps_but_the_output_head_are_found(kind: str) -> None:
    """Seven maps a layer with a gated block, four in GPT-2."""
    lm = toy_lm(kind)
    modules = dict(lm.model.named_modules())
    weights = attach(lm, rank=3, alpha=6, seed=0, where="all-linear")
    maps = {name.partition(".lora_")[0] for name in weights}
    wanted = {"gpt2": 4}.get(kind, 7) * lm.model.config.num_hidden_layers
    assert len(maps) == wanted and len(weights) == 2 * wanted
    assert any("mlp" in name for name in maps) and not any("head" in name or "embed" in name for name in maps)
    detach(lm)
    assert dict(lm.model.named_modules()) == modules


def test_dropout_is_there_in_training_mode_alone() -> None:
    lm = toy_lm()
    weights = attach(lm, rank=3, alpha=6, seed=0, where="all-linear", dropout=0.5)
    for name, weight in weights.items():
        if "lora_B" in name:
            weight.data += 0.1  # a fresh adapter adds nothing that could be dropped
    told, again = row_losses(lm, ROWS).detach(), row_losses(lm, ROWS).detach()
    assert torch.equal(told, again)
    lm.model.train()
    torch.manual_seed(1)
    one, other = row_losses(lm, ROWS).detach(), row_losses(lm, ROWS).detach()
    assert not torch.equal(one, other) and not torch.equal(one, told)
    lm.model.eval()
    assert torch.equal(row_losses(lm, ROWS).detach(), told)
    detach(lm)
    attach(lm, rank=3, alpha=6, seed=0, where="all-linear")
    lm.model.train()
    still = row_losses(lm, ROWS).detach()
    assert torch.equal(still, row_losses(lm, ROWS).detach())
    lm.model.eval()


def test_dropout_does_not_change_where_an_adapter_starts() -> None:
    lm = toy_lm()
    wet = {name: weight.detach().clone() for name, weight in attach(lm, rank=2, alpha=4, seed=3, dropout=0.3).items()}
    detach(lm)
    dry = attach(lm, rank=2, alpha=4, seed=3)
    assert list(wet) == list(dry) and all(torch.equal(wet[name], dry[name]) for name in wet)
