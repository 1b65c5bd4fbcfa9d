"""Rows of instruction data, whatever file and layout they came in: conversations whose last turn is the response."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args, overload

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.keys import ContentKeys

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
        return self.content_digest.hex()

    @property
    def content_digest(self) -> bytes:
        """The 32 bytes that `content_key` says in hexadecimal digits."""
        parts: list[bytes] = []
        for turn in self.turns:
            data = turn.content.encode("utf-8", "surrogatepass")
            parts += (_ROLES[turn.role], len(data).to_bytes(8, "big"), data)
        return sha256(b"".join(parts)).digest()


_ROLES = {role: len(role).to_bytes(8, "big") + role.encode() for role in get_args(Role)}


class Indexed(Sequence[Example]):
    """Rows that are decoded when they are asked for; what is kept of each in memory is told without that.

    It is an interface: `nncift.data.stored` has the rows of a file, `nncift.data.views` choices and chains of rows.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def ids(self) -> list[str]:
        """The ids, in order."""

    @property
    @abstractmethod
    def keys(self) -> ContentKeys:
        """The content keys, in order."""

    @property
    @abstractmethod
    def numbers(self) -> Int[ndarray, " n"]:
        """The numbers of the rows in their source."""

    @property
    @abstractmethod
    def lines(self) -> Int[ndarray, " n"]:
        """The lines of the rows in their source."""

    @abstractmethod
    def raw(self, position: int) -> bytes | dict[str, Any]:
        """One row as it came."""

    @abstractmethod
    def column(self, name: str) -> list[str | None] | None:
        """The values of a column as text, None where they would have to be read."""

    @abstractmethod
    def take(self, positions: Int[ndarray, " k"]) -> Indexed:
        """The rows at some positions, none of them decoded."""

    @abstractmethod
    def refuse_changed(self) -> None:
        """Refuses rows whose file is another by now.

        Raises:
            DataError: its size or its time is not what it was, or it is gone.
        """

    @property
    def raw_fingerprint(self) -> str | None:
        """What `Pool.raw_fingerprint` says of these rows, None where it is not known."""
        return None


def ids_of(rows: Sequence[Example]) -> list[str]:
    """The ids of rows, in order."""
    return rows.ids if isinstance(rows, Indexed) else [row.id for row in rows]


def keys_of(rows: Sequence[Example]) -> ContentKeys:
    """The content keys of rows, in order."""
    return rows.keys if isinstance(rows, Indexed) else ContentKeys.of(row.content_digest for row in rows)


def numbers_of(rows: Sequence[Example]) -> Int[ndarray, " n"]:
    """The numbers of rows in their source, in order."""
    return rows.numbers if isinstance(rows, Indexed) else np.array([row.number for row in rows], dtype=np.int64)


def lines_of(rows: Sequence[Example]) -> Int[ndarray, " n"]:
    """The lines of rows in their source, in order."""
    return rows.lines if isinstance(rows, Indexed) else np.array([row.line for row in rows], dtype=np.int64)


def raw_of(rows: Sequence[Example], position: int) -> bytes | dict[str, Any]:
    """One of the rows as it came."""
    return rows.raw(position) if isinstance(rows, Indexed) else rows[position].raw


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot be used, with the reason; nothing of it is lost. `twin` is the id of the row that a near-copy is of."""

    file: str
    line: int
    reason: str
    row: str
    twin: str | None = None


class IndexedRejects(Sequence[Rejected]):
    """Rejected rows whose text is read when it is asked for."""

    __slots__ = ()

    @overload
    def __getitem__(self, at: int) -> Rejected: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Rejected]: ...
    def __getitem__(self, at: int | slice) -> Rejected | Sequence[Rejected]:
        positions = range(len(self))[at]
        return self._read(positions) if isinstance(positions, int) else tuple(map(self._read, positions))

    @abstractmethod
    def _read(self, position: int) -> Rejected:
        """The row at a position, from 0."""

    @property
    @abstractmethod
    def reasons(self) -> list[str]:
        """The reasons, in order."""


def reasons_of(rejected: Sequence[Rejected]) -> list[str]:
    """The reasons of rejected rows, in order."""
    return rejected.reasons if isinstance(rejected, IndexedRejects) else [row.reason for row in rejected]


@dataclass(frozen=True)
class Pool:
    """Usable rows in the order of their source, and the rejected ones. A target is a pool too.

    Attributes:
        examples: the usable rows, in source order; those of a large file are read when they are asked for.
        rejected: the rows that cannot be used.
        source: what the user named: a path, `hub:name#split`, or `<memory>`.
        layout: the row layout that was detected or asked for (`alpaca`, `sharegpt`, `messages`, `prompt-completion`,
            `text`).
        file_type: how the source is stored (`jsonl`, `json`, `parquet`, `csv`); a subset is written in the same type.
    """

    examples: Sequence[Example]
    rejected: Sequence[Rejected]
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
        return tuple(ids_of(self.examples))

    @cached_property
    def keys(self) -> ContentKeys:
        """The content keys, in order."""
        return keys_of(self.examples)

    @property
    def reasons(self) -> Counter[str]:
        """How many rows are rejected for what, the reason that came first first."""
        return Counter(reasons_of(self.rejected))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids and contents, independent of the order of the rows: the key of everything computed from them."""
        digest = sha256()
        for line in sorted(f"{len(row)} {row} {key}\n" for row, key in zip(self.ids, self.keys, strict=True)):
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def raw_fingerprint(self) -> str:
        """Hash of the rows exactly as they came, in their order: what a written subset depends on."""
        if isinstance(self.examples, Indexed) and (known := self.examples.raw_fingerprint) is not None:
            return known
        digest = sha256()
        for position, number in enumerate(numbers_of(self.examples).tolist()):
            digest.update(raw_line(number, raw_of(self.examples, position)))
        return digest.hexdigest()

    @cached_property
    def order(self) -> Int[ndarray, " n"]:
        """Positions of the rows sorted by id."""
        ids = ids_of(self.examples)
        return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)

    def by_id(self) -> Pool:
        """The same rows sorted by id: the order in which all is sampled, batched and tied, so that a shuffled file
        gives the same subset."""
        rows, order = self.examples, self.order
        examples = rows.take(order) if isinstance(rows, Indexed) else tuple(rows[k] for k in order.tolist())
        return Pool(examples, self.rejected, self.source, self.layout, self.file_type)


Target = Pool
"""The rows that the subset should help with."""


def raw_line(number: int, raw: bytes | dict[str, Any]) -> bytes:
    """What a row adds to `Pool.raw_fingerprint`."""
    data = raw if isinstance(raw, bytes) else repr(raw).encode("utf-8", "surrogatepass")
    return f"{number} {len(data)} ".encode() + data


def same_text_pairs(targets: Sequence[Example], pool: Sequence[Example]) -> Int[ndarray, "p 2"]:
    """All (i, j) for which target `i` and pool row `j` have the same text: where a row would explain itself."""
    return keys_of(targets).pairs(keys_of(pool))
