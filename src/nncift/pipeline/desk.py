"""A teacher at work: what one worker holds while exact influences are computed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from nncift.influence.base import Context, Exacting, Influence, Progress, Session, Traits
from nncift.ledger import Ledger
from nncift.pipeline.loading import OwnModels
from nncift.pipeline.models import Models
from nncift.pipeline.questions import Answer, Begin, Heads, Question, Some
from nncift.pipeline.readers import readers_of
from nncift.pipeline.vectors import Embeddings
from nncift.progress import Reporter
from nncift.scale.executor import Executor, Make, Seat
from nncift.scale.serial import Serial
from nncift.scale.tally import Tally

_CHUNK = 4096  # rows whose responses are in memory at once


class Desk:
    """What a worker holds: a session, and what was counted when it last answered.

    Args:
        influence: is started.
        context: what it may use, with the ledger to count in.
        progress: told of work as it is done, where somebody listens.
        here: whether it works in the process that asks.
    """

    def __init__(
        self,
        influence: Influence,
        context: Callable[[Ledger], Context],
        progress: Progress | None = None,
        *,
        here: bool = True,
    ) -> None:
        self.influence, self._progress = influence, progress
        self._tally, self._told = Tally(here=here), 0
        self.ready = context(self._tally.ledger)
        readers = self.ready.readers
        with nullcontext() if readers is None else closing(readers):  # no label needs them
            self.session: Session = influence.start(self.ready)

    def answer(self, question: Question, prepared: dict[str, ndarray] | None) -> Answer:
        """Computes what is asked; `prepared` is what was computed of the targets."""
        arrays: dict[str, ndarray] = {}
        silent, weights = {}, 0
        match question:
            case Begin():
                silent, weights = unscorable_rows(self.influence, self.ready), sum(lm.weights for lm in self.ready.lms)
            case Heads(targets):
                arrays = self.session.prepare(targets, on_progress=self._tell)
            case Some(i, j):
                arrays = {"y": self.session.label(i, j, prepared or {}, on_progress=self._tell)}
        readers, told = self.ready.readers, self._told
        self._told = 0
        spent = self._tally.take(0.0 if readers is None else readers.cpu_seconds)
        return Answer(arrays, spent, self.session.truncated(), told, silent, weights)

    def _tell(self, count: int) -> None:
        if self._progress is not None:
            self._told += count
            self._progress(count)


def ask(desk: Desk, question: Question, prepared: dict[str, ndarray] | None) -> Answer:
    """A shard of labelling, as executors do it."""
    return desk.answer(question, prepared)


@dataclass(frozen=True, slots=True)
class OwnDesk:
    """Makes the desk of a worker that loads its own models."""

    load: OwnModels

    def __call__(self, seat: Seat) -> Desk:
        """Loads what the influence needs onto the worker's device, and starts it."""

        def build(models: Models) -> Desk:
            return Desk(models.setup.influence, lambda ledger: models.context(None, ledger), here=seat.here)

        return self.load.make(seat, build)


@dataclass(frozen=True, slots=True)
class Hired:
    """Who labels.

    Attributes:
        executor: whose workers do.
        make: makes their state.
        facts: what the receipt says of rows that other workers read for them.
    """

    executor: Executor
    make: Make[Desk]
    facts: Callable[[], dict[str, Any]] = dict


def hire(models: Models, embeddings: Embeddings | None, reporter: Reporter) -> Hired:
    """The workers that the user asked for where they may share the labelling, else one in this thread, which has what is
    loaded here; where it reads rows before its first label, they read them."""
    influence = models.setup.influence
    if shards(influence.traits) and models.executor.name != "serial":
        return Hired(models.executor, OwnDesk(OwnModels.of(models)))
    readers = readers_of(models, Ledger()) if influence.traits.gradients else None

    def context(ledger: Ledger) -> Context:
        if readers is not None:
            readers.ledger = ledger
        return models.context(embeddings, ledger, readers)

    def own(seat: Seat) -> Desk:
        return Desk(influence, context, reporter.advance)

    return Hired(Serial(), own, dict if readers is None else readers.facts)


def shards(traits: Traits) -> bool:
    """Whether workers may share the labelling: not where labels cost nothing, follow from embeddings that are here, or where
    the influence does its work before its first label (it may have rows read by workers then, see `lm/readers.py`)."""
    return not (traits.free or traits.needs_embeddings or traits.gradients)


def unscorable_rows(influence: Influence, context: Context) -> dict[int, str]:
    """Positions of candidates that cannot be scored, labelled or not: the influence says so, or the response has no token
    for the language model."""
    if isinstance(influence, Exacting):
        return dict.fromkeys(influence.unscorable(context), "no token to score")
    if not context.lms:
        return {}
    tokenizer, silent = context.lms[0].tokenizer, dict[int, str]()
    for start in range(0, len(context.pool), _CHUNK):
        responses = [row.response for row in context.pool[start : start + _CHUNK]]
        ids: Any = tokenizer(responses, add_special_tokens=False, verbose=False)["input_ids"]
        silent |= {start + k: "its response has no token" for k, tokens in enumerate(ids) if not tokens}
    return silent
