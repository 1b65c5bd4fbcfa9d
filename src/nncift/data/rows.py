"""Rows of instruction data, whatever file and layout they came in: conversations whose last turn is the response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One usable row.

    Attributes:
        id: the row's own unique `id`, else a hash of its content plus its occurrence; never empty, unique in its pool.
        turns: the conversation; the last turn is the assistant's, not blank, and is what a language model is scored on.
        number: 0-based number of the row in its source, rejected rows counted (what `datasets.Dataset.select` takes).
        line: 1-based line in the source file, or the row number plus one where the file has no lines.
        raw: the row as it came: the line's bytes (JSONL, without the line break) or the decoded mapping.
    """

    id: str
    turns: tuple[Turn, ...]
    number: int
    line: int
    raw: bytes | dict[str, Any]

    @property
    def response(self) -> str:
        """The last assistant turn."""
        return self.turns[-1].content

    @property
    def prompt(self) -> str:
        """Everything before the response as plain text; a single user turn is its bare content, without a role name."""
        before = self.turns[:-1]
        if len(before) == 1:
            return before[0].content
        return "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in before)

    @property
    def text(self) -> str:
        """Prompt and response, the text that is embedded."""
        return f"{self.prompt}\n{self.response}" if self.turns[:-1] else self.response

    @property
    def content_key(self) -> str:
        """Hash of all roles and contents: equal for rows of the same text, whatever their id and layout."""
        digest = sha256()
        for turn in self.turns:
            for part in (turn.role, turn.content):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used, with the reason; nothing of it is lost."""

    file: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class Pool:
    """Usable rows in the order of their source, and the rejected ones. A target is a pool too.

    Attributes:
        examples: the usable rows, in source order.
        rejected: the rows that cannot be used.
        source: what the user named: a path, `hub:name#split`, or `<memory>`.
        layout: the row layout that was detected or asked for (`alpaca`, `sharegpt`, `messages`, `prompt-completion`,
            `text`).
        file_type: how the source is stored (`jsonl`, `json`, `parquet`, `csv`); a subset is written in the same type.
    """

    examples: tuple[Example, ...]
    rejected: tuple[Rejected, ...]
    source: str
    layout: str
    file_type: str

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, position: int) -> Example:
        return self.examples[position]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(example.id for example in self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids and contents, independent of the order of the rows: the key of everything computed from them."""
        digest = sha256()
        for line in sorted(f"{len(example.id)} {example.id} {example.content_key}\n" for example in self.examples):
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def raw_fingerprint(self) -> str:
        """Hash of the rows exactly as they came, in their order: what a written subset depends on."""
        digest = sha256()
        for example in self.examples:
            data = example.raw if isinstance(example.raw, bytes) else repr(example.raw).encode("utf-8", "surrogatepass")
            digest.update(f"{example.number} {len(data)} ".encode() + data)
        return digest.hexdigest()

    def by_id(self) -> Pool:
        """The same rows sorted by id: the order in which all is sampled, batched and tied, so that a shuffled file
        gives the same subset."""
        return Pool(
            tuple(sorted(self.examples, key=lambda example: example.id)),
            self.rejected,
            self.source,
            self.layout,
            self.file_type,
        )


Target = Pool
"""The rows that the subset should help with."""


def same_text_pairs(targets: Sequence[Example], pool: Sequence[Example]) -> Int[ndarray, "p 2"]:
    """All (i, j) for which target `i` and pool row `j` have the same text: where a row would explain itself."""
    codes: dict[str, int] = {}
    theirs = np.array([codes.setdefault(example.content_key, len(codes)) for example in pool], dtype=np.int64)
    ours = np.array([codes.get(example.content_key, -1) for example in targets], dtype=np.int64)
    by_text = np.argsort(theirs, kind="stable")
    first, end = (np.searchsorted(theirs[by_text], ours, side=side) for side in ("left", "right"))
    count = end - first
    start = np.cumsum(count) - count
    within = np.arange(count.sum()) - np.repeat(start - first, count)
    return np.stack([np.repeat(np.arange(len(ours)), count), by_text[within]], axis=1)
