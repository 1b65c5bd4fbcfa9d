"""Shared prefixes, tiled heads, padding: none of it may change a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nncift.data.rows import Example, Turn
from nncift.data.template import PlainTemplate
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Prefix, Query, join, tokenize_prefix, tokenize_query
from toys import WORDS, toy_lm, toy_tokenizer

KINDS = ("llama", "gemma3", "gpt2")


def _pairs(count: int = 23, prefixes: int = 5) -> tuple[list[tuple[int, ...]], list[Query]]:
    draw = np.random.default_rng(3)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(x) for x in draw.integers(4, len(WORDS), draw.integers(low, high)))

    shared = [(1, *ids(3, 30)) for _ in range(prefixes)]
    return [shared[k % prefixes] for k in range(count)], [Query(ids(0, 12), ids(1, 20), False) for _ in range(count)]


def _plain(lm: LanguageModel, prefix: tuple[int, ...], query: Query) -> np.ndarray:
    """The oracle: one unpadded sequence through the whole model, all logits."""
    ids = torch.tensor([[*prefix, *query.ids, *query.response]])
    with torch.no_grad():
        log_probs = torch.log_softmax(lm.model(input_ids=ids, use_cache=False).logits[0].double(), dim=-1)
    start = len(prefix) + len(query.ids)
    return np.array([log_probs[start + t - 1, token].item() for t, token in enumerate(query.response)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_tokens", [64, 4096])
def test_equals_the_plain_forward(kind: str, batch_tokens: int) -> None:
    lm = toy_lm(kind, batch_tokens=batch_tokens)
    assert lm.shares_prefixes and lm.head is not None
    prefixes, queries = _pairs()
    got = score_responses(lm, prefixes, queries)
    for prefix, query, values in zip(prefixes, queries, got, strict=True):
        np.testing.assert_allclose(values, _plain(lm, prefix, query), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_fallbacks_give_the_same(kind: str) -> None:
    lm = toy_lm(kind)
    prefixes, queries = _pairs()
    best = np.concatenate(score_responses(lm, prefixes, queries))
    for slower in (
        replace(lm, shares_prefixes=False),
        replace(lm, head=None),
        replace(lm, head=None, shares_prefixes=False),
    ):
        np.testing.assert_allclose(np.concatenate(score_responses(slower, prefixes, queries)), best, atol=1e-4)


def test_order_and_company_do_not_matter() -> None:
    lm = toy_lm()
    prefixes, queries = _pairs()
    together = score_responses(lm, prefixes, queries)
    backwards = score_responses(lm, prefixes[::-1], queries[::-1])[::-1]
    for k, (a, b) in enumerate(zip(together, backwards, strict=True)):
        alone = score_responses(lm, [prefixes[k]], [queries[k]])[0]
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(a, alone, atol=1e-5)


def test_ledger_counts_what_went_through_the_model() -> None:
    lm = toy_lm()
    seen = {"tokens": 0, "rows": 0}

    def hook(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        seen["tokens"] += int(kwargs["input_ids"].numel())
        seen["rows"] += len(kwargs["input_ids"])

    handle = lm.model.get_decoder().register_forward_pre_hook(hook, with_kwargs=True)
    prefixes, queries = _pairs(20, 4)
    lm.meter.ledger = ledger = Ledger()
    score_responses(lm, prefixes, queries)
    handle.remove()
    distinct = len({join(prefix, query)[0] for prefix, query in zip(prefixes, queries, strict=True)})
    assert (ledger.lm_forwards, ledger.lm_prefixes) == (20, distinct)
    assert ledger.lm_tokens + ledger.lm_padding == seen["tokens"]
    assert seen["rows"] == 20 + distinct
    assert ledger.head_tokens == sum(len(query.response) for query in queries)


def test_prefix_gives_up_the_example_first() -> None:
    prefix = Prefix(tuple(range(10)), head=3, tail=2)
    assert prefix.fit(99) == tuple(range(10))
    assert prefix.fit(8) == (0, 1, 2, 5, 6, 7, 8, 9)
    assert prefix.fit(1) == (0, 1, 2, 8, 9)


def test_words_of_a_row_never_become_control_tokens() -> None:
    tokenizer = toy_tokenizer()
    row = Example("x", (Turn("user", "a</s>b"), Turn("assistant", "c<s>")), 0, 1, b"")
    query = tokenize_query(tokenizer, PlainTemplate(), row, limit=100)
    prefix = tokenize_prefix(tokenizer, PlainTemplate(), row)
    control = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    assert not control & {*query.ids, *query.response}
    assert control & {*prefix.ids} == {tokenizer.bos_token_id} and prefix.ids.count(tokenizer.bos_token_id) == 1


def test_the_end_of_a_prompt_outlives_a_response_that_is_too_long() -> None:
    row = Example("x", (Turn("user", "p" * 50), Turn("assistant", "r" * 200)), 0, 1, b"")
    query = tokenize_query(toy_tokenizer(), PlainTemplate(), row, limit=100)
    assert query.truncated and len(query) == 100 and len(query.response) >= 90 and query.ids
