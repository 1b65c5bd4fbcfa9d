"""A row as a model is trained on it: prompt, response, special tokens once, nothing scored twice."""

from __future__ import annotations

import pytest

from nncift.data.rows import Example, Turn
from nncift.data.wording import PlainWording, choose_wording
from nncift.errors import ConfigError
from nncift.lm.tokens import tokenize_row
from teaching import rows
from toy_tables import PLACE
from toys import WORDS, toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] }}\n{% endfor %}(assistant)"


def text(ids: tuple[int, ...]) -> str:
    return "".join(WORDS[k] for k in ids)


def test_plain_is_prompt_line_break_response() -> None:
    with_prompt, without = rows(("add", "5"), ("", "only this"))
    query = tokenize_row(toy_tokenizer(), PlainWording(), with_prompt, limit=100)
    assert query is not None and (text(query.ids), text(query.response)) == ("<s>add\n", "5")
    query = tokenize_row(toy_tokenizer(), PlainWording(), without, limit=100)
    assert query is not None and (text(query.ids), text(query.response)) == ("<s>", "only this")
    query = tokenize_row(toy_tokenizer(bos=False), PlainWording(), without, limit=100)
    assert query is not None and query.ids == ()


def test_chat_keeps_every_turn_and_one_beginning() -> None:
    tokenizer = toy_tokenizer()
    assert choose_wording(tokenizer).name == "plain"
    with pytest.raises(ConfigError, match="has none"):
        choose_wording(tokenizer, "chat")
    tokenizer.chat_template = CHAT
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d"))
    query = tokenize_row(tokenizer, choose_wording(tokenizer), Example("x", turns, 0, 1, b""), limit=100)
    assert query is not None
    assert text(query.ids) == "<s>(user)a\n(assistant)b\n(user)c\n(assistant)" and text(query.response) == "d"
    assert query.ids.count(PLACE["<s>"]) == 1


def test_the_limit_takes_the_left_end_of_the_prompt() -> None:
    (row,) = rows(("x" * 50 + "end", "abc"))
    query = tokenize_row(toy_tokenizer(), PlainWording(), row, limit=20)
    assert query is not None and query.truncated
    assert text(query.ids).startswith("<s>x") and text(query.ids).endswith("end\n")
    assert text(query.response) == "abc" and len(query) == 20


def test_a_response_without_a_token_is_none() -> None:
    class Deaf:
        bos_token_id = None

        def __call__(self, words: str, **options: object) -> dict[str, list[int]]:
            return {"input_ids": [ord(c) for c in words if c != "\u200b"]}

    silent = Example("x", (Turn("user", "a"), Turn("assistant", "\u200b")), 0, 1, b"")
    assert tokenize_row(Deaf(), PlainWording(), silent, limit=100) is None
