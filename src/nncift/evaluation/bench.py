"""Measures what a model does on the test rows after it was shown a subset: one cell, computed once and kept.

A cell is (subset, route, seed). Its record holds one loss per test row and what the training took; the answers that the
model wrote stand in a file beside it. Both are named by a hash of all they depend on, so that a rerun fills only holes and
subsets that are equal are measured once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.disk import sealed, unsealed
from nncift.evaluation.options import By
from nncift.evaluation.showing import Measuring, Showing, Shown
from nncift.ledger import Ledger
from nncift.lm.generate import generate
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder, content_key

log = logging.getLogger(__name__)

_CODE = {"plain": 1, "chat": 2, "icl": 1, "answers": 2}
"""Raised where the code changes what a cell holds: by lora by its wording, by icl, and in its answers."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one cell is of.

    Attributes:
        rows: the subset; none for the model as it is.
        by: the route.
        seed: of the training, or of what is drawn in an answer.
    """

    rows: tuple[Example, ...]
    by: By
    seed: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured.

    Attributes:
        key: hash of all that it depends on.
        loss: mean negative log-likelihood of each test row's response, in nats a token; None where it cannot be scored.
        answers: what the model wrote for each test row, None where it could not be asked; empty where no answers were
            wanted.
        rows, tokens, response_tokens: how much was taught.
        costs: of the training alone: counters of the ledger and seconds.
        facts: rows that were cut, demonstrations left out; with answers also test rows whose prompt was cut for them, and
            answers that end where the context is full.
    """

    key: str
    loss: list[float | None]
    answers: list[str | None]
    rows: int
    tokens: int
    response_tokens: int
    costs: dict[str, float]
    facts: dict[str, int]


_HOLDS = {
    "cells": {item.name for item in fields(Cell)} - {"key", "answers"},
    "answers": {"answers", "facts"},
}
"""What the files of a kind say."""


class Bench:
    """One language model and one set of test rows.

    Args:
        folder: where cells are kept.
        test: the test rows, sorted by id.
        how: how subsets are put to the test.
        load: the language model; first called when a cell is missing.
        load_tokenizer: its tokenizer, told without loading the model.
        lm_key: all of the language model that its numbers depend on, told without loading it.
        embed: unit vectors of texts, for the nearest demonstrations.
        embed_key: what they depend on.
        reporter: told of rows as they are trained on and measured.
    """

    def __init__(
        self,
        folder: RunFolder,
        test: Sequence[Example],
        how: Measuring,
        *,
        load: Callable[[], LanguageModel],
        load_tokenizer: Callable[[], Any],
        lm_key: dict[str, Any],
        embed: Callable[[Sequence[str]], Float[ndarray, "n d"]],
        embed_key: str,
        reporter: Reporter,
    ) -> None:
        self.folder, self.test, self.how, self.reporter = folder, tuple(test), how, reporter
        self._showing = Showing(self.test, how, load=load, load_tokenizer=load_tokenizer, embed=embed)
        self._lm_key, self._embed_key = lm_key, embed_key
        self._test_key = content_key({"test": [(row.id, row.content_key) for row in self.test]})

    @property
    def lm(self) -> LanguageModel:
        """The language model."""
        return self._showing.lm

    def refuse_unworded(self, rows: Iterable[Example]) -> str | None:
        """`Showing.refuse_unworded`: to be called once before the first key is asked for, where there is a trial by `lora`."""
        return self._showing.refuse_unworded(rows)

    def lengths(self, rows: Sequence[Example]) -> Int[ndarray, " n"]:
        """How many tokens each row is trained on."""
        return self._showing.lengths(rows)

    def key(self, trial: Trial) -> str:
        """The name of a cell."""
        by_lora = trial.by == "lora"
        depends = {
            "code": _CODE[self._showing.wording.name if by_lora else "icl"],
            "by": trial.by,
            "rows": sorted((row.id, row.content_key) for row in trial.rows),
            "test": self._test_key,
            "model": self._lm_key,
            "wording": self._showing.worded if by_lora else self.how.wording,
            "max_length": self.how.max_length,
        }
        if not by_lora:
            depends |= {"shots": self.how.shots, "nearest": self.how.nearest, "embed": self._embed_key}
            depends |= {"room": self.how.decoding.max_new_tokens}
        elif trial.rows:
            depends |= {"fine_tuning": asdict(self.how.fine_tuning), "seed": trial.seed}
        return content_key(depends)[:32]

    def answers_key(self, trial: Trial) -> str:
        """The name of a cell's answers."""
        drawn = {"seed": trial.seed} if self.how.decoding.temperature else {}
        depends = {"code": _CODE["answers"], "cell": self.key(trial), "decoding": asdict(self.how.decoding)}
        return content_key(depends | drawn)[:32]

    def missing(self, trial: Trial, *, answers: bool) -> bool:
        """Whether a cell, or its answers where they are wanted, would have to be computed."""
        return self._lacks("cells", self.key(trial)) or (answers and self._lacks("answers", self.answers_key(trial)))

    def work(self, trial: Trial, *, answers: bool) -> int:
        """Rows that a missing cell trains on, scores and answers."""
        taught = self.how.fine_tuning.epochs * len(trial.rows) if trial.by == "lora" else 0
        scored, answered = self._lacks("cells", self.key(trial)), answers
        return taught + (scored + answered) * len(self.test)

    def cell(self, trial: Trial, *, answers: bool) -> Cell:
        """A cell, from the folder or measured now.

        Args:
            trial: what of.
            answers: whether the model's own answers are wanted beside the loss.

        *Cost*: by `lora` epochs · rows forwards and backwards; one forward per test row, and its answer.
        """
        key = self.key(trial)
        if self.missing(trial, answers=answers):
            self._measure(trial, key, answers=answers)
        record = self._read("cells", key)
        if not answers:
            return Cell(key, answers=[], **record)
        written = self._read("answers", self.answers_key(trial))
        facts = record.pop("facts") | written["facts"]
        return Cell(key, answers=written["answers"], facts=facts, **record)

    def _measure(self, trial: Trial, key: str, *, answers: bool) -> None:
        self.lm.meter.ledger = Ledger()
        clock = Clock()
        rows = sorted(trial.rows, key=lambda row: row.id)
        with self._showing.shown(rows, trial.by, seed=trial.seed, on_progress=self.reporter.advance) as shown:
            costs = self.lm.meter.ledger.record() | {name: round(spent, 3) for name, spent in clock.spent().items()}
            if self._lacks("cells", key):
                record = {
                    "loss": self._losses(shown),
                    "rows": len(rows),
                    "tokens": sum(map(len, shown.lessons)),
                    "response_tokens": sum(len(query.response) for query in shown.lessons),
                    "costs": costs,
                    "facts": shown.facts,
                }
                self._write("cells", key, record)
            if answers:
                self._write("answers", self.answers_key(trial), self._answers(shown, trial.seed))

    def _losses(self, shown: Shown) -> list[float | None]:
        place = [k for k, query in enumerate(shown.asked) if query is not None]
        queries = [query for query in shown.asked if query is not None]
        self.reporter.advance(len(self.test) - len(queries))
        found = score_responses(self.lm, [()] * len(queries), queries, on_progress=self.reporter.advance)
        return self._laid_out(place, [-float(values.mean(dtype=np.float64)) for values in found])

    def _answers(self, shown: Shown, seed: int) -> dict[str, Any]:
        """What the model writes for the test rows, and how much the context took of prompts and answers."""
        place = [k for k, ids in enumerate(shown.prompts) if ids is not None]
        prompts = [ids for ids in shown.prompts if ids is not None]
        self.reporter.advance(len(self.test) - len(prompts))
        self.lm.meter.ledger = ledger = Ledger()
        texts = generate(self.lm, prompts, self.how.decoding, seed=seed, on_progress=self.reporter.advance)
        facts = {"prompts_cut": shown.prompts_cut, "answers_cut": ledger.truncated}
        return {"answers": self._laid_out(place, list(map(shown.answer, texts))), "facts": facts}

    def _laid_out(self, place: list[int], values: Sequence[Any]) -> list[Any]:
        """One entry per test row; None where the row could not be asked."""
        laid: list[Any] = [None] * len(self.test)
        for k, value in zip(place, values, strict=True):
            laid[k] = value
        return laid

    def _lacks(self, kind: str, key: str) -> bool:
        """Whether something is not kept, or damaged; that is removed."""
        path = self._place(kind, key)
        if not path.is_file():
            return True
        try:
            if unsealed(path.read_text(encoding="utf-8")).keys() == _HOLDS[kind]:
                return False
            why = "it holds something else"
        except ValueError as error:
            why = str(error)
        log.warning("%s is damaged (%s); it is measured again", path, why)
        path.unlink()
        return True

    def _read(self, kind: str, key: str) -> Any:
        return unsealed(self._place(kind, key).read_text(encoding="utf-8"))

    def _place(self, kind: str, key: str) -> Path:
        return self.folder.path / kind / f"{key}.json"

    def _write(self, kind: str, key: str, value: Any) -> None:
        self.folder.write_json(f"{kind}/{key}.json", sealed(value))
