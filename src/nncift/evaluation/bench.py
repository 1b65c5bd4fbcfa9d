"""Measures what a model does on the test rows after it was shown a subset: one cell, computed once and kept.

A cell is (subset, route, seed). Its record holds one loss per test row and what the training took; the answers that the
model wrote stand in a file beside it. Both are named by a hash of all they depend on, so that a rerun fills only holes and
subsets that are equal are measured once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.demonstrations import Demonstrations, choose_demonstrations, demonstration_text, query_text
from nncift.data.rows import Example
from nncift.data.wording import PlainWording, Wording, WordingName, choose_wording
from nncift.errors import ConfigError
from nncift.evaluation.finetuning import FineTuning, fine_tuned
from nncift.evaluation.options import By, EvaluateConfig
from nncift.evaluation.prompting import Order, icl_queries, nearest
from nncift.ledger import Ledger
from nncift.lm.generate import Decoding, generate
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query, tokenize_lesson, tokenize_row
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder, content_key

_CODE = 1
"""Raised where the code changes what a cell holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How subsets are put to the test: what every cell of one evaluation has in common.

    Attributes:
        fine_tuning: by the route `lora`.
        shots: demonstrations by the route `icl`.
        nearest: where the nearest demonstration stands.
        decoding: how answers are written.
        max_length: longest row or prompt in tokens.
        wording: `auto`, `plain` or `chat`.
    """

    fine_tuning: FineTuning
    shots: int
    nearest: Order
    decoding: Decoding
    max_length: int
    wording: WordingName

    @classmethod
    def of(cls, config: EvaluateConfig) -> Measuring:
        """As the options say."""
        drawn = config.decoding == "paper"
        return cls(
            fine_tuning=FineTuning(
                rank=config.rank,
                alpha=config.alpha,
                dropout=config.dropout,
                learning_rate=config.learning_rate,
                epochs=config.epochs,
                batch=config.batch,
            ),
            shots=config.shots,
            nearest="nearest-first" if config.nearest == "first" else "nearest-last",
            decoding=Decoding(config.max_new_tokens, temperature=0.2 if drawn else 0.0, min_p=0.1 if drawn else 0.0),
            max_length=config.max_length,
            wording=config.wording,
        )


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
        facts: rows that were cut, demonstrations left out.
    """

    key: str
    loss: list[float | None]
    answers: list[str | None]
    rows: int
    tokens: int
    response_tokens: int
    costs: dict[str, float]
    facts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A model that was shown a subset.

    Attributes:
        asked: what each test row asks of it; None where it cannot be asked.
        lessons: what was taught, in tokens.
        facts: what was cut or left out.
        answer: finds the answer in what the model wrote.
    """

    asked: list[Query | None]
    lessons: list[Query]
    facts: dict[str, int]
    answer: Callable[[str], str]


class Bench:
    """One language model and one set of test rows.

    Args:
        folder: where cells are kept.
        test: the test rows, sorted by id.
        how: how subsets are put to the test.
        load: loads the language model; called when the first cell is missing.
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
        lm_key: dict[str, Any],
        embed: Callable[[Sequence[str]], Float[ndarray, "n d"]],
        embed_key: str,
        reporter: Reporter,
    ) -> None:
        self.folder, self.test, self.how, self.reporter = folder, tuple(test), how, reporter
        self._load, self._lm_key, self._embed, self._embed_key = load, lm_key, embed, embed_key
        self._test_key = content_key({"test": [(row.id, row.content_key) for row in self.test]})

    @cached_property
    def lm(self) -> LanguageModel:
        """The language model."""
        return self._load()

    @cached_property
    def wording(self) -> Wording:
        """How rows are worded when a model is trained on them."""
        with _flag_of_ours():
            return choose_wording(self.lm.tokenizer, self.how.wording)

    @cached_property
    def demonstrations(self) -> Demonstrations:
        """How rows are worded as demonstrations."""
        with _flag_of_ours():
            return choose_demonstrations(self.lm.tokenizer, self.how.wording)

    def lengths(self, rows: Sequence[Example]) -> Int[ndarray, " n"]:
        """How many tokens each row is trained on."""
        limit = min(self.how.max_length, self.lm.max_length)
        found = (tokenize_lesson(self.lm.tokenizer, self.wording, row, limit=limit) for row in rows)
        return np.array([0 if lesson is None else len(lesson) for lesson in found], dtype=np.int64)

    def key(self, trial: Trial) -> str:
        """The name of a cell."""
        depends = {
            "code": _CODE,
            "by": trial.by,
            "rows": sorted((row.id, row.content_key) for row in trial.rows),
            "test": self._test_key,
            "model": self._lm_key,
            "wording": self.how.wording,
            "max_length": self.how.max_length,
        }
        if trial.by == "icl":
            depends |= {"shots": self.how.shots, "nearest": self.how.nearest, "embed": self._embed_key}
            depends |= {"room": self.how.decoding.max_new_tokens}
        elif trial.rows:
            depends |= {"fine_tuning": asdict(self.how.fine_tuning), "seed": trial.seed}
        return content_key(depends)[:32]

    def answers_key(self, trial: Trial) -> str:
        """The name of a cell's answers."""
        drawn = {"seed": trial.seed} if self.how.decoding.temperature else {}
        return content_key({"cell": self.key(trial), "decoding": asdict(self.how.decoding)} | drawn)[:32]

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
        written = self._read("answers", self.answers_key(trial)) if answers else []
        return Cell(key, answers=written, **record)

    def _measure(self, trial: Trial, key: str, *, answers: bool) -> None:
        self.lm.meter.ledger = Ledger()
        clock = Clock()
        rows = sorted(trial.rows, key=lambda row: row.id)
        with self._shown(rows, trial) as shown:
            costs = self.lm.meter.ledger.record() | {name: round(spent, 3) for name, spent in clock.spent().items()}
            self.lm.meter.ledger = Ledger()
            place = [k for k, query in enumerate(shown.asked) if query is not None]
            queries = [query for query in shown.asked if query is not None]
            left_out, advance = len(self.test) - len(queries), self.reporter.advance
            if self._lacks("cells", key):
                advance(left_out)
                found = score_responses(self.lm, [()] * len(queries), queries, on_progress=advance)
                record = {
                    "loss": self._laid_out(place, [-float(values.mean(dtype=np.float64)) for values in found]),
                    "rows": len(rows),
                    "tokens": sum(map(len, shown.lessons)),
                    "response_tokens": sum(len(query.response) for query in shown.lessons),
                    "costs": costs,
                    "facts": shown.facts,
                }
                self._write("cells", key, record)
            if answers:
                advance(left_out)
                prompts = [query.ids for query in queries]
                texts = generate(self.lm, prompts, self.how.decoding, seed=trial.seed, on_progress=advance)
                self._write("answers", self.answers_key(trial), self._laid_out(place, list(map(shown.answer, texts))))

    @contextmanager
    def _shown(self, rows: list[Example], trial: Trial) -> Iterator[_Shown]:
        """The model after it was shown the rows."""
        limit = min(self.how.max_length, self.lm.max_length)
        if trial.by == "icl":
            yield self._demonstrated(rows, limit)
            return
        lm, wording = self.lm, self.wording
        with _flag_of_ours():
            asked = [_scorable(tokenize_row(lm.tokenizer, wording, row, limit=limit)) for row in self.test]
            found = [_scorable(tokenize_lesson(lm.tokenizer, wording, row, limit=limit)) for row in rows]
        lessons = [query for query in found if query is not None]
        facts = {
            "lessons_cut": sum(query.truncated for query in lessons),
            "lessons_left_out": len(found) - len(lessons),
            "test_cut": sum(query.truncated for query in asked if query is not None),
        }
        shown = _Shown(asked, lessons, facts, str.strip)
        if not lessons:
            yield shown
            return
        fine_tuning = self.how.fine_tuning
        with fine_tuned(lm, lessons, fine_tuning, seed=trial.seed, on_progress=self.reporter.advance):
            yield shown

    def _demonstrated(self, rows: list[Example], limit: int) -> _Shown:
        """The base model behind the nearest rows; nothing is trained."""
        near: list[list[Example]] = [[] for _ in self.test]
        if rows:
            ours = self._embed([query_text(row) for row in self.test])
            theirs = self._embed([demonstration_text(row) for row in rows])
            near = [[rows[k] for k in found] for found in nearest(ours, theirs, self.how.shots)]
        room = self.how.decoding.max_new_tokens
        wording = self.demonstrations
        asked = icl_queries(self.lm, wording, near, self.test, limit=limit, new_tokens=room, order=self.how.nearest)
        facts = {
            "demonstrations_dropped": sum(
                len(shown) - query.prompt.kept for shown, query in zip(near, asked, strict=True)
            ),
            "test_too_long": sum(not query.usable for query in asked),
        }
        queries = [query.query if query.usable else None for query in asked]
        every = (tokenize_row(self.lm.tokenizer, PlainWording(), row, limit=limit) for row in rows)  # to be counted
        return _Shown(queries, [query for query in every if query is not None], facts, wording.answer)

    def _laid_out(self, place: list[int], values: Sequence[Any]) -> list[Any]:
        """One entry per test row; None where the row could not be asked."""
        laid: list[Any] = [None] * len(self.test)
        for k, value in zip(place, values, strict=True):
            laid[k] = value
        return laid

    def _lacks(self, kind: str, key: str) -> bool:
        return not self._place(kind, key).is_file()

    def _read(self, kind: str, key: str) -> Any:
        return json.loads(self._place(kind, key).read_text(encoding="utf-8"))

    def _place(self, kind: str, key: str) -> Path:
        return self.folder.path / kind / f"{key}.json"

    def _write(self, kind: str, key: str, value: Any) -> None:
        self.folder.write_json(f"{kind}/{key}.json", value)


@contextmanager
def _flag_of_ours() -> Iterator[None]:
    """Names the flag that mends a wording, which influences take as an option of theirs."""
    try:
        yield
    except ConfigError as error:
        told = str(error)
        for theirs in ("Use 'plain'.", "Use template 'plain'.", "Use `--option wording=plain`."):
            told = told.replace(theirs, "Use --wording plain.")
        raise ConfigError(told) from error


def _scorable(query: Query | None) -> Query | None:
    """None where no token of the response is predicted from one before it."""
    return None if query is None or len(query) < 2 else query
