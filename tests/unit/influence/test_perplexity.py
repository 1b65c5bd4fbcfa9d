"""Perplexity of responses by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

import teaching
from nncift.errors import ConfigError
from nncift.influence.base import calls_of
from nncift.influence.perplexity import Perplexity
from teaching import rows, size_of
from toy_tables import PLACE, TableLM, as_lm, drawn_table
from toys import WORDS, toy_lm, toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"
POOL = rows(
    ("add 2 and 3", "5"), ("name a colour", "deep red"), ("", "no prompt at all"), ("say", "it is so"), ("", "x")
)


def losses(table: np.ndarray, before: list[str], responses: list[str]) -> list[float]:
    """Mean negative log-probabilities of responses behind one token each, from the table."""
    found = []
    for first, response in zip(before, responses, strict=True):
        tokens = [first, *response]
        steps = [table[PLACE[a], PLACE[b]] for a, b in pairwise(tokens)]
        found.append(-float(np.mean(np.log(steps))))
    return found


@pytest.mark.parametrize(("band", "sign"), [("mid", 1), ("top", 1), ("low", -1)])
def test_the_response_alone_is_scored(band: Any, sign: int) -> None:
    table = drawn_table()
    got = teaching.ask(Perplexity(band=band), (), POOL, lms=[as_lm(TableLM(table))])
    before = ["\n" if row.prompt else "<s>" for row in POOL]
    expected = losses(table, before, [row.response for row in POOL])
    assert got.y.dtype == np.float32 and np.ptp(expected) > 0.1
    np.testing.assert_allclose(got.y, np.multiply(sign, expected), atol=1e-5)


def test_the_rule_of_selection_follows_the_band() -> None:
    assert [Perplexity(band=band).traits.objective for band in ("low", "mid", "top")] == [
        "top-mean",
        "middle",
        "top-mean",
    ]
    assert Perplexity().traits.objective == "middle" and not Perplexity().traits.pairwise


def test_without_a_beginning_a_response_alone_has_its_first_token_given() -> None:
    table = drawn_table()
    lm = as_lm(TableLM(table), tokenizer=toy_tokenizer(bos=False))
    got = teaching.ask(Perplexity(), (), POOL, lms=[lm])
    expected = losses(table, ["\n", "\n", "n", "\n"], ["5", "deep red", "o prompt at all", "it is so"])
    np.testing.assert_allclose(got.y, [*expected, -np.inf], atol=1e-5)  # of a single character nothing is left
    assert got.ledger.lm_forwards == 4
    assert teaching.ask(Perplexity(), (), POOL[4:], lms=[lm]).y.tolist() == [-np.inf]


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_equals_one_plain_forward_a_row(kind: str) -> None:
    expected = []
    for row in POOL:
        before = [1, *(PLACE[c] for c in (f"{row.prompt}\n" if row.prompt else ""))]
        response = [PLACE[c] for c in row.response]
        with torch.no_grad():
            logits = toy_lm(kind).model(input_ids=torch.tensor([before + response]), use_cache=False).logits[0]
        gold = torch.log_softmax(logits.double(), -1)[len(before) - 1 : -1].gather(1, torch.tensor(response)[:, None])
        expected.append(-gold.mean().item())
    for batch_tokens in (16, 5000):
        lm = toy_lm(kind, batch_tokens=batch_tokens)
        got = teaching.ask(Perplexity(), (), POOL, lms=[lm])
        np.testing.assert_allclose(got.y, expected, atol=2e-5)
    np.testing.assert_allclose(
        teaching.ask(Perplexity(), (), POOL, lms=[replace(lm, head=None)]).y, expected, atol=2e-5
    )


def test_calls_are_one_a_row() -> None:
    teacher = Perplexity()
    got = teaching.ask(teacher, (), POOL, lms=[toy_lm()])
    calls = calls_of(teacher, size_of(got, targets=0))
    assert (got.ledger.lm_forwards, got.ledger.lm_backwards) == (calls.forwards, calls.backwards) == (5, 0)


def test_chat_models_read_their_own_format() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT
    model = TableLM(drawn_table())
    lm = as_lm(model, tokenizer=tokenizer)
    teaching.ask(Perplexity(), (), POOL[:2], lms=[lm])
    texts = {"".join(WORDS[word] for word in sequence) for sequence in model.seen}
    assert texts == {"<s>(user)add 2 and 3\n(assistant)5", "<s>(user)name a colour\n(assistant)deep red"}
    model.seen.clear()
    teaching.ask(Perplexity(wording="plain"), (), POOL[:1], lms=[lm])
    assert "".join(WORDS[word] for word in model.seen[0]) == "<s>add 2 and 3\n5"
    with pytest.raises(ConfigError, match="this one has none"):
        teaching.ask(Perplexity(wording="chat"), (), POOL, lms=[toy_lm()])


def test_long_rows_are_cut_and_said() -> None:
    model = TableLM(drawn_table())
    pool = rows(("p" * 90, "abc"), ("d", "e"), ("f", "g" * 90))
    got = teaching.ask(Perplexity(), (), pool, lms=[as_lm(model, max_length=40)])
    assert set(got.session.truncated()) == {pool[0].id, pool[2].id} and got.ledger.truncated == 2
    assert max(map(len, model.seen)) == 40 and np.isfinite(got.y).all()
