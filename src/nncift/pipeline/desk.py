"""A teacher at work: what one worker holds while exact influences are computed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy import ndarray

from nncift.cachedir import cache_folder, cache_in
from nncift.influence.base import Context, Exacting, Influence, Progress, Session, Traits
from nncift.ledger import Ledger
from nncift.pipeline.models import Models
from nncift.pipeline.questions import Answer, Begin, Heads, Question, Some
from nncift.pipeline.setup import Setup
from nncift.pipeline.vectors import Embeddings
from nncift.progress import Reporter, Silent
from nncift.run import peak_memory
from nncift.scale.executor import Executor, Make, Seat
from nncift.scale.serial import Serial

log = logging.getLogger(__name__)

_CHUNK = 4096  # rows whose responses are in memory at once


class Desk:
    """What a worker holds: a session, and what was counted when it last answered."""

    def __init__(
        self, influence: Influence, context: Callable[[Ledger], Context], progress: Progress | None = None
    ) -> None:
        """Starts the influence; `progress` is told of work as it is done, where somebody listens."""
        self.influence, self.ledger, self._progress = influence, Ledger(), progress
        self._counted, self._cpu, self._told = self.ledger.record(), time.process_time(), 0
        self.ready = context(self.ledger)
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
        costs, cpu, told = self.ledger.record(), time.process_time(), self._told
        spent = {name: value - self._counted[name] for name, value in costs.items()}
        found = Answer(
            arrays, spent, self.session.truncated(), told, os.getpid(), cpu - self._cpu, peak_memory(), silent, weights
        )
        self._counted, self._cpu, self._told = costs, cpu, 0
        return found

    def _tell(self, count: int) -> None:
        if self._progress is not None:
            self._told += count
            self._progress(count)


def ask(desk: Desk, question: Question, prepared: dict[str, ndarray] | None) -> Answer:
    """A shard of labelling, as executors do it."""
    return desk.answer(question, prepared)


@dataclass(frozen=True, slots=True)
class OwnDesk:
    """Makes the desk of a worker that loads its own models.

    Attributes:
        setup: of the run.
        cache: the cache folder of the run.
    """

    setup: Setup
    cache: Path

    def __call__(self, seat: Seat) -> Desk:
        """Loads what the influence needs onto the worker's device, and starts it."""
        models = Models(seated(self.setup, seat), Silent())
        if cache_folder() == self.cache:
            return self._desk(models)
        with cache_in(self.cache):
            return self._desk(models)

    def _desk(self, models: Models) -> Desk:
        return Desk(self.setup.influence, lambda ledger: models.context(None, ledger))


@dataclass(frozen=True, slots=True)
class Hired:
    """Who labels: an executor, and what makes the state of its workers."""

    executor: Executor
    make: Make[Desk]


def hire(models: Models, embeddings: Embeddings | None, reporter: Reporter) -> Hired:
    """The workers that the user asked for where they may share the labelling, else one in this thread, which has what is
    loaded here."""
    setup = models.setup
    if shards(setup.influence.traits) and models.executor.name != "serial":
        return Hired(models.executor, OwnDesk(setup, cache_folder()))

    def own(seat: Seat) -> Desk:
        return Desk(setup.influence, lambda ledger: models.context(embeddings, ledger), reporter.advance)

    if models.executor.name != "serial":
        log.info("`%s` is labelled by one worker: it has its work before the first label", setup.influence.traits.name)
    return Hired(Serial(), own)


def seated(setup: Setup, seat: Seat) -> Setup:
    """The run as a worker sees it: on its own device."""
    device = seat.device
    return setup if device is None else replace(setup, config=replace(setup.config, device=device))


def shards(traits: Traits) -> bool:
    """Whether workers may share the labelling: not where labels cost nothing, follow from embeddings that are here, or where
    the influence trains or takes gradients before its first label."""
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
