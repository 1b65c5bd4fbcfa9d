"""How a row is worded when a model is trained on it or its response is scored by itself, without an instruction of ours."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from nncift.data.rows import Example
from nncift.errors import ConfigError

WordingName = Literal["auto", "plain", "chat"]


class Wording(Protocol):
    """A wording of a row's prompt; the response follows it, tokenised apart.

    Attributes:
        name: `plain` or `chat`.
        special: whether the text already holds the model's special tokens, so that the tokenizer must add none.
    """

    @property
    def name(self) -> str: ...

    @property
    def special(self) -> bool: ...

    def query(self, row: Example) -> str:
        """The row's prompt, up to where its response starts; empty where it has none."""
        ...


class PlainWording:
    """The prompt, a line break, the response: for base models."""

    name = "plain"
    special = False

    def query(self, row: Example) -> str:
        return f"{row.prompt}\n" if len(row.turns) > 1 else ""


class ChatWording:
    """The turns in the model's own chat format, up to where the assistant speaks.

    Arguments:
        tokenizer: anything with `apply_chat_template(messages, tokenize=False, add_generation_prompt=True)`.
    """

    name = "chat"
    special = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def query(self, row: Example) -> str:
        """Raises:
        ConfigError: the template does not take this row's turns, for example a system turn.
        """
        if len(row.turns) == 1:
            return ""
        messages = [{"role": turn.role, "content": turn.content} for turn in row.turns[:-1]]
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program and raises what it likes
            raise ConfigError(
                f"the chat template fails on row {row.id!r}: {error}. Use `--option wording=plain`."
            ) from error


def choose_wording(tokenizer: Any, name: str = "auto") -> Wording:
    """The wording to use.

    Arguments:
        tokenizer: the language model's.
        name: `plain`, `chat`, or `auto`: the chat template where the tokenizer has one, else plain.

    Raises:
        ConfigError: `chat` is asked of a tokenizer without a chat template.
    """
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "chat" and not has_chat:
        raise ConfigError("wording 'chat' needs a tokenizer with a chat template, and this one has none. Use 'plain'.")
    return ChatWording(tokenizer) if has_chat and name != "plain" else PlainWording()
