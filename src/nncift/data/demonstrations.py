"""How a query is worded behind rows that show how such queries are answered; one marker serves the rows and the query.

A model learns the form of an answer from where the rows' answers stand. If the query's answer were asked for in other words
than the rows' answers were given, half of that would be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nncift.data.rows import Example
from nncift.data.template import ChatTemplate
from nncift.data.wording import WordingName
from nncift.errors import ConfigError

_log = logging.getLogger(__name__)

_TASK, _ANSWER, _BETWEEN = "Task:\n", "Answer:\n", "\n\n"


@dataclass(frozen=True, slots=True)
class Worded:
    """A text up to where the query's response starts.

    Attributes:
        text: never empty; the query stands in it whole.
        plainly: whether a chat model is shown the rows as plain text in one user message, because its chat format does not
            take them as turns.
    """

    text: str
    plainly: bool


class Demonstrations(Protocol):
    """A wording of rows and a query.

    Attributes:
        name: `plain` or `chat`.
        special: whether the text already holds the model's special tokens, so that the tokenizer must add none.
    """

    @property
    def name(self) -> str: ...

    @property
    def special(self) -> bool: ...

    def word(self, shown: Sequence[Example], query: Example) -> Worded:
        """The rows in the order given, their responses with them, and the query without its own; no rows: the query alone."""
        ...

    def answer(self, written: str) -> str:
        """The answer in what a model wrote behind the text."""
        ...


class PlainDemonstrations:
    """`Task:` and `Answer:` on lines of their own: for base models. A row without a prompt is its answer alone."""

    name = "plain"
    special = False

    def word(self, shown: Sequence[Example], query: Example) -> Worded:
        rows = (f"{_asked(row)}{row.response}{_BETWEEN}" for row in shown)
        return Worded("".join([*rows, _asked(query)]), False)

    def answer(self, written: str) -> str:
        """What stands before a task, or an answer to no task, that the model went on to make up, as base models do."""
        ends = (written.find(_BETWEEN + marker.rstrip()) for marker in (_TASK, _ANSWER))
        return written[: min((end for end in ends if end >= 0), default=len(written))].strip()


class ChatDemonstrations:
    """Rows and query as one conversation in the model's own chat format, up to where the assistant speaks.

    Where the format does not take them as turns, the plain wording in a single user message stands in: a row has no prompt,
    the template raises an error (many take a system turn only at the start, or none), or it leaves out some of the text.

    Args:
        tokenizer: anything with `apply_chat_template(messages, tokenize=False, add_generation_prompt=True)`.

    Raises:
        ConfigError: the template does not even take a single user message.
    """

    name = "chat"
    special = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._message = ChatTemplate(tokenizer)

    def word(self, shown: Sequence[Example], query: Example) -> Worded:
        conversation = self._conversation(shown, query)
        if conversation is not None:
            return Worded(conversation, False)
        plain = PlainDemonstrations().word(shown, query).text
        return Worded(f"{self._message.before}{plain}{self._message.after}", True)

    def answer(self, written: str) -> str:
        """All of it: the model ends its own turn."""
        return written.strip()

    def _conversation(self, shown: Sequence[Example], query: Example) -> str | None:
        """The turns in the chat format, or None where it does not take all of them."""
        if any(len(row.turns) == 1 for row in (*shown, query)):
            return None
        turns = [*(turn for row in shown for turn in row.turns), *query.turns[:-1]]
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception:  # a template is a program and raises what it likes
            return None
        return text if _holds(text, [turn.content.strip() for turn in turns]) else None


def choose_demonstrations(tokenizer: Any, name: WordingName = "auto", *, mend: str = "Use 'plain'.") -> Demonstrations:
    """The wording to use.

    Args:
        tokenizer: the language model's.
        name: `plain`, `chat`, or `auto`: the chat template where the tokenizer has one that works, else plain.
        mend: what the user does where `chat` cannot be.

    Raises:
        ConfigError: `chat` is asked of a tokenizer without a chat template that works.
    """
    has_chat = bool(getattr(tokenizer, "chat_template", None))
    if name == "chat" and not has_chat:
        raise ConfigError(f"wording 'chat' needs a tokenizer with a chat template, and this one has none. {mend}")
    if name == "plain" or not has_chat:
        return PlainDemonstrations()
    try:
        return ChatDemonstrations(tokenizer)
    except ConfigError as error:
        if name == "chat":
            raise ConfigError(f"{error} {mend}") from error
        _log.warning("the plain wording is used: %s", error)
        return PlainDemonstrations()


def query_text(row: Example) -> str:
    """What of a query is embedded, to find the rows nearest to it: its prompt; its response would give itself away."""
    return row.prompt


def demonstration_text(row: Example) -> str:
    """What of a row that may be shown is embedded: prompt and response."""
    return row.text


def _asked(row: Example) -> str:
    """A row up to where its response starts."""
    return f"{_TASK}{row.prompt}\n{_ANSWER}" if len(row.turns) > 1 else _ANSWER


def _holds(text: object, contents: Sequence[str]) -> bool:
    """Whether the contents stand in a text one behind the other."""
    if not isinstance(text, str):
        return False
    place = 0
    for content in contents:
        found = text.find(content, place)
        if found < 0:
            return False
        place = found + len(content)
    return True
