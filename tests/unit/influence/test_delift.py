"""DELIFT against models whose probabilities are known, and under everything that may not change a number."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

import teaching
from nncift import registry
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.influence.delift import Delift, DeliftSession, distance
from nncift.lm.model import LanguageModel
from nncift.objective.base import Kernels
from nncift.objective.greedy import greedy
from teaching import Answer, every_pair, rows
from toy_tables import MARK, PLACE, CopyLM, TableLM, as_lm, drawn_table, table_with, uniform_table
from toys import WORDS, toy_lm, toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"


TARGETS = rows(("add 2 and 3", "5"), ("name a colour", "deep red"), ("", "no prompt at all"), ("say it", "it is so"))
POOL = rows(
    ("add 1 and 1", "2"),
    ("spell cat", "c a t"),
    ("", "only an answer"),
    ("who", "me"),
    ("name a fruit", "an apple, or a pear"),
    ("end", "over"),
)


def ask(
    lm: LanguageModel,
    targets: Sequence[Example] = TARGETS,
    pool: Sequence[Example] = POOL,
    *,
    pairs: tuple[ndarray, ndarray] | None = None,
    teacher: Delift = Delift(),  # noqa: B008 (frozen)
) -> Answer:
    """DELIFT's answers on all pairs, if none are named."""
    return teaching.ask(teacher, targets, pool, lms=[lm], pairs=pairs)


def test_distance_by_hand_with_the_shift() -> None:
    table = drawn_table()
    lm = as_lm(TableLM(table))
    assert lm.head is None and not lm.shares_prefixes
    shifted, unshifted = [], []
    for target in TARGETS:
        before = target.prompt + "\n" if target.prompt else "Query:\n"
        text = before + target.response
        steps = [(PLACE[text[k - 1]], PLACE[text[k]]) for k in range(len(before), len(text))]
        shifted.append(np.sqrt(np.mean([(1 - table[a, b]) ** 2 for a, b in steps])))
        unshifted.append(np.sqrt(np.mean([(1 - table[b, b]) ** 2 for _, b in steps])))
    got = ask(lm)
    np.testing.assert_allclose(got.prepared["without"], shifted, atol=1e-6)
    assert np.abs(got.prepared["without"] - unshifted).max() > 0.01
    np.testing.assert_allclose(got.y, 0, atol=1e-6)  # the last token alone decides, and no example stands there


def test_uniform_model_is_wrong_by_all_but_one_word_and_learns_nothing() -> None:
    got = ask(as_lm(TableLM(uniform_table())))
    np.testing.assert_allclose(got.prepared["without"], 1 - 1 / len(WORDS), atol=1e-6)
    np.testing.assert_allclose(got.y, 0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "expected"), [("difference", 0.183772), ("exponential", 1.201741)])
def test_numbers_of_a_worked_example(kernel: Any, expected: float) -> None:
    alone = table_with({("\n", "x"): 0.5, ("x", "y"): 0.5})
    shown = table_with({("\n", "x"): 0.8, ("x", "y"): 0.6})
    lm = as_lm(TableLM(alone, behind_mark=shown))
    targets, pool = rows(("q", "xy")), rows(("an example with", MARK), ("one without", "z"))
    got = ask(lm, targets, pool, teacher=Delift(kernel=kernel))
    np.testing.assert_allclose(got.prepared["without"], [0.5], atol=1e-6)
    np.testing.assert_allclose(got.y, [expected, 0 if kernel == "difference" else 1], atol=2e-6)


@pytest.mark.parametrize("kernel", ["difference", "exponential"])
def test_log_likelihood_in_place_of_distance(kernel: Any) -> None:
    alone = table_with({("\n", "x"): 0.5, ("x", "y"): 0.5})
    shown = table_with({("\n", "x"): 0.8, ("x", "y"): 0.6})
    lm = as_lm(TableLM(alone, behind_mark=shown))
    targets, pool = rows(("q", "xy")), rows(("an example with", MARK), ("one without", "z"))
    got = ask(lm, targets, pool, teacher=Delift(distance="nll", kernel=kernel))
    np.testing.assert_allclose(got.prepared["without"], [np.log(2)], atol=1e-6)
    gain = (np.log(0.8 / 0.5) + np.log(0.6 / 0.5)) / 2  # 0.326163 nats a token
    expected = np.array([gain, 0])
    np.testing.assert_allclose(got.y, np.exp(expected) if kernel == "exponential" else expected, atol=2e-6)


def test_distance_of_given_probabilities() -> None:
    assert distance(np.log(np.array([0.5, 0.5], dtype=np.float32))) == pytest.approx(0.5, abs=1e-7)
    assert distance(np.log(np.array([0.8, 0.6], dtype=np.float32))) == pytest.approx(0.316228, abs=1e-6)
    assert distance(np.array([0.0, 0.0], dtype=np.float32)) == 0.0
    assert distance(np.array([-200.0], dtype=np.float32)) == 1.0


def test_a_model_that_copies_is_helped_most_by_the_row_itself() -> None:
    words = ["red", "blue", "green", "grey", "pink"]
    same = [(f"{k}. colour of {word}s", f"it {word[::-1]} {k}{word} so") for k, word in enumerate(words)]
    targets = rows(*same)
    pool = rows(*same, ("nothing", "in common"), ("nor", "here"))
    matrix = ask(as_lm(CopyLM(uniform_table())), targets, pool).matrix
    assert matrix.shape == (5, 7)
    np.testing.assert_array_equal(matrix.argmax(axis=1), np.arange(5))
    assert (np.diagonal(matrix) > 0.3).all()


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_batches_do_not_matter(kind: str) -> None:
    wide = ask(toy_lm(kind, batch_tokens=100_000), TARGETS[:3])
    assert np.ptp(wide.y) > 1e-3
    for batch_tokens in (32, 500):
        narrow = ask(toy_lm(kind, batch_tokens=batch_tokens), TARGETS[:3])
        np.testing.assert_allclose(narrow.y, wide.y, atol=1e-5)
        np.testing.assert_allclose(narrow.prepared["without"], wide.prepared["without"], atol=1e-5)


def test_order_and_company_do_not_matter() -> None:
    lm = toy_lm()
    whole = ask(lm).matrix
    i, j = every_pair(len(TARGETS), len(POOL))
    order = np.random.default_rng(1).permutation(len(i))
    np.testing.assert_allclose(ask(lm, pairs=(i[order], j[order])).y, whole[i[order], j[order]], atol=1e-5)
    for pair in ((0, 4), (2, 1), (3, 5)):  # M != N: a transposed answer would not even have a place for it
        one = tuple(np.array([axis], dtype=np.int32) for axis in pair)
        np.testing.assert_allclose(ask(lm, pairs=(one[0], one[1])).y, [whole[pair]], atol=1e-5)
    backwards = ask(lm, TARGETS[::-1], POOL[::-1]).matrix
    np.testing.assert_allclose(backwards[::-1, ::-1], whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_shared_prefixes_equal_plain_sequences(kind: str) -> None:
    lm = toy_lm(kind)
    assert lm.shares_prefixes and lm.head is not None
    plain = replace(lm, shares_prefixes=False, head=None)
    np.testing.assert_allclose(ask(lm).y, ask(plain).y, atol=1e-4)


def test_calls_are_one_per_target_and_one_per_pair() -> None:
    m, n = len(TARGETS), len(POOL)
    for lm in (toy_lm(), as_lm(TableLM(drawn_table()))):
        assert ask(lm).ledger.lm_forwards == m + m * n
        some = np.array([0, 3, 3], dtype=np.int32), np.array([1, 1, 5], dtype=np.int32)
        assert ask(lm, pairs=some).ledger.lm_forwards == 2 + 3
    model = TableLM(drawn_table())
    ask(as_lm(model))
    assert len(model.seen) == m + m * n


def test_a_long_example_gives_way_and_the_response_never_does() -> None:
    model = TableLM(drawn_table())
    lm = as_lm(model, max_length=300)
    targets = rows(("short", "abc"), ("a longer question", "an answer of some length"))
    pool = rows(("z" * 400, "y" * 300), ("fits", "well"), ("x" * 40, "w"))
    got = ask(lm, targets, pool)
    scored = [tuple(PLACE[c] for c in target.response) for target in targets]
    assert len(model.seen) == 2 + 6
    assert max(map(len, model.seen)) == 300
    for sequence in model.seen:
        assert sequence[-len(scored[0]) :] == scored[0] or sequence[-len(scored[1]) :] == scored[1]
        assert sequence[0] == PLACE["<s>"]
    assert got.ledger.head_tokens == got.ledger.lm_tokens + got.ledger.lm_padding  # this model has no head apart
    assert set(got.session.truncated()) == {pool[0].id}
    assert got.ledger.truncated == 1
    cut = next(sequence for sequence in model.seen if len(sequence) == 300)
    text = "".join(WORDS[word] for word in cut[1:])
    assert "Example:\n" + "y" in text  # its left end went, the instruction in front of it stayed
    assert "y\n\n\nQuery:\n" in text


def test_a_response_too_long_alone_keeps_the_same_beginning_in_both_passes() -> None:
    model = TableLM(drawn_table())
    lm = as_lm(model, max_length=230)
    targets, pool = rows(("asked" * 50, "abcdefgh" * 60), ("b", "c")), rows(("d", "e"), ("f" * 300, "g"), ("h", "i"))
    got = ask(lm, targets, pool)
    assert targets[0].id in got.session.truncated() and targets[1].id not in got.session.truncated()
    long = [sequence for sequence in model.seen if PLACE["a"] in sequence[-16:]]
    assert len(long) == 1 + len(pool)
    assert isinstance(got.session, DeliftSession)
    kept = len(got.session.queries[0].response)
    response = tuple(PLACE[c] for c in (targets[0].response)[:kept])
    assert kept > 50 and all(sequence[-kept:] == response for sequence in long)
    assert max(map(len, model.seen)) <= 230


def test_a_long_prompt_loses_its_left_end() -> None:
    model = TableLM(drawn_table())
    lm = as_lm(model, max_length=230)
    targets, pool = rows(("x" * 300 + " the end?", "abc")), rows(("d", "e"), ("f", "g"))
    got = ask(lm, targets, pool)
    assert set(got.session.truncated()) >= {targets[0].id}
    ends = tuple(PLACE[c] for c in "x the end?\nabc")
    assert all(sequence[-len(ends) :] == ends and len(sequence) <= 230 for sequence in model.seen)
    assert isinstance(got.session, DeliftSession) and len(got.session.queries[0].response) == 3


def test_no_room_behind_the_instruction_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--max-length 64 leaves no room"):
        ask(as_lm(TableLM(uniform_table()), max_length=64))


def test_coverage_does_not_depend_on_how_well_a_target_does_alone() -> None:
    got = ask(toy_lm())
    picks = []
    for matrix in (got.matrix, got.matrix - got.prepared["without"][:, None].astype(np.float32)):
        kernels = Kernels.dense(np.ascontiguousarray(matrix.T))
        problem = registry.load("objective", "facility-location")().problem(kernels, eta=1.0, nu=1.0)
        ranking = greedy(problem, 4, rest=matrix.mean(axis=0).astype(np.float64))
        picks.append(ranking.order[: ranking.positive].tolist())
    assert picks[0] == picks[1] and len(picks[0]) >= 2


def _chat_tokenizer() -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


def _one_sequence(tokenizer: Any, template: Any = "auto") -> tuple[str, tuple[int, ...]]:
    """The text and the ids of the first target behind the first pool row."""
    model = TableLM(drawn_table())
    zero = np.zeros(1, dtype=np.int32)
    ask(as_lm(model, tokenizer=tokenizer), TARGETS[:1], POOL[:2], pairs=(zero, zero), teacher=Delift(template=template))
    ids = model.seen[-1]
    return "".join(WORDS[word] for word in ids), ids


def test_a_chat_template_is_used_and_special_tokens_stand_once() -> None:
    text, ids = _one_sequence(_chat_tokenizer())
    assert text.startswith("<s>(user)Instruction:\n") and text.endswith("\n(assistant)5")
    assert "Example:\nadd 1 and 1\n2\n\n\nQuery:\nadd 2 and 3" in text
    assert ids.count(PLACE["<s>"]) == 1 and PLACE["</s>"] not in ids and PLACE["<unk>"] not in ids


def test_the_plain_layout_is_used_on_request_and_without_a_chat_template() -> None:
    plain = _one_sequence(_chat_tokenizer(), "plain")
    assert plain == _one_sequence(toy_tokenizer())
    assert plain[0].startswith("<s>Instruction:\n") and plain[0].endswith("Query:\nadd 2 and 3\n5")
    assert plain[1].count(PLACE["<s>"]) == 1


def test_a_tokenizer_that_puts_no_beginning_in_front_gets_none() -> None:
    text, ids = _one_sequence(toy_tokenizer(bos=False))
    assert text.startswith("Instruction:\n") and PLACE["<s>"] not in ids
    nameless = toy_tokenizer(bos=False)
    nameless.bos_token = None
    assert _one_sequence(nameless)[1] == ids


def test_asking_for_a_chat_template_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="this one has none"):
        _one_sequence(toy_tokenizer(), "chat")


def test_without_a_language_model_it_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match="--model"):
        teaching.ask(Delift(), TARGETS, POOL)


def test_fallbacks_are_said_once_when_the_model_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        as_lm(TableLM(uniform_table()))
    assert [record for record in caplog.records if "prefixes are not shared" in record.getMessage()]
