"""How a query, with or without an example in front of it, is worded for a language model: three segments of text."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.registry import did_you_mean

_log = logging.getLogger(__name__)

_ALONE = "Instruction:\nPlease generate a response to the following query.\n\n\n"
_GUIDED = (
    "Instruction:\nUse the following example as a guide to answer the query in the same format and style, "
    "providing a clear and concise response.\n\n\nExample:\n"
)
_QUERY = "Query:\n"
_TAIL = f"\n\n\n{_QUERY}"

_SENTINEL = "user-content-8f1d4c27a96b40e3"
"""Stands for the user's text when a chat template is asked what it puts around it."""

NAMES = ("auto", "plain", "chat")


class Template(Protocol):
    """A wording. One scored sequence is `prefix`, `query` and the target's response, each tokenised apart, so that the
    prefix's key-value cache can be shared by every query that sees the same example.

    Attributes:
        name: `plain` or `chat`.
        special: True: the text already holds the model's special tokens, so the tokenizer must add none;
            False: the tokenizer's own beginning-of-sequence token goes in front of the prefix.
    """

    @property
    def name(self) -> str: ...

    @property
    def special(self) -> bool: ...

    def prefix(self, example: Example | None) -> str:
        """What stands before the query: the instruction, and the example if there is one."""
        ...

    def query(self, target: Example) -> str:
        """The target's prompt, up to where its response starts."""
        ...

    def example_span(self, example: Example) -> tuple[int, int]:
        """Where the example's own text starts and ends in `prefix(example)`, in characters: all that may be dropped."""
        ...


class PlainTemplate:
    """The wording of DELIFT as bare text, for base models and wherever no chat template fits.

    Reference: DELIFT (Agarwal et al., 2025), utility-based kernel.
    """

    name = "plain"
    special = False

    def prefix(self, example: Example | None) -> str:
        return _prefix(example)

    def query(self, target: Example) -> str:
        return f"{target.prompt}\n" if _has_prompt(target) else ""

    def example_span(self, example: Example) -> tuple[int, int]:
        return len(_GUIDED), len(_prefix(example)) - len(_TAIL)


class ChatTemplate:
    """The plain wording as one user message in the model's own chat format; the response is the assistant's turn.

    Args:
        tokenizer: anything with `apply_chat_template(messages, tokenize=False, add_generation_prompt=True)`.

    Attributes:
        before, after: what the template puts in front of a user message, and behind it until the assistant speaks.

    Raises:
        ConfigError: the template fails on a single user message, or does not pass its content through once and unchanged.
    """

    name = "chat"
    special = True

    __slots__ = ("after", "before")

    def __init__(self, tokenizer: Any) -> None:
        message = {"role": "user", "content": _SENTINEL}
        try:
            text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program and raises what it likes
            raise ConfigError(f"the chat template fails on a single user message: {error}.") from error
        if not isinstance(text, str) or text.count(_SENTINEL) != 1:
            raise ConfigError("the chat template does not pass a user message through unchanged.")
        self.before, _, self.after = text.partition(_SENTINEL)

    def prefix(self, example: Example | None) -> str:
        return self.before + _prefix(example)

    def query(self, target: Example) -> str:
        return target.prompt + self.after

    def example_span(self, example: Example) -> tuple[int, int]:
        start = len(self.before)
        return start + len(_GUIDED), start + len(_prefix(example)) - len(_TAIL)


def choose_template(tokenizer: Any, name: str = "auto") -> Template:
    """The template to score with.

    Args:
        tokenizer: the language model's, or anything with its `chat_template` and `apply_chat_template`.
        name: `plain`, `chat`, or `auto`: the chat template where the tokenizer has one that works, else plain.

    Raises:
        ConfigError: the name is unknown, or `chat` is asked of a tokenizer without a chat template that works.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown template {name!r}. {did_you_mean(name, NAMES)}")
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "chat" and not has_chat:
        raise ConfigError("template 'chat' needs a tokenizer with a chat template, and this one has none. Use 'plain'.")
    if name == "plain" or not has_chat:
        return PlainTemplate()
    try:
        return ChatTemplate(tokenizer)
    except ConfigError as error:
        if name == "chat":
            raise ConfigError(f"{error} Use template 'plain'.") from error
        _log.warning("the plain template is used: %s", error)
        return PlainTemplate()


def _has_prompt(example: Example) -> bool:
    return len(example.turns) > 1


def _prefix(example: Example | None) -> str:
    if example is None:
        return _ALONE + _QUERY
    shown = f"{example.prompt}\n{example.response}" if _has_prompt(example) else example.response
    return f"{_GUIDED}{shown}{_TAIL}"
