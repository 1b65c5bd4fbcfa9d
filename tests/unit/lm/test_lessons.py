"""A lesson is a row and, behind a whole response, what ends it; a response that was cut stays open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.data.wording import ChatWording, PlainWording, choose_wording
from nncift.errors import ConfigError
from nncift.lm.tokens import tokenize_lesson, tokenize_prompt, tokenize_row
from teaching import rows
from toys import WORDS, toy_tokenizer

EOS = 2
TURNS = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{END}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chat(end: str = "</s>", template: str = TURNS) -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template.replace("{END}", end)
    return tokenizer


def text(ids: tuple[int, ...]) -> str:
    return "".join(WORDS[k] for k in ids)


ROW = rows(("add?", "two"))[0]
BARE = rows(("", "two"))[0]


def test_plain_ends_with_the_end_of_sequence() -> None:
    lesson = tokenize_lesson(toy_tokenizer(), PlainWording(), ROW, limit=64)
    row = tokenize_row(toy_tokenizer(), PlainWording(), ROW, limit=64)
    assert lesson is not None and row is not None
    assert text(lesson.ids) == "<s>add?\n" and lesson.ids == row.ids
    assert lesson.response == (*row.response, EOS) and text(row.response) == "two"


@pytest.mark.parametrize("end", ["</s>", "<|im_end|>", "\n<end>"])
def test_chat_ends_with_the_templates_own_end_of_turn(end: str) -> None:
    """All of its tokens, and not the line break before the next turn; nothing of the sequence's end is added."""
    tokenizer = chat(end)
    lesson = tokenize_lesson(tokenizer, ChatWording(tokenizer), ROW, limit=99)
    assert lesson is not None and text(lesson.ids).endswith("<assistant>") and text(lesson.response) == "two" + end
    assert ChatWording(tokenizer).closing(ROW) == end


def test_a_template_that_ends_no_turn_and_a_row_without_a_prompt_get_the_end_of_sequence() -> None:
    for tokenizer, row in ((chat(""), ROW), (chat("<|im_end|>"), BARE)):
        assert ChatWording(tokenizer).closing(row) == ""
        lesson = tokenize_lesson(tokenizer, ChatWording(tokenizer), row, limit=99)
        assert lesson is not None and lesson.response[-1] == EOS and text(lesson.response[:-1]) == "two"


def test_a_template_that_leaves_the_response_out_says_nothing_of_its_end() -> None:
    tokenizer = chat(
        template="{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}|{% endif %}{% endfor %}"
    )
    assert ChatWording(tokenizer).closing(ROW) == ""


def test_a_tokenizer_without_an_end_adds_none() -> None:
    tokenizer = toy_tokenizer()
    tokenizer.eos_token = None
    lesson = tokenize_lesson(tokenizer, PlainWording(), ROW, limit=64)
    assert lesson is not None and text(lesson.response) == "two"


def test_a_template_that_refuses_a_row_names_it() -> None:
    def refuse(messages: Any, **options: Any) -> str:
        raise ValueError("no system turn")

    with pytest.raises(ConfigError, match=f"row '{ROW.id}': no system turn"):
        ChatWording(SimpleNamespace(apply_chat_template=refuse)).closing(ROW)


@given(
    prompt=st.text(st.sampled_from(WORDS[4:]), max_size=30),
    response=st.text(st.sampled_from(WORDS[4:]), min_size=1, max_size=30).filter(lambda said: bool(said.strip())),
    limit=st.integers(16, 70),
    kind=st.sampled_from(["plain", "</s>", "<end>"]),
)
def test_a_whole_response_is_closed_and_a_cut_one_left_open(prompt: str, response: str, limit: int, kind: str) -> None:
    """Whatever the limit took, and the response keeps room before its end does."""
    tokenizer = toy_tokenizer() if kind == "plain" else chat(kind)
    (row,) = rows((prompt, response))
    wording = choose_wording(tokenizer, "auto")
    lesson, plain = (tokenizing(tokenizer, wording, row, limit=limit) for tokenizing in (tokenize_lesson, tokenize_row))
    assert lesson is not None and plain is not None and len(lesson) <= limit
    end = "</s>" if kind == "plain" or len(row.turns) == 1 else kind
    if text(lesson.response) == row.response + end:
        assert plain.response == lesson.response[: len(row.response)]
        assert text(plain.ids).endswith(text(lesson.ids)[-8:])
        assert lesson.truncated or lesson.ids == plain.ids
    else:
        assert lesson == plain  # no room for response and end: what there is, and no end
        assert row.response.startswith(text(lesson.response))
        stays = min(8, len(plain.ids)) + (wording.name == "plain")
        assert len(row.response) + len(tokenizer(end, add_special_tokens=False)["input_ids"]) > limit - stays


def test_a_long_prompt_does_not_cost_the_end() -> None:
    row = rows(("river " * 30, "rain"))[0]
    lesson = tokenize_lesson(toy_tokenizer(), PlainWording(), row, limit=40)
    assert lesson is not None and len(lesson) == 40 and lesson.truncated
    assert text(lesson.response) == "rain</s>"


def test_a_response_without_a_token_teaches_nothing() -> None:
    class Deaf:
        eos_token_id = EOS
        bos_token_id = None

        def __call__(self, text: str, **options: Any) -> dict[str, list[int]]:
            return {"input_ids": []}

    row: Example = load_pool([{"prompt": "a", "completion": "b"}])[0]
    assert tokenize_lesson(Deaf(), PlainWording(), row, limit=20) is None


def test_a_row_without_a_prompt_begins_with_the_beginning_of_sequence_in_chat_too() -> None:
    """No template text holds it; a tokenizer that puts none in front of a text gets none."""
    tokenizer = chat()
    for tokenizing in (tokenize_lesson, tokenize_row):
        bare = tokenizing(tokenizer, ChatWording(tokenizer), BARE, limit=99)
        with_prompt = tokenizing(tokenizer, ChatWording(tokenizer), ROW, limit=99)
        assert bare is not None and text(bare.ids) == "<s>"
        assert with_prompt is not None and "<s>" not in text(with_prompt.ids)
    without = toy_tokenizer(bos=False)
    row = tokenize_row(without, ChatWording(without), BARE, limit=99)
    assert row is not None and row.ids == ()


@pytest.mark.parametrize("kind", ["plain", "chat"])
def test_a_prompt_to_answer_knows_nothing_of_the_response(kind: str) -> None:
    tokenizer = chat() if kind == "chat" else toy_tokenizer()
    wording = choose_wording(tokenizer, kind)
    short, long = rows(("a" * 60 + "end?", "x"), ("a" * 60 + "end?", "x" * 70))
    whole, cut = tokenize_prompt(tokenizer, wording, short, limit=400, new_tokens=30)
    row = tokenize_row(tokenizer, wording, short, limit=400)
    assert row is not None and whole == row.ids and not cut
    for limit, new_tokens, kept in ((80, 30, 50), (80, 75, 40), (10, 9, 8 + (kind == "plain"))):
        both = [
            tokenize_prompt(tokenizer, wording, asked, limit=limit, new_tokens=new_tokens) for asked in (short, long)
        ]
        ids, cut = both[0]
        assert both[1] == both[0] and cut and len(ids) == kept and text(ids)[-8:] == text(whole)[-8:]
    assert tokenize_prompt(tokenizer, wording, BARE, limit=80, new_tokens=30) == ((1,), False)
