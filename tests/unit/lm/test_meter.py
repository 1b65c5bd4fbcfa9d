"""What the hooks count, against numbers worked out by hand."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from nncift.evaluation import finetuning
from nncift.evaluation.finetuning import collate, response_loss
from nncift.ledger import Ledger
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query
from toys import WORDS, toy_lm, toy_queries

PRODUCTS = ("aten.mm", "aten.addmm")  # linear maps; the scores of attention are batched products


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_a_forward_and_a_backward_by_hand(kind: str) -> None:
    lm = toy_lm(kind)
    lm.meter.ledger = ledger = Ledger()
    trunk = lm.model.get_decoder()
    names = [name for name, _ in trunk.named_parameters() if not {"embed_tokens", "wte", "wpe"} & {*name.split(".")}]
    weights = sum(trunk.get_parameter(name).numel() for name in names)
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0], [9, 9, 9, 0]])
    mask = (ids > 0).long()
    embedded = lm.model.get_input_embeddings()(ids)
    hidden = trunk(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
    assert (ledger.lm_forwards, ledger.lm_tokens, ledger.lm_padding, ledger.lm_backwards) == (3, 9, 3, 0)
    assert ledger.flops == 2 * weights * 12
    hidden.sum().backward()
    assert (ledger.lm_backwards, ledger.lm_backward_tokens, ledger.lm_prefixes) == (3, 9, 0)
    assert ledger.flops == 6 * weights * 12
    lm.meter.head(5)
    assert ledger.head_tokens == 5 and ledger.flops == 6 * weights * 12 + 2 * 32 * len(WORDS) * 5
    lm.meter.head(5, products=2)
    assert ledger.flops == 6 * weights * 12 + 6 * 32 * len(WORDS) * 5


def test_prefixes_are_told_from_sequences() -> None:
    lm = toy_lm()
    lm.meter.ledger = ledger = Ledger()
    query = Query((5,), (6, 7), False)
    score_responses(lm, [(1, 5), (1, 5), (1, 6, 7)], [query] * 3)
    assert (ledger.lm_prefixes, ledger.lm_forwards, ledger.head_tokens) == (2, 3, 6)
    assert ledger.lm_tokens == 2 + 3 + 3 * 3 and ledger.lm_padding == 1


def test_what_is_written_counts_once_and_ended_rows_are_padding() -> None:
    """Three rows go through together, then token by token; the first wrote one token, the last all three."""
    lm = toy_lm()
    lm.meter.ledger = ledger = Ledger()
    trunk = lm.model.get_decoder()
    ids = torch.tensor([[5, 6, 7, 8], [0, 0, 5, 6], [0, 9, 9, 9]])
    with lm.meter.writing():
        trunk(input_ids=ids, attention_mask=(ids > 0).long())
        trunk(input_ids=ids[:, :1] + 4)
        trunk(input_ids=ids[:, :1] + 4)
        assert (ledger.lm_forwards, ledger.lm_tokens, ledger.lm_padding) == (3, 9 + 6, 3)
        lm.meter.wrote([1, 2, 3])
    assert (ledger.lm_forwards, ledger.lm_tokens, ledger.lm_padding) == (3, 9 + 3, 3 + 3)
    assert ledger.lm_prefixes == 0 and ledger.flops == 2 * lm.meter.trunk_weights * 18
    trunk(input_ids=ids[:2])
    assert ledger.lm_forwards == 5


def test_loading_costs_nobody() -> None:
    assert toy_lm().meter.ledger == Ledger()


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_training_costs_what_the_flop_counter_of_torch_counts(
    kind: str, frozen: bool, again: bool, tiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linear maps and the output head; an adapter is stood in for by embeddings that want gradients, so that none costs."""
    lm = toy_lm(kind)
    lm = lm if tiled else replace(lm, head=None)
    trunk, embeddings = lm.model.get_decoder(), lm.model.get_input_embeddings()
    lm.model.requires_grad_(not frozen)
    embeddings.register_forward_hook(lambda module, given, out: out.detach().requires_grad_())
    monkeypatch.setattr(finetuning, "_LARGE", 0 if again else 10**9)
    lm.meter.ledger = ledger = Ledger()
    batch = collate(toy_queries())
    with ExitStack() as during:
        during.callback(trunk.eval)
        lm.model.train()
        during.enter_context(finetuning._checkpointing(lm))
        during.enter_context(set_checkpoint_early_stop(False))  # an adapter's maps, which come last, prevent it
        counted = during.enter_context(FlopCounterMode(display=False))
        response_loss(lm, batch).backward()
    found = sum(flops for name, flops in counted.get_flop_counts()["Global"].items() if str(name) in PRODUCTS)
    assert ledger.flops == pytest.approx(found, rel=0.05)
