"""From rendered text to token ids: prefixes that many queries share, and the queries whose responses are scored.

Prefix, query and response are tokenised apart and their ids joined. That definition makes sharing a prefix's key-value
cache exact: no merge across a boundary can depend on what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nncift.data.rows import Example
from nncift.data.template import Template
from nncift.data.wording import Wording
from nncift.errors import DataError

_PROMPT_END = 8  # tokens behind the user's text in the longest of the common chat templates


@dataclass(frozen=True, slots=True)
class Prefix:
    """Token ids of an instruction, with an example or without one.

    Attributes:
        ids: all ids, the tokenizer's BOS first where the model was trained with one.
        head: how many ids stand before the example's text; they are never dropped.
        tail: how many stand behind it; they are never dropped.
    """

    ids: tuple[int, ...]
    head: int
    tail: int

    @property
    def droppable(self) -> int:
        """How many ids of the example's text may go when the context is full."""
        return max(0, len(self.ids) - self.head - self.tail)

    def fit(self, limit: int) -> tuple[int, ...]:
        """The ids with the example's text cut from its left until at most `limit` remain (never below head and tail)."""
        drop = min(self.droppable, max(0, len(self.ids) - limit))
        return self.ids[: self.head] + self.ids[self.head + drop :]


@dataclass(frozen=True, slots=True)
class Query:
    """Token ids of a target: its prompt, and the response that is scored.

    Attributes:
        ids: the prompt's ids.
        response: the ids that are scored, at least one.
        truncated: whether the context limit took tokens of the prompt or the response; they are then missing in every pass.
    """

    ids: tuple[int, ...]
    response: tuple[int, ...]
    truncated: bool

    def __len__(self) -> int:
        return len(self.ids) + len(self.response)


def tokenize_prefix(tokenizer: Any, template: Template, example: Example | None) -> Prefix:
    """The shared part in front of every query that sees `example` (None: the instruction alone)."""
    text = template.prefix(example)
    bos = () if template.special else bos_ids(tokenizer)
    ids = (*bos, *text_ids(tokenizer, text, special=template.special))
    if example is None:
        return Prefix(ids, len(ids), 0)
    start, end = template.example_span(example)
    head = len(bos) + len(text_ids(tokenizer, text[:start], special=template.special))
    return Prefix(ids, head, len(text_ids(tokenizer, text[end:], special=template.special)))


def tokenize_query(tokenizer: Any, template: Template | Wording, target: Example, *, limit: int) -> Query:
    """The target's prompt and response within `limit` tokens: the prompt loses text from its left first, the response only
    its last tokens and only where it is too long alone. The prompt's last tokens stay in any case: with a chat template
    they open the model's turn.

    Raises:
        DataError: the response has no token.
    """
    query = text_ids(tokenizer, template.query(target), special=template.special)
    response = text_ids(tokenizer, target.response, special=False)
    if not response:
        raise DataError(f"row {target.id!r}: its response has no token under this tokenizer. Remove the row.")
    stays = min(len(query), _PROMPT_END)
    kept_response = response[: max(1, limit - stays)]
    room = max(stays, limit - len(kept_response))
    kept_query = query[len(query) - min(room, len(query)) :]
    truncated = len(kept_query) < len(query) or len(kept_response) < len(response)
    return Query(tuple(kept_query), tuple(kept_response), truncated)


def tokenize_row(tokenizer: Any, wording: Wording, row: Example, *, limit: int) -> Query | None:
    """A row by itself, as a model is trained on it: beginning-of-sequence token, prompt and response within `limit` tokens,
    cut as `tokenize_query` cuts. None where the response has no token under this tokenizer, so that there is nothing to
    score."""
    if not text_ids(tokenizer, row.response, special=False):
        return None
    bos = _opening(tokenizer, wording, row)
    query = tokenize_query(tokenizer, wording, row, limit=limit - len(bos))
    return Query((*bos, *query.ids), query.response, query.truncated)


def tokenize_prompt(
    tokenizer: Any, wording: Wording, row: Example, *, limit: int, new_tokens: int
) -> tuple[tuple[int, ...], bool]:
    """A row as a model is asked it, whatever its response: the prompt alone, cut from its left where it leaves no room for an
    answer. An answer longer than half of the context takes none of the prompt's half.

    Args:
        limit: the context in tokens.
        new_tokens: the longest answer.

    Returns:
        The ids, empty where there is nothing in front of the response, and whether the limit took some.
    """
    bos = _opening(tokenizer, wording, row)
    query = text_ids(tokenizer, wording.query(row), special=wording.special)
    room = max(_PROMPT_END, max(limit - new_tokens, limit // 2) - len(bos))
    return (*bos, *query[-room:]), len(query) > room


def tokenize_lesson(tokenizer: Any, wording: Wording, row: Example, *, limit: int) -> Query | None:
    """A row to learn from: `tokenize_row`, and behind a whole response what ends it, so that a model learns to stop. A
    response that was cut is left open."""
    end = text_ids(tokenizer, wording.closing(row), special=True)
    if not end and tokenizer.eos_token_id is not None:
        end = [tokenizer.eos_token_id]
    query = tokenize_row(tokenizer, wording, row, limit=limit - len(end))
    if query is None or len(query.response) < len(text_ids(tokenizer, row.response, special=False)):
        return tokenize_row(tokenizer, wording, row, limit=limit)
    return Query(query.ids, (*query.response, *end), query.truncated)


def untrainable(lm: Any, wording: Wording, rows: Sequence[Example]) -> list[int]:
    """Positions of rows in which no token is predicted from one before it: the response has none, or only one and nothing
    stands in front of it."""
    queries = (tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length) for row in rows)
    return [k for k, query in enumerate(queries) if query is None or len(query) < 2]


def join(prefix: Sequence[int], query: Query) -> tuple[tuple[int, ...], Query]:
    """A prefix and a query that can be scored apart: an empty prompt borrows the prefix's last token, because the first
    response token is predicted from the token before it."""
    if query.ids:
        return tuple(prefix), query
    return tuple(prefix[:-1]), Query((prefix[-1],), query.response, query.truncated)


def text_ids(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Token ids of a text; only where it holds a chat template's own special tokens may its words become some."""
    if not text:
        return []
    return tokenizer(text, add_special_tokens=False, split_special_tokens=not special, verbose=False)["input_ids"]


def _opening(tokenizer: Any, wording: Wording, row: Example) -> tuple[int, ...]:
    """The beginning-of-sequence token where the wording does not bring one along: a chat template has no text to hold it
    where a row has no prompt."""
    return () if wording.special and wording.query(row) else bos_ids(tokenizer)


def bos_ids(tokenizer: Any) -> tuple[int, ...]:
    """The beginning-of-sequence token where the tokenizer puts one in front of a text, nothing where it does not."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return ()
    return (bos,) if tokenizer("a")["input_ids"][:1] == [bos] else ()
