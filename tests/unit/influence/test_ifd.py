"""Instruction-following difficulty by hand."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pytest
import torch

import teaching
from nncift.influence.base import calls_of
from nncift.influence.ifd import InstructionFollowingDifficulty as Ifd
from nncift.influence.ifd import difficulty
from teaching import rows, size_of
from toy_tables import MARK, PLACE, TableLM, as_lm, drawn_table, table_with
from toys import WORDS, toy_lm, toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"
POOL = rows(
    ("add 2 and 3", "5"), ("name a colour", "deep red"), ("", "no prompt at all"), ("say", "it is so"), ("end", "x")
)


@pytest.mark.parametrize(("form", "expected"), [("loss", 0.5), ("perplexity", 0.301194)])
def test_ratio_of_two_losses(form: Any, expected: float) -> None:
    assert difficulty(1.2, 2.4, form=form) == pytest.approx(expected, abs=1e-6)


def test_where_the_instruction_does_not_help_a_row_ranks_below_all_others() -> None:
    assert difficulty(2.4, 1.2) == -1.0 and difficulty(1.0, 1.0) == 1.0
    assert difficulty(2.4, 1.2, form="perplexity") == pytest.approx(1 - exp(1.2))
    ratios = [0.0, 0.2, 0.9, 1.0, 1.1, 3.0]
    values = [difficulty(ratio, 1.0) for ratio in ratios]
    assert np.argsort(values)[::-1].tolist() == [3, 2, 1, 0, 4, 5]


def test_certain_answers_are_no_division_by_zero() -> None:
    assert difficulty(0.0, 0.0) == 1.0
    assert difficulty(0.5, 0.0) == -np.inf
    assert difficulty(0.0, 0.0, form="perplexity") == 1.0
    assert np.isfinite(np.float32(difficulty(900.0, 0.0, form="perplexity")))


@pytest.mark.parametrize(("form", "expected"), [("loss", [0.5, 1.0]), ("perplexity", [0.301194, 1.0])])
def test_a_worked_example_through_a_model(form: Any, expected: list[float]) -> None:
    alone = {("<s>", "x"): exp(-2.4), ("\n", "x"): exp(-2.4), ("x", "y"): exp(-2.4)}
    helped = {("\n", "x"): exp(-1.2), ("x", "y"): exp(-1.2)}
    lm = as_lm(TableLM(table_with(alone), behind_mark=table_with(helped)))
    pool = rows((f"ask {MARK}", "xy"), ("ask", "xy"), ("nothing", "xy"))
    got = teaching.ask(Ifd(form=form), (), pool, lms=[lm])
    assert got.y.dtype == np.float32
    np.testing.assert_allclose(got.y, [expected[0], expected[1], expected[1]], atol=1e-5)
    worse = as_lm(TableLM(table_with(alone), behind_mark=table_with({("\n", "x"): exp(-4.8), ("x", "y"): exp(-4.8)})))
    y = teaching.ask(Ifd(form=form), (), pool[:1], lms=[worse]).y
    np.testing.assert_allclose(y, [-1.0 if form == "loss" else 1 - exp(2.4)], rtol=1e-5)


def test_the_answer_alone_stands_behind_the_beginning_only() -> None:
    table = drawn_table()
    model = TableLM(table)
    got = teaching.ask(Ifd(), (), POOL[:2], lms=[as_lm(model)])
    texts = ["".join(WORDS[word] for word in sequence) for sequence in model.seen]
    assert sorted(texts) == sorted(["<s>add 2 and 3\n5", "<s>5", "<s>name a colour\ndeep red", "<s>deep red"])
    behind, alone = -np.log(table[PLACE["\n"], PLACE["5"]]), -np.log(table[PLACE["<s>"], PLACE["5"]])
    assert got.y[0] == pytest.approx(difficulty(behind, alone), abs=1e-5)


def test_without_a_beginning_the_first_token_counts_in_neither_mean() -> None:
    table = drawn_table()
    model = TableLM(table, behind_mark=drawn_table(6))
    lm = as_lm(model, tokenizer=toy_tokenizer(bos=False))
    pool = rows(("ask", "xyz"), (f"ask {MARK}", "xyz"), ("", "xyz"), ("one", "a"))
    got = teaching.ask(Ifd(), (), pool, lms=[lm])
    steps = [(PLACE["x"], PLACE["y"]), (PLACE["y"], PLACE["z"])]
    alone, marked = (-np.mean([np.log(one[step]) for step in steps]) for one in (table, drawn_table(6)))
    np.testing.assert_allclose(got.y, [1, difficulty(marked, alone), 1, -np.inf], atol=1e-5)
    assert got.ledger.lm_forwards == 2 * 3 and min(map(len, model.seen)) == 3


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_equals_two_plain_forwards_a_row(kind: str) -> None:
    def loss(before: list[int], response: list[int]) -> float:
        with torch.no_grad():
            logits = toy_lm(kind).model(input_ids=torch.tensor([before + response]), use_cache=False).logits[0]
        gold = torch.log_softmax(logits.double(), -1)[len(before) - 1 : -1].gather(1, torch.tensor(response)[:, None])
        return -gold.mean().item()

    expected = []
    for row in POOL:
        before = [1, *(PLACE[c] for c in (f"{row.prompt}\n" if row.prompt else ""))]
        response = [PLACE[c] for c in row.response]
        expected.append(difficulty(loss(before, response), loss([1], response)))
    assert expected[2] == 1.0 and min(expected) < 0 < max(expected)
    for batch_tokens in (16, 5000):
        got = teaching.ask(Ifd(), (), POOL, lms=[toy_lm(kind, batch_tokens=batch_tokens)])
        np.testing.assert_allclose(got.y, expected, atol=1e-5)


def test_calls_are_two_a_row() -> None:
    teacher = Ifd()
    got = teaching.ask(teacher, (), POOL, lms=[toy_lm()])
    calls = calls_of(teacher, size_of(got, targets=0))
    assert (got.ledger.lm_forwards, got.ledger.lm_backwards) == (calls.forwards, calls.backwards) == (10, 0)


def test_chat_models_read_the_instruction_in_their_own_format() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT
    model = TableLM(drawn_table())
    teaching.ask(Ifd(), (), POOL[:1], lms=[as_lm(model, tokenizer=tokenizer)])
    texts = {"".join(WORDS[word] for word in sequence) for sequence in model.seen}
    assert texts == {"<s>(user)add 2 and 3\n(assistant)5", "<s>5"}


def test_a_long_answer_is_cut_alike_in_both_passes() -> None:
    model = TableLM(drawn_table())
    pool = rows(("d", "abc" * 30), ("e", "f"))
    got = teaching.ask(Ifd(), (), pool, lms=[as_lm(model, max_length=40)])
    assert set(got.session.truncated()) == {pool[0].id} and got.ledger.truncated == 1
    answers = {tuple(sequence)[-20:] for sequence in model.seen if len(sequence) > 20}
    assert len(answers) == 1 and max(map(len, model.seen)) == 40
