"""Shows a subset to a language model, by training it or as demonstrations, and words the test rows as they are then asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
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
from nncift.lm.generate import Decoding
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, tokenize_lesson, tokenize_prompt, tokenize_row

log = logging.getLogger(__name__)

_MEND = "Use --wording plain."


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
        decoding = Decoding.paper() if config.decoding == "paper" else Decoding()
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
            decoding=replace(decoding, max_new_tokens=config.max_new_tokens),
            max_length=config.max_length,
            wording=config.wording,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """A model that was shown a subset, and what the test rows ask of it.

    Attributes:
        asked: prompt and response of each test row, to be scored; None where nothing can be.
        prompts: what each test row's answer is written behind, whatever its own response; None where there is nothing.
        prompts_cut: how many of these lost text.
        lessons: what was taught, in tokens.
        facts: what was cut or left out.
        answer: finds the answer in what the model wrote.
    """

    asked: list[Query | None]
    prompts: list[tuple[int, ...] | None]
    prompts_cut: int
    lessons: list[Query]
    facts: dict[str, int]
    answer: Callable[[str], str]


class Showing:
    """One language model, and the rows that it is tested on.

    Args:
        test: the test rows, sorted by id.
        how: how subsets are put to the test.
        load: the language model; it may be loaded when this is first called.
        load_tokenizer: its tokenizer, told without loading the model.
        embed: unit vectors of texts, for the nearest demonstrations.

    Attributes:
        worded: the name of the wording by `lora`: as `how` says, or `plain` where `auto` gave way.
    """

    def __init__(
        self,
        test: Sequence[Example],
        how: Measuring,
        *,
        load: Callable[[], LanguageModel],
        load_tokenizer: Callable[[], Any],
        embed: Callable[[Sequence[str]], Float[ndarray, "n d"]],
    ) -> None:
        self.test, self.how, self.worded = tuple(test), how, how.wording
        self._load, self._load_tokenizer, self._embed = load, load_tokenizer, embed

    @property
    def lm(self) -> LanguageModel:
        """The language model; not kept here, so that whoever loaded it can release it."""
        return self._load()

    @cached_property
    def wording(self) -> Wording:
        """How rows are worded when a model is trained on them."""
        return choose_wording(self._load_tokenizer(), self.how.wording, mend=_MEND)

    @cached_property
    def demonstrations(self) -> Demonstrations:
        """How rows are worded as demonstrations."""
        return choose_demonstrations(self._load_tokenizer(), self.how.wording, mend=_MEND)

    def refuse_unworded(self, rows: Iterable[Example]) -> str | None:
        """Finds out, before anything is trained by `lora`, whether the model's chat template takes the rows and the test rows.
        To be called once, before the first key is asked for: where `auto` has to give way, all rows are worded plainly.

        Args:
            rows: every row that will be taught.

        Returns:
            Where `auto` gave way one sentence, which was told in a warning; else None.

        Raises:
            ConfigError: the wording is `chat`, and there is no template or it refuses a row.

        *Cost*: the tokenizer is loaded, and every row is worded once; nothing where the wording is `plain`.
        """
        if self.how.wording == "plain" or self.wording.name == "plain":
            return None
        distinct: set[str] = set()
        refusals: list[ConfigError] = []
        for row in chain(rows, self.test):
            if (key := row.content_key) not in distinct:
                distinct.add(key)
                refusals += filter(None, [_refusal(self.wording, row)])
        if not refusals:
            return None
        if self.how.wording == "chat":
            raise refusals[0]
        self.worded, self.wording = "plain", PlainWording()
        told = (
            f"the model's chat template refuses {len(refusals):,} of {len(distinct):,} rows, so that all are worded plainly "
            f"by lora; the first: {refusals[0]}"
        )
        log.warning("%s", told)
        return told

    def lengths(self, rows: Sequence[Example]) -> Int[ndarray, " n"]:
        """How many tokens each row is trained on, 0 for one that is not. The model need not be loaded."""
        tokenizer, limit = self._load_tokenizer(), self.how.max_length
        lessons = (_scorable(tokenize_lesson(tokenizer, self.wording, row, limit=limit)) for row in rows)
        return np.array([0 if lesson is None else len(lesson) for lesson in lessons], dtype=np.int64)

    @contextmanager
    def shown(
        self, rows: Sequence[Example], by: By, *, seed: int, on_progress: Callable[[int], None] = lambda count: None
    ) -> Iterator[Shown]:
        """The model after it was shown the rows, for the length of the block.

        Args:
            rows: sorted by id.
            by: the route.
            seed: of a training.
            on_progress: told how many more rows were trained on.
        """
        limit = min(self.how.max_length, self.lm.max_length)
        if by == "icl":
            yield self._demonstrated(rows, limit)
            return
        shown = self._taught(rows, limit)
        if not shown.lessons:
            yield shown
            return
        with fine_tuned(self.lm, shown.lessons, self.how.fine_tuning, seed=seed, on_progress=on_progress):
            yield shown

    def _taught(self, rows: Sequence[Example], limit: int) -> Shown:
        """What a model is trained on, and what it is asked then."""
        tokenizer, wording, room = self.lm.tokenizer, self.wording, self.how.decoding.max_new_tokens
        asked = [_scorable(tokenize_row(tokenizer, wording, row, limit=limit)) for row in self.test]
        prompts = [tokenize_prompt(tokenizer, wording, row, limit=limit, new_tokens=room) for row in self.test]
        written = [
            (ids, cut) if query is not None and ids else (None, False)
            for query, (ids, cut) in zip(asked, prompts, strict=True)
        ]
        found = [_scorable(tokenize_lesson(tokenizer, wording, row, limit=limit)) for row in rows]
        lessons = [query for query in found if query is not None]
        facts = {
            "lessons_cut": sum(query.truncated for query in lessons),
            "lessons_left_out": len(found) - len(lessons),
            "test_cut": sum(query.truncated for query in asked if query is not None),
        }
        return Shown(asked, [ids for ids, _ in written], sum(cut for _, cut in written), lessons, facts, str.strip)

    def _demonstrated(self, rows: Sequence[Example], limit: int) -> Shown:
        """The base model behind the nearest rows; nothing is trained."""
        near: list[list[Example]] = [[] for _ in self.test]
        if rows:
            ours = self._embed([query_text(row) for row in self.test])
            theirs = self._embed([demonstration_text(row) for row in rows])
            near = [[rows[k] for k in found] for found in nearest(ours, theirs, self.how.shots)]
        lm, wording, room = self.lm, self.demonstrations, self.how.decoding.max_new_tokens
        asked = icl_queries(lm, wording, near, self.test, limit=limit, new_tokens=room, order=self.how.nearest)
        facts = {
            "demonstrations_dropped": sum(
                len(shown) - query.prompt.kept for shown, query in zip(near, asked, strict=True)
            ),
            "test_too_long": sum(not query.usable for query in asked),
        }
        queries = [query.query if query.usable else None for query in asked]
        prompts = [None if query is None else query.ids for query in queries]
        every = (tokenize_row(lm.tokenizer, PlainWording(), row, limit=limit) for row in rows)  # to be counted
        return Shown(queries, prompts, 0, [query for query in every if query is not None], facts, wording.answer)


def _refusal(wording: Wording, row: Example) -> ConfigError | None:
    """Why a wording does not take a row, None where it does."""
    try:
        wording.query(row)
        wording.closing(row)
    except ConfigError as error:
        return error
    return None


def _scorable(query: Query | None) -> Query | None:
    """None where no token of the response is predicted from one before it."""
    return None if query is None or len(query) < 2 else query
