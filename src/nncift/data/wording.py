"""How a row is worded when a model is trained on it or its response is scored by itself, without an instruction of ours."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from nncift.data.rows import Example
from nncift.errors import ConfigError

WordingName = Literal["auto", "plain", "chat"]

AS_OPTION = "Use `--option wording=plain`."
"""How influences, which take the wording as an option of theirs, do without a chat template."""

_RESPONSE = "response-5b0e93d1f27c4a68"
"""Stands for the response when a chat template is asked what it puts behind one."""


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

    def closing(self, row: Example) -> str:
        """What stands behind the response when the model has said it; empty where the end-of-sequence token alone does."""
        ...


class PlainWording:
    """The prompt, a line break, the response: for base models."""

    name = "plain"
    special = False

    def query(self, row: Example) -> str:
        return f"{row.prompt}\n" if len(row.turns) > 1 else ""

    def closing(self, row: Example) -> str:
        return ""


class ChatWording:
    """The turns in the model's own chat format, up to where the assistant speaks.

    Args:
        tokenizer: anything with `apply_chat_template(messages, tokenize=False, add_generation_prompt=True)`.
        mend: what the user does where the template does not take a row.
    """

    name = "chat"
    special = True

    def __init__(self, tokenizer: Any, *, mend: str = AS_OPTION) -> None:
        self._tokenizer, self._mend = tokenizer, mend

    def query(self, row: Example) -> str:
        """Raises:
        ConfigError: the template does not take this row's turns, for example a system turn.
        """
        if len(row.turns) == 1:
            return ""
        return self._render(row, [(turn.role, turn.content) for turn in row.turns[:-1]], opened=True)

    def closing(self, row: Example) -> str:
        """The end of the assistant's turn, without the space before the next one.

        Raises:
            ConfigError: as in `query`.
        """
        if len(row.turns) == 1:
            return ""
        turns = [(turn.role, turn.content) for turn in row.turns[:-1]]
        text = self._render(row, [*turns, ("assistant", _RESPONSE)], opened=False)
        _, found, after = text.rpartition(_RESPONSE)
        return after.rstrip() if found else ""

    def _render(self, row: Example, turns: list[tuple[str, str]], *, opened: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened)
        except Exception as error:  # a template is a program and raises what it likes
            raise ConfigError(f"the chat template fails on row {row.id!r}: {error}. {self._mend}") from error


def choose_wording(tokenizer: Any, name: str = "auto", *, mend: str = AS_OPTION) -> Wording:
    """The wording to use.

    Args:
        tokenizer: the language model's.
        name: `plain`, `chat`, or `auto`: the chat template where the tokenizer has one, else plain.
        mend: what the user does where the chat template does not work.

    Raises:
        ConfigError: `chat` is asked of a tokenizer without a chat template.
    """
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "chat" and not has_chat:
        raise ConfigError(f"wording 'chat' needs a tokenizer with a chat template, and this one has none. {mend}")
    return ChatWording(tokenizer, mend=mend) if has_chat and name != "plain" else PlainWording()
