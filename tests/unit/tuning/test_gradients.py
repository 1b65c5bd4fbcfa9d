"""Every row's gradient is what differentiating its loss alone gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query
from nncift.tuning.gradients import row_gradients
from nncift.tuning.lora import attach
from nncift.tuning.losses import row_losses
from toys import toy_lm, toy_queries

KINDS = ("llama", "gemma3", "gpt2")


def adapted(kind: str = "llama", *, rank: int = 3) -> tuple[LanguageModel, dict[str, torch.nn.Parameter]]:
    """A toy model whose adapter is not at zero, so that both of its maps have gradients."""
    lm = toy_lm(kind)
    weights = attach(lm, rank=rank, alpha=2 * rank, seed=0)
    draw = torch.Generator().manual_seed(4)
    for weight in weights.values():
        weight.data += 0.1 * torch.randn(weight.shape, generator=draw)
    return lm, weights


def collect(lm: LanguageModel, names: list[str], rows: list[Query]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}

    def sink(name: str, gradients: torch.Tensor) -> None:
        assert name not in found
        found[name] = gradients

    row_gradients(lm, names, rows, sink=sink)
    assert set(found) == set(names)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tiled", [True, False])
def test_equals_one_row_at_a_time(kind: str, tiled: bool) -> None:
    lm, weights = adapted(kind)
    lm = lm if tiled else replace(lm, head=None)
    rows = toy_queries()
    got = collect(lm, list(weights), rows)
    for b, row in enumerate(rows):
        alone = torch.autograd.grad(row_losses(lm, [row]).sum(), list(weights.values()))
        for name, gradient in zip(weights, alone, strict=True):
            torch.testing.assert_close(got[name][b], gradient.flatten(), atol=1e-5, rtol=1e-4)
    assert all(weight.grad is None for weight in weights.values())


def test_equals_finite_differences() -> None:
    lm, weights = adapted()
    lm.model.double()
    lm = replace(lm, head=None)  # the tiled head sums in float32
    rows = toy_queries(4)
    got = collect(lm, list(weights), rows)
    draw = np.random.default_rng(6)
    for name in draw.choice(sorted(weights), 5, replace=False):
        flat = weights[name].data.view(-1)
        k = int(draw.integers(len(flat)))
        losses = []
        for step in (1e-2, -1e-2):
            flat[k] += step
            with torch.no_grad():
                losses.append(row_losses(lm, rows).double())
            flat[k] -= step
        slope = (losses[0] - losses[1]) / 2e-2
        torch.testing.assert_close(got[name][:, k].double(), slope, atol=2e-4, rtol=2e-2)


def test_equals_vmap_of_grad() -> None:
    lm, weights = adapted()
    rows = [Query((1, 5 + k, 6), (7, 8 + k, 9, 10), False) for k in range(5)]
    got = collect(lm, list(weights), rows)
    ids = torch.tensor([[*row.ids, *row.response] for row in rows])
    fixed = {name: value for name, value in lm.model.named_parameters() if name not in weights}

    def loss(free: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": tokens[None], "use_cache": False, "position_ids": torch.arange(len(tokens))[None]}
        logits = torch.func.functional_call(lm.model, {**fixed, **free}, (), inputs).logits[0]
        return -torch.log_softmax(logits[2:-1], dim=-1).gather(1, tokens[3:, None]).mean()

    lm.model.config._attn_implementation = "eager"
    free = {name: weight.detach() for name, weight in weights.items()}
    wanted = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(free, ids)
    for name in weights:
        torch.testing.assert_close(got[name], wanted[name].flatten(1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_add_up_to_the_batch(kind: str) -> None:
    lm, weights = adapted(kind)
    rows = toy_queries()
    got = collect(lm, list(weights), rows)
    whole = torch.autograd.grad(row_losses(lm, rows).sum(), list(weights.values()))
    for name, gradient in zip(weights, whole, strict=True):
        torch.testing.assert_close(got[name].sum(0), gradient.flatten(), atol=1e-5, rtol=1e-4)


def test_company_padding_and_order_do_not_matter() -> None:
    lm, weights = adapted("gemma3")
    rows = toy_queries()
    together = collect(lm, list(weights), rows)
    backwards = collect(lm, list(weights), rows[::-1])
    padded = collect(lm, list(weights), [*rows, Query((1,) * 40, (9,) * 60, False)])
    for name in weights:
        torch.testing.assert_close(backwards[name].flip(0), together[name], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(padded[name][: len(rows)], together[name], atol=1e-5, rtol=1e-4)


def test_only_the_response_is_learnt_and_nothing_to_learn_is_zero() -> None:
    lm, weights = adapted()
    got = collect(lm, list(weights), [Query((), (9,), False), Query((1, 5), (6, 7), False)])
    assert all(not gradients[0].any() for gradients in got.values())
    assert all(gradients[1].any() for gradients in got.values())


def test_the_ledger_counts_every_row_once_each_way() -> None:
    lm, weights = adapted()
    lm.meter.ledger = ledger = Ledger()
    collect(lm, list(weights), toy_queries(7))
    assert (ledger.lm_forwards, ledger.lm_backwards) == (7, 7)


def test_the_model_is_itself_again() -> None:
    lm, weights = adapted()
    rows = toy_queries(3)
    before = row_losses(lm, rows)
    collect(lm, list(weights), rows)
    assert torch.equal(row_losses(lm, rows), before)
    assert not any("forward" in vars(module) for module in lm.model.modules())
