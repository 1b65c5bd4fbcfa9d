"""One marker for the rows that are shown and for the query; nothing of a row is lost, nothing of the answer leaks."""

from __future__ import annotations

import logging

import pytest

from nncift.data.demonstrations import (
    ChatDemonstrations,
    Demonstrations,
    PlainDemonstrations,
    choose_demonstrations,
    demonstration_text,
    query_text,
)
from nncift.data.rows import Example, Turn
from nncift.errors import ConfigError
from teaching import rows
from toys import toy_tokenizer

CHAT = "<s>{% for m in messages %}({{ m['role'] }}){{ m['content'] | trim }}\n{% endfor %}(assistant)"
LATE = "m['role'] == 'system' and not loop.first"
STRICT = "{% for m in messages %}{% if " + LATE + " %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
FORGETFUL = CHAT.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
SHOWN = rows(("one?", "1"), ("two?", "2"), ("three?", "3"))
(QUERY,) = rows(("four?", "not to be seen"))


def chat(template: str = CHAT) -> ChatDemonstrations:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template
    return ChatDemonstrations(tokenizer)


def conversation(*turns: tuple[str, str]) -> Example:
    return Example("c", tuple(Turn(role, content) for role, content in turns), 0, 1, b"")  # pyright: ignore[reportArgumentType]


SYSTEM = conversation(("system", "be brief"), ("user", "five?"), ("assistant", "5"))
BARE = conversation(("assistant", "only this"))


def test_plain_by_hand() -> None:
    text = PlainDemonstrations().word(SHOWN[:2], QUERY).text
    assert text == "Task:\none?\nAnswer:\n1\n\nTask:\ntwo?\nAnswer:\n2\n\nTask:\nfour?\nAnswer:\n"
    assert PlainDemonstrations().word([], QUERY).text == "Task:\nfour?\nAnswer:\n"
    assert PlainDemonstrations().word([BARE], BARE).text == "Answer:\nonly this\n\nAnswer:\n"


def test_chat_by_hand() -> None:
    worded = chat().word(SHOWN[:2], QUERY)
    assert worded.text == "<s>(user)one?\n(assistant)1\n(user)two?\n(assistant)2\n(user)four?\n(assistant)"
    assert not worded.plainly
    two = conversation(("user", "a?"), ("assistant", "A"), ("user", "b?"), ("assistant", "B"))
    assert chat().word([two], two).text == (
        "<s>(user)a?\n(assistant)A\n(user)b?\n(assistant)B\n(user)a?\n(assistant)A\n(user)b?\n(assistant)"
    )


@pytest.mark.parametrize("wording", [PlainDemonstrations(), chat()], ids=["plain", "chat"])
def test_the_text_around_a_row_is_the_text_around_the_query(wording: Demonstrations) -> None:
    zero = wording.word([], QUERY).text
    start = "<s>" if zero.startswith("<s>") else ""
    before, after = zero.removeprefix(start).split("four?")
    assert before and after
    text = wording.word(SHOWN, QUERY).text
    gap = text.split("1")[1].split(before)[0]
    shown = "".join(f"{before}{row.prompt}{after}{row.response}{gap}" for row in SHOWN)
    assert text == f"{start}{shown}{before}four?{after}"


@pytest.mark.parametrize("template", [STRICT + CHAT, FORGETFUL], ids=["raises", "forgets"])
def test_turns_that_a_template_does_not_take_are_shown_as_text(template: str) -> None:
    wording = chat(template)
    assert not wording.word(SHOWN, QUERY).plainly
    worded = wording.word([SHOWN[0], SYSTEM], QUERY)
    plain = PlainDemonstrations().word([SHOWN[0], SYSTEM], QUERY).text
    assert worded.plainly and worded.text == f"<s>(user){plain}\n(assistant)"
    assert "System: be brief\nUser: five?\nAnswer:\n5" in worded.text


def test_a_row_without_a_prompt_is_no_turn() -> None:
    worded = chat().word([BARE], QUERY)
    assert worded.plainly and worded.text.startswith("<s>(user)Answer:\nonly this\n\nTask:\nfour?")
    assert chat().word([], BARE).text == "<s>(user)Answer:\n\n(assistant)"


def test_the_answer_ends_where_a_base_model_goes_on_by_itself() -> None:
    plain = PlainDemonstrations()
    for more in ("", "\n\nTask:\nnext?\nAnswer:\n5", "\n\nAnswer:\n5\n\nTask:\n6", "\n\nTask:"):
        assert plain.answer(f"first line\n\nsecond: Task:{more}") == "first line\n\nsecond: Task:"
    assert plain.answer("\n\nTask:\nx") == ""
    assert chat().answer(" a\n\nTask:\nb ") == "a\n\nTask:\nb"


def test_what_is_embedded() -> None:
    assert query_text(QUERY) == "four?" and query_text(BARE) == ""
    assert demonstration_text(SHOWN[0]) == "one?\n1" and demonstration_text(BARE) == "only this"


def test_the_wording_is_chosen_by_what_the_tokenizer_can(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = toy_tokenizer()
    assert choose_demonstrations(tokenizer).name == "plain"
    with pytest.raises(ConfigError, match="has none"):
        choose_demonstrations(tokenizer, "chat")
    tokenizer.chat_template = CHAT
    assert choose_demonstrations(tokenizer).name == "chat"
    assert choose_demonstrations(tokenizer, "plain").name == "plain"
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ConfigError, match="never"):
        choose_demonstrations(tokenizer, "chat")
    with caplog.at_level(logging.WARNING):
        assert choose_demonstrations(tokenizer).name == "plain"
    assert len(caplog.messages) == 1
