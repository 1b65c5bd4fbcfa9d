"""Templates: the plain wording byte for byte, and the chat wording cut at the same places."""

from __future__ import annotations

from typing import Any

import pytest

from nncift.data.rows import Example, Turn
from nncift.data.template import ChatTemplate, PlainTemplate, choose_template
from nncift.errors import ConfigError


def example(*texts: str) -> Example:
    roles = ("user", "assistant") if len(texts) == 2 else ("assistant",)
    return Example("x", tuple(Turn(role, text) for role, text in zip(roles, texts, strict=True)), 0, 1, {})  # pyright: ignore


TARGET, SHOWN, BARE = example("2 + 2?", "4"), example("1 + 1?", "2"), example("only text")

ALONE = "Instruction:\nPlease generate a response to the following query.\n\n\nQuery:\n"
GUIDED = (
    "Instruction:\nUse the following example as a guide to answer the query in the same format and style, providing a "
    "clear and concise response.\n\n\nExample:\n1 + 1?\n2\n\n\nQuery:\n"
)


class Tokenizer:
    """A chat format in the manner of ChatML; `text` replaces the user's content where it is given."""

    chat_template = "here"

    def __init__(self, text: str | None = None, error: Exception | None = None) -> None:
        self.text, self.error = text, error

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        assert not tokenize and add_generation_prompt
        if self.error is not None:
            raise self.error
        (message,) = messages
        content = message["content"] if self.text is None else self.text.format(message["content"])
        return f"<s>[{message['role']}]\n{content}<end>\n[assistant]\n"


def test_plain_wording_is_exact() -> None:
    template = PlainTemplate()
    assert (template.prefix(None), template.query(TARGET)) == (ALONE, "2 + 2?\n")
    assert template.prefix(SHOWN) == GUIDED
    assert not template.special


def test_a_row_without_prompt_has_an_empty_query() -> None:
    assert PlainTemplate().query(BARE) == ""
    assert PlainTemplate().prefix(BARE).endswith("Example:\nonly text\n\n\nQuery:\n")


def test_chat_wording_is_the_plain_one_inside_one_user_message() -> None:
    template = ChatTemplate(Tokenizer())
    assert (template.prefix(SHOWN), template.query(TARGET)) == (f"<s>[user]\n{GUIDED}", "2 + 2?<end>\n[assistant]\n")
    assert template.prefix(None) == f"<s>[user]\n{ALONE}"
    assert template.special


@pytest.mark.parametrize("template", [PlainTemplate(), ChatTemplate(Tokenizer())])
@pytest.mark.parametrize("shown", [SHOWN, BARE])
def test_the_span_is_the_example(template: PlainTemplate | ChatTemplate, shown: Example) -> None:
    start, end = template.example_span(shown)
    assert template.prefix(shown)[start:end] == ("1 + 1?\n2" if shown is SHOWN else "only text")


def test_auto_prefers_the_chat_template() -> None:
    assert choose_template(Tokenizer()).name == "chat"
    assert choose_template(Tokenizer(), "plain").name == "plain"
    assert choose_template(object()).name == "plain"


@pytest.mark.parametrize(
    ("tokenizer", "why"),
    [
        (Tokenizer(text="{0} {0}"), "unchanged"),
        (Tokenizer(text="gone"), "unchanged"),
        (Tokenizer(error=RuntimeError("system turn first")), "system turn first"),
    ],
)
def test_a_chat_template_that_does_not_work_falls_back_with_a_warning(
    tokenizer: Tokenizer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_template(tokenizer).name == "plain"
    assert "the plain template is used" in caplog.text and why in caplog.text
    with pytest.raises(ConfigError, match=why):
        choose_template(tokenizer, "chat")


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"unknown template 'plian'\. Did you mean 'plain'"):
        choose_template(object(), "plian")
    with pytest.raises(ConfigError, match="this one has none"):
        choose_template(object(), "chat")
