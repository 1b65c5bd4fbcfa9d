"""The seam of every influence function (teacher): what it may use, and what it answers.

A teacher knows nothing of estimators: it is asked for pairs (i, j) and gives their exact influence `y`, higher is better.
To add one, write a frozen dataclass with these class attributes and a `start` method in a file of its own, and one line
in the registry; its fields are what `--option name=value` sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Context:
    """What a teacher may use.

    Attributes:
        targets: [m] rows that are to be helped, sorted by id. Empty for a pointwise influence.
        pool: [n] candidates, sorted by id.
        lm: the language model, where the teacher needs one.
        target_embeddings: [m, d], where the teacher needs embeddings.
        pool_embeddings: [n, d], where the teacher needs embeddings.
        seed: of the run.
        ledger: where model calls are counted.
    """

    targets: Sequence[Example]
    pool: Sequence[Example]
    lm: LanguageModel | None
    target_embeddings: Float[ndarray, "m d"] | None
    pool_embeddings: Float[ndarray, "n d"] | None
    seed: int
    ledger: Ledger


class Session(Protocol):
    """A teacher at work on one pool and target."""

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """What is computed once per target row (sorted positions) before any pair; stored by the caller and handed back to
        `label`, so that a resumed run does not compute it again. Empty where there is nothing."""
        ...

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Exact influence of pool rows `j` on target rows `i`, float32, finite, higher is better; for a pointwise influence
        `i` is ignored."""
        ...

    def truncated(self) -> dict[str, str]:
        """Ids of rows that lost text to the context limit so far, and what they lost."""
        ...


@runtime_checkable
class BlockSession(Session, Protocol):
    """A session that answers a whole block faster than pair by pair; free influences should."""

    def block(self, columns: slice) -> Float[ndarray, "n m"]:
        """Influence of the pool rows `columns` on every target row, candidate-major: float32 [columns, m]."""
        ...


class Influence(Protocol):
    """An influence function.

    Attributes:
        pairwise: False for a score that does not look at a target; its kernel has one row.
        needs_model: whether a language model must be loaded.
        needs_embeddings: whether it reads the embeddings of the run.
        free: whether exact values cost nothing beyond the embeddings, so that estimating them cannot pay.
        seeded: whether its values are drawn from the seed.
        objective: the selection rule that belongs to it where the user names none and the task asks for none.
    """

    name: ClassVar[str]
    pairwise: ClassVar[bool]
    needs_model: ClassVar[bool]
    needs_embeddings: ClassVar[bool]
    free: ClassVar[bool]
    seeded: ClassVar[bool]
    objective: ClassVar[str]

    def start(self, context: Context) -> Session:
        """A session on one pool and target; cheap, nothing is scored yet."""
        ...
