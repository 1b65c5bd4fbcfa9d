"""A row's loss is its own: company, padding and the way logits are computed do not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query
from nncift.tuning.lora import attach
from nncift.tuning.losses import row_losses, scored_tokens
from toys import toy_lm, toy_queries

KINDS = ("llama", "gemma3", "gpt2")


def _plain(lm: LanguageModel, query: Query) -> torch.Tensor:
    """The oracle: one unpadded row, all logits, cross-entropy over the response."""
    ids = torch.tensor([[*query.ids, *query.response]])
    labels = torch.tensor([*query.ids, *query.response])
    logits = lm.model(input_ids=ids, use_cache=False).logits[0]
    start = max(1, len(query.ids))
    return torch.nn.functional.cross_entropy(logits[start - 1 : -1].double(), labels[start:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tiled", [True, False])
def test_losses_and_gradients_equal_plain_rows(kind: str, tiled: bool) -> None:
    lm = toy_lm(kind)
    lm = lm if tiled else replace(lm, head=None)
    weights = attach(lm, rank=3, alpha=6, seed=0)
    rows = toy_queries()
    got = row_losses(lm, rows)
    wanted = torch.stack([_plain(lm, row) for row in rows])
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=1e-5)
    ours = torch.autograd.grad(got[2] + 3 * got[5], list(weights.values()))
    theirs = torch.autograd.grad(wanted[2] + 3 * wanted[5], list(weights.values()))
    assert max(float(gradient.abs().max()) for gradient in theirs) > 1e-2
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_first_token_with_nothing_before_it_is_not_scored() -> None:
    lm = toy_lm()
    attach(lm, rank=3, alpha=6, seed=0)
    bare = Query((), (9, 10, 11), False)
    lonely = Query((), (9,), False)
    got = row_losses(lm, [bare, lonely, Query((9,), (10, 11), False)])
    assert [scored_tokens(row) for row in (bare, lonely)] == [2, 0]
    torch.testing.assert_close(got[0], _plain(lm, bare).float())
    torch.testing.assert_close(got[0], got[2])
    assert got[1] == 0
    alone = row_losses(lm, [lonely])
    assert alone.tolist() == [0.0]
    alone.sum().backward()  # nothing to differentiate is no error


@pytest.mark.parametrize("tiled", [True, False])
def test_the_ledger_counts_rows_both_ways(tiled: bool) -> None:
    lm = toy_lm()
    lm = lm if tiled else replace(lm, head=None)
    attach(lm, rank=3, alpha=6, seed=0)
    rows = toy_queries(5)
    lm.meter.ledger = ledger = Ledger()
    with torch.no_grad():
        row_losses(lm, rows)
    assert (ledger.lm_forwards, ledger.lm_backwards) == (5, 0)
    forward = ledger.flops
    row_losses(lm, rows).sum().backward()
    assert (ledger.lm_forwards, ledger.lm_backwards) == (10, 5)
    assert ledger.flops - forward == 2 * forward  # the weights are frozen
    scored = sum(len(row.response) for row in rows)
    assert ledger.head_tokens == 2 * (scored if tiled else 5 * max(len(row) for row in rows))
