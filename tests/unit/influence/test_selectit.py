"""SelectIT by hand: grades that a model is rigged to give, and everything that may not change a score."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from tokenizers import normalizers
from torch import Tensor

import teaching
from nncift.errors import ConfigError
from nncift.influence.base import calls_of
from nncift.influence.rating import PROMPTS
from nncift.influence.selectit import SelectIT, model_scores, sentence_scores, token_scores
from nncift.lm.model import LanguageModel
from teaching import Answer, every_pair, rows, size_of
from toy_tables import MARK, PLACE, TableLM, as_lm, drawn_table, uniform_table
from toys import WORDS, toy_lm, toy_tokenizer

HAND = (0.1, 0.1, 0.2, 0.2, 0.4)
CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"
POOL = rows(
    ("add 1 and 1", "2"),
    ("spell cat", "c a t"),
    ("", "only an answer"),
    ("name a fruit", "an apple, or a pear"),
    ("who", "me"),
    ("say it twice", "it, it"),
    ("end", "over"),
)


def ask(*lms: LanguageModel, pool: Any = POOL, teacher: SelectIT = SelectIT()) -> Answer:  # noqa: B008 (frozen)
    """Scores of all rows."""
    return teaching.ask(teacher, (), pool, lms=lms)


def grading(*p: float, share: float = 0.5) -> ndarray:
    """A table in which the grades 1, 2, ... together take a share of what follows a colon, split as given."""
    table = uniform_table()
    table[PLACE[":"]] = (1 - share) / (len(WORDS) - len(p))
    for grade, part in enumerate(p, 1):
        table[PLACE[":"], PLACE[str(grade)]] = share * part
    return table


def sure_of(grade: int) -> ndarray:
    """A table with one grade behind a colon, and no other."""
    return grading(*(1.0 if k == grade else 1e-12 for k in range(1, 6)))


class TwoMinds(TableLM):
    """Gives grade 1 where a question mark stood before, grade 3 where none did."""

    def logits(self, ids: Tensor) -> Tensor:
        """[B, T, V]."""
        both = torch.tensor(np.log(np.stack([sure_of(3), sure_of(1)])), dtype=torch.float32)
        return both[(ids == PLACE["?"]).any(dim=1).long()[:, None], ids]


def test_token_level_by_hand() -> None:
    logits = np.log(np.array(HAND, dtype=np.float32))
    assert token_scores(logits) == pytest.approx(1.25, abs=1e-6)
    assert token_scores(logits, legacy=True) == pytest.approx(0.267323, abs=1e-5)
    assert token_scores(logits + 300) == pytest.approx(1.25, abs=1e-4)  # what the rest of the vocabulary weighs cancels
    assert token_scores(np.zeros(5, dtype=np.float32)) == 0.0
    for grade in range(1, 6):
        one_hot = np.full(5, -3e4, dtype=np.float32)
        one_hot[grade - 1] = 0
        assert token_scores(one_hot) == grade


def test_ties_go_to_the_lowest_grade() -> None:
    assert token_scores(np.log(np.array([0.1, 0.4, 0.1, 0.4]))) == pytest.approx(2 * (0.3 + 0.3) / 3, abs=1e-12)


def test_sentence_and_model_level_by_hand() -> None:
    assert sentence_scores(np.array([1.0, 3.0]), alpha=0.2) == pytest.approx(1.666667, abs=1e-6)
    assert sentence_scores(np.array([1.0, 3.0]), alpha=0.0) == 2.0
    got = model_scores(np.array([[1.0, 0.0], [2.0, 9.0], [3.0, 9.0]]), np.array([7.0, 13.0, 70.0]))
    np.testing.assert_allclose(got, [2.7, 9 * 83 / 90], atol=1e-12)


@pytest.mark.parametrize(("legacy", "expected"), [(False, 1.25), (True, 0.267323)])
def test_a_worked_example_through_a_model(legacy: bool, expected: float) -> None:
    pool = rows(("q", "plain"), ("q", f"marked {MARK}"), ("p", "plain too"))
    lm = as_lm(TableLM(grading(*HAND), behind_mark=grading(0.2, 0.2, 0.2, 0.2, 0.2)))
    got = ask(lm, pool=pool, teacher=SelectIT(legacy_double_softmax=legacy))
    assert got.y.dtype == np.float32
    np.testing.assert_allclose(got.y, [expected, 0, expected], atol=1e-5)


def test_a_model_sure_of_one_grade_gives_it_to_all() -> None:
    for grade in (5, 2):
        np.testing.assert_allclose(ask(as_lm(TableLM(sure_of(grade)))).y, np.full(len(POOL), grade), atol=1e-5)


def test_other_digits_give_other_scores() -> None:
    shuffled = ask(as_lm(TableLM(grading(0.4, 0.2, 0.1, 0.1, 0.2)))).y
    np.testing.assert_allclose(shuffled, np.full(len(POOL), 1 * (0.2 + 0.3 + 0.3 + 0.2) / 4), atol=1e-5)


def test_prompts_that_disagree_count_against_a_row() -> None:
    assert ["?" in prompt for prompt in PROMPTS[:2]] == [True, False]
    lm = as_lm(TwoMinds(uniform_table()))
    np.testing.assert_allclose(ask(lm, teacher=SelectIT(prompts=2)).y, np.full(len(POOL), 1.666667), atol=1e-5)
    np.testing.assert_allclose(ask(lm, teacher=SelectIT(prompts=2, alpha=0)).y, np.full(len(POOL), 2.0), atol=1e-5)
    np.testing.assert_allclose(ask(lm, teacher=SelectIT(prompts=1)).y, np.full(len(POOL), 1.0), atol=1e-5)


def test_grades_and_prompts_are_counted_apart() -> None:
    model = TableLM(grading(0.2, 0.5, 0.3))
    got = ask(as_lm(model), teacher=SelectIT(grades=3, prompts=2))
    np.testing.assert_allclose(got.y, np.full(len(POOL), 2 * (0.3 + 0.2) / 2), atol=1e-5)
    assert len(model.seen) == 2 * len(POOL)
    texts = ["".join(WORDS[word] for word in sequence) for sequence in model.seen]
    assert {text.split("\nInstruction:")[0] for text in texts} == {
        "<s>" + "".join(c if c in PLACE else "<unk>" for c in prompt.replace("{K}", "3")) for prompt in PROMPTS[:2]
    }


def test_larger_models_count_for_more() -> None:
    lms = [
        replace(as_lm(TableLM(sure_of(grade))), weights=weights)
        for grade, weights in ((1, 7_000_000_000), (2, 13_000_000_000), (3, 70_000_000_000))
    ]
    teacher = SelectIT(prompts=2)
    got = ask(*lms, teacher=teacher)
    np.testing.assert_allclose(got.y, np.full(len(POOL), 2.7), atol=1e-5)
    assert got.ledger.lm_forwards == 3 * calls_of(teacher, size_of(got, targets=0)).forwards


def test_nine_prompts_differ_and_name_the_highest_grade() -> None:
    assert len(set(PROMPTS)) == 9
    assert all(prompt.count("{K}") >= 1 and "5" not in prompt for prompt in PROMPTS)


def _by_loop(lm: LanguageModel, sequences: list[tuple[int, ...]], count: int) -> ndarray:
    """The oracle: whole vocabulary, one sequence at a time, formulas spelt out."""
    digits = [PLACE[str(grade)] for grade in range(1, 6)]
    tokens = []
    for sequence in sequences:
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([sequence]), use_cache=False).logits[0, -1]
        p = torch.softmax(logits.double(), dim=0)[digits]
        p = (p / p.sum()).tolist()
        best = p.index(max(p))
        tokens.append((best + 1) * sum(abs(x - p[best]) for x in p) / 4)
    scores = []
    for k in range(0, len(tokens), count):
        some = tokens[k : k + count]
        mean = sum(some) / count
        scores.append(mean / (1 + 0.2 * (sum((x - mean) ** 2 for x in some) / count) ** 0.5))
    return np.array(scores)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_equals_a_loop_over_whole_vocabularies(kind: str) -> None:
    tokenizer = toy_tokenizer()
    texts = [
        f"{prompt.replace('{K}', '5')}\nInstruction:\n{row.prompt}\nResponse:\n{row.response}\nThe answer is:"
        for row in POOL
        for prompt in PROMPTS[:5]
    ]
    expected = _by_loop(toy_lm(kind), [tuple(tokenizer(text)["input_ids"]) for text in texts], 5)
    assert np.ptp(expected) > 1e-3
    for batch_tokens in (500, 100_000):
        np.testing.assert_allclose(ask(toy_lm(kind, batch_tokens=batch_tokens)).y, expected, atol=1e-5)
    plain = replace(toy_lm(kind), shares_prefixes=False, head=None)
    np.testing.assert_allclose(ask(plain).y, expected, atol=1e-5)


def test_calls_are_one_for_each_row_and_prompt() -> None:
    for lm in (toy_lm(), as_lm(TableLM(drawn_table()))):
        for teacher in (SelectIT(), SelectIT(grades=9, prompts=3)):
            got = ask(lm, teacher=teacher)
            calls = calls_of(teacher, size_of(got, targets=0))
            assert (got.ledger.lm_forwards, got.ledger.lm_backwards) == (calls.forwards, calls.backwards)
            assert calls.forwards == teacher.prompts * len(POOL)
    assert got.ledger.truncated == 0 and got.session.truncated() == {}


def test_a_row_that_cannot_be_scored_leaves_the_others_where_they_are() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("~", "")
    pool = rows(("a", "one"), ("b", "~~"), ("c", f"{MARK}"), ("d", "four"), ("e", "~"))
    lm = as_lm(TableLM(sure_of(2), behind_mark=sure_of(4)), tokenizer=tokenizer)
    got = ask(lm, pool=pool)
    np.testing.assert_allclose(got.y, [2, -np.inf, 4, 2, -np.inf], atol=1e-5)
    assert got.ledger.lm_forwards == 3 * 5
    assert ask(lm, pool=pool[1:2]).y.tolist() == [-np.inf]
    i, j = every_pair(1, 5)
    backwards = teaching.ask(SelectIT(), (), pool, lms=[lm], pairs=(i, j[::-1].copy())).y
    np.testing.assert_array_equal(backwards[::-1], got.y)


def test_the_question_survives_rows_that_are_too_long() -> None:
    model = TableLM(grading(*HAND))
    lm = as_lm(model, max_length=400)
    pool = rows(
        ("p" * 900, "short"),
        ("brief", "r" * 900),
        ("q" * 900 + "!", "s" * 900),
        ("fits", "well"),
    )
    got = ask(lm, pool=pool)
    assert set(got.session.truncated()) == {row.id for row in pool[:3]} and got.ledger.truncated == 3
    np.testing.assert_allclose(got.y, np.full(4, 1.25), atol=1e-5)
    ending = tuple(PLACE[c] for c in "\nThe answer is:")
    bodies = {"p": set(), "r": set(), "q": set(), "f": set()}
    for sequence in model.seen:
        assert len(sequence) <= 400 and sequence[-len(ending) :] == ending and sequence[0] == PLACE["<s>"]
        text = "".join(WORDS[word] for word in sequence)
        _, behind = text.split("\nInstruction:\n")
        asked, given = behind.removesuffix("\nThe answer is:").split("\nResponse:\n")
        bodies[next(c for c in "prqf" if c in (given[0] if asked == "brief" else asked[-2:] + asked[0]))].add(
            (asked, given)
        )
    assert {key: len(found) for key, found in bodies.items()} == dict.fromkeys("prqf", 1)  # alike behind every prompt
    ((asked, given),) = bodies["p"]
    assert given == "short" and set(asked) == {"p"} and len(asked) > 50
    room = len(asked) + len(given)
    assert {len(asked) + len(given) for key in "rq" for asked, given in bodies[key]} == {room}
    assert bodies["r"] == {("brief", "r" * (room - 5))}
    assert bodies["q"] == {("q" * (room // 2 - 1) + "!", "s" * (room - room // 2))}


def test_a_chat_model_begins_its_turn_with_the_answer() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT
    for template in ("auto", "chat"):
        model = TableLM(sure_of(4))
        got = ask(as_lm(model, tokenizer=tokenizer), teacher=SelectIT(template=template))  # pyright: ignore
        np.testing.assert_allclose(got.y, np.full(len(POOL), 4), atol=1e-5)
        for sequence in model.seen:
            text = "".join(WORDS[word] for word in sequence)
            assert text.startswith("<s>(user)") and text.endswith("\n(assistant)The answer is:")
            assert "\nInstruction:\n" in text and "\nResponse:\n" in text and sequence.count(PLACE["<s>"]) == 1
    model = TableLM(sure_of(4))
    ask(as_lm(model, tokenizer=tokenizer), teacher=SelectIT(template="plain"))
    assert all("(user)" not in "".join(WORDS[word] for word in sequence) for sequence in model.seen)


@pytest.mark.parametrize("chat", [False, True])
def test_words_of_a_row_never_become_control_tokens(chat: bool) -> None:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = CHAT if chat else None
    model = TableLM(sure_of(4))
    ask(as_lm(model, tokenizer=tokenizer), pool=rows(("a<s>b", "c</s>"), ("d", "e")))
    for sequence in model.seen:
        assert PLACE["</s>"] not in sequence and sequence.count(PLACE["<s>"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grades": 1}, "--option grades is 1; expected a whole number from 2 to 9"),
        ({"grades": 10}, "--option grades is 10"),
        ({"prompts": 0}, "--option prompts is 0; expected a whole number from 1 to 9"),
        ({"prompts": 10}, "--option prompts is 10"),
        ({"alpha": -0.1}, r"--option alpha is -0\.1; expected a number of at least 0"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SelectIT(**options)


def test_what_is_missing_is_said_before_anything_is_scored() -> None:
    with pytest.raises(ConfigError, match="add --model"):
        ask()
    with pytest.raises(ConfigError, match="--max-length 200 leaves no room for a row beside the rating prompt"):
        ask(as_lm(TableLM(uniform_table()), max_length=200))
    with pytest.raises(ConfigError, match="this one has none"):
        ask(toy_lm(), teacher=SelectIT(template="chat"))
