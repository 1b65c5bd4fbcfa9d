"""The seam of every influence function (teacher): what it may use, and what it answers.

A teacher knows nothing of estimators: it is asked for pairs (i, j) and gives their exact influence `y`, higher is better.
To add one, write a frozen dataclass with `traits` and a `start` method in a file of its own, and one line in the registry;
its fields are what `--option name=value` sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.readers import Readers
from nncift.progress import Reporter, Silent

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What kind of influence it is: all that the pipeline needs to know of it.

    Attributes:
        name: its registered name.
        pairwise: False for one score per pool row; its kernel has one row.
        objective: the selection rule that belongs to it where the user names none and the task asks for none.
        needs_model: whether a language model must be loaded.
        several_models: whether it takes more than one language model.
        needs_embeddings: whether it reads the embeddings of the run.
        uses_target: whether it reads target rows; a pairwise influence always does.
        gradients: whether it differentiates the language model, or only runs it.
        servable: whether all that it asks of the model is `score_responses`, so that one behind a server does.
        free: whether exact values cost nothing beyond the embeddings, so that estimating them cannot pay.
        seeded: whether its values depend on the seed of the run.
        reads_columns: whether its values depend on columns of a row beside its conversation.
        harder: whether a higher score of a row means that it is harder to learn, so that phases can be told by it.
        priced: `pair` where every pair costs a call; `row` where every row and every column that is asked about costs one
            and pairs between them cost nothing, so that labels are drawn as a block.
    """

    name: str
    pairwise: bool
    objective: str
    needs_model: bool = False
    several_models: bool = False
    needs_embeddings: bool = False
    uses_target: bool = False
    gradients: bool = False
    servable: bool = False
    free: bool = False
    seeded: bool = False
    reads_columns: bool = False
    harder: bool = False
    priced: Literal["pair", "row"] = "pair"


@dataclass(frozen=True, slots=True)
class Asked:
    """The size of a question.

    Attributes:
        targets: distinct target rows that are asked about (for a pointwise influence that uses the target: all of them).
        candidates: distinct pool rows that are asked about.
        pairs: (i, j) that are asked about.
        pool: pool rows that there are.
    """

    targets: int
    candidates: int
    pairs: int
    pool: int


@dataclass(frozen=True, slots=True)
class Calls:
    """Sequences that go through the language model, shared prefixes not counted.

    Attributes:
        forwards: forward passes, those of training and of gradients included.
        backwards: backward passes.
    """

    forwards: int = 0
    backwards: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a teacher may use.

    Attributes:
        targets: [m] rows that are to be helped, sorted by id; empty where the influence does not use a target.
        pool: [n] candidates, sorted by id.
        asked_targets: positions of the targets that will be asked about, sorted.
        asked_pool: positions of the pool rows that will be asked about, sorted.
        lms: the language models, one unless the influence takes several; empty where it needs none.
        own_targets: how many of the targets, the first, are of the user's own and no pool rows; None where that is told by
            whether a target is the same object as a pool row.
        target_embeddings: unit vectors [m, d], where the teacher needs embeddings.
        pool_embeddings: unit vectors [n, d], where the teacher needs embeddings.
        seed: of the run.
        ledger: where model calls are counted.
        folder: where the teacher may keep what is dear (checkpoints, features), under names made of all that it depends on.
        reporter: told of work that comes before the first label, such as training.
        readers: workers with a language model each, who may share work that comes before the first label; None where there
            are none.
    """

    targets: Sequence[Example]
    pool: Sequence[Example]
    asked_targets: Int[ndarray, " T"]
    asked_pool: Int[ndarray, " C"]
    folder: Path
    seed: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    lms: tuple[LanguageModel, ...] = ()
    own_targets: int | None = None
    target_embeddings: Float[ndarray, "m d"] | None = None
    pool_embeddings: Float[ndarray, "n d"] | None = None
    reporter: Reporter = field(default_factory=Silent)
    readers: Readers | None = None

    def is_candidate(self, target: int) -> bool:
        """Whether a target row is a pool row that is to be covered, and not one of a target of the user's own."""
        if self.own_targets is not None:
            return target >= self.own_targets
        return any(self.targets[target] is row for row in self.pool)

    @property
    def lm(self) -> LanguageModel:
        """The one language model."""
        if len(self.lms) != 1:
            raise ConfigError(
                f"this influence takes one language model, and {len(self.lms)} are given: use one --model."
            )
        return self.lms[0]


class Session(Protocol):
    """A teacher at work on one pool and target."""

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """What is computed once per target row (sorted positions) before any pair; stored by the caller and handed back to
        `label`, so that a resumed run does not compute it again. Empty where there is nothing."""
        ...

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Exact influence of pool rows `j` on target rows `i`, float32, higher is better; for a pointwise influence `i` is
        ignored. Minus infinity means that a pool row cannot be scored and must never be picked; it then stands in every
        pair of that row. NaN and plus infinity are errors."""
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


@runtime_checkable
class FactoredSession(Session, Protocol):
    """A session whose influence is an inner product, so that a kernel of any size can be kept in factors."""

    @property
    def factors(self) -> tuple[Float[ndarray, "m d"], Float[ndarray, "n d"]] | None:
        """Float32 vectors of all target rows and of all pool rows; None where these options make it no inner product."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """The session of an influence that has nothing to prepare.

    Attributes:
        values: (i, j, on_progress) -> influence of every pair, as `Session.label`; it calls `on_progress`.
        cut: ids of rows that lost text, filled as they are met.
    """

    values: Callable[[ndarray, ndarray, Progress], ndarray]
    cut: dict[str, str] = field(default_factory=dict)

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """See `Session.label`."""
        return self.values(i, j, on_progress)

    def truncated(self) -> dict[str, str]:
        """Rows that lost text so far."""
        return dict(self.cut)


@runtime_checkable
class Influence(Protocol):
    """An influence function; a frozen dataclass that can be made without arguments."""

    @property
    def traits(self) -> Traits:
        """What kind it is; usually a class variable."""
        ...

    def start(self, context: Context) -> Session:
        """A session on one pool and target. It may train or load what every call needs, and tells `context.reporter`."""
        ...


@runtime_checkable
class ModelInfluence(Influence, Protocol):
    """An influence function that calls a language model, and says how often before it does."""

    def calls(self, asked: Asked) -> Calls:
        """Language-model calls for a question, warm-up training included; hooks count exactly as many."""
        ...


@runtime_checkable
class Exacting(Influence, Protocol):
    """An influence function that cannot score every row, and can tell which from tokens alone."""

    def unscorable(self, context: Context) -> list[int]:
        """Positions of all pool rows, asked about or not, that it would give minus infinity."""
        ...


@runtime_checkable
class ReadsFiles(Influence, Protocol):
    """An influence function with options that name files."""

    def contents(self) -> dict[str, str]:
        """Those options, each with the hash of its file's bytes for a value: what keys tell its influences by."""
        ...


def work(calls: Calls) -> int:
    """Calls in units of one forward pass."""
    return calls.forwards + 2 * calls.backwards


def files_read(influence: Influence) -> dict[str, str]:
    """`ReadsFiles.contents`; nothing where it reads none."""
    return influence.contents() if isinstance(influence, ReadsFiles) else {}


def calls_of(influence: Influence, asked: Asked) -> Calls:
    """Language-model calls for a question; none where the influence needs no model.

    Raises:
        ConfigError: it needs a model and does not say how often it calls it.
    """
    if not influence.traits.needs_model:
        return Calls()
    if not isinstance(influence, ModelInfluence):
        raise ConfigError(f"the influence `{influence.traits.name}` needs a model: give it a method `calls(asked)`.")
    return influence.calls(asked)
