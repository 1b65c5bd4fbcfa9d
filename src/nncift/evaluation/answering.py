"""What the answers of a model are worth: overlap and likeness with the reference, and the grades of a judge."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from nncift.data.rows import Example
from nncift.evaluation.grades import GradeBook, answer_key
from nncift.evaluation.judging import Judge, JudgeItem
from nncift.evaluation.likeness import likeness_name, similarity
from nncift.evaluation.options import EvaluateConfig
from nncift.evaluation.overlap import rouge
from nncift.run import RunFolder

if TYPE_CHECKING:
    from nncift.evaluation.tools import Tools

log = logging.getLogger(__name__)

Scores = dict[str, list[float | None]]


class AnswerMetrics:
    """The metrics of answers that are asked for.

    Attributes:
        notes: grades that are missing, by reason.
    """

    def __init__(self, config: EvaluateConfig, tools: Tools, folder: RunFolder) -> None:
        self.config, self.tools, self.folder, self.reporter = config, tools, folder, tools.reporter
        self.notes: dict[str, str] = {}

    def refuse_missing(self) -> None:
        """Finds out before anything is trained whether what the metrics need is there.

        Raises:
            MissingExtraError: a package is not installed.
            ConfigError, ModelError: the judge's address, or the name of a model, is none.
        """
        if "rouge" in self.config.measures:
            rouge([], [])
        if "bge" in self.config.measures:
            self.tools.embedder  # noqa: B018  # loads it
        if "judge" in self.config.measures:
            self.tools.refuse_judge()

    def scores(self, test: Sequence[Example], answers: Sequence[str | None]) -> Scores:
        """By metric one score per test row, None where there is no answer or no grade."""
        there = [k for k, answer in enumerate(answers) if answer is not None]
        texts = [answer for answer in answers if answer is not None]
        references = [test[k].response for k in there]
        found: Scores = {}
        if "rouge" in self.config.measures:
            for name, values in rouge(texts, references).items():
                found[name] = _laid_out(len(test), there, values)
        if "bge" in self.config.measures:
            embedder = self.tools.embedder
            values = similarity(embedder, texts, references, folder=self.tools.embeddings)
            found[likeness_name(embedder.name)] = _laid_out(len(test), there, values)
        if "judge" in self.config.measures:
            grades = [self.book.get(answer_key(test[k], text)) for k, text in zip(there, texts, strict=True)]
            found["judge"] = _laid_out(len(test), there, grades)
        return found

    def grade(self, test: Sequence[Example], every: Sequence[Sequence[str | None]]) -> None:
        """Asks the judge for every grade that is not kept yet; equal answers to a row are graded once."""
        if "judge" not in self.config.measures:
            return
        wanted = {
            answer_key(row, answer): JudgeItem(answer_key(row, answer), row.prompt, answer, row.response)
            for answers in every
            for row, answer in zip(test, answers, strict=True)
            if answer is not None
        }
        missing = [item for key, item in sorted(wanted.items()) if self.book.get(key) is None]
        if not missing:
            return
        self.reporter.begin("judge", len(missing), "answers")
        grades = self.judge.grade(missing, on_grade=self.book.put, on_progress=self.reporter.advance)
        self.reporter.end(f"{len(missing) - sum(grades.failures.values()):,} of {len(missing):,} answers graded")
        if failed := Counter(grades.failures):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common())
            self.notes["judge"] = (
                f"{failed.total():,} of {len(wanted):,} answers have no grade ({reasons}); the same command asks for them again"
            )
            log.warning("%s", self.notes["judge"])

    @cached_property
    def judge(self) -> Judge:
        """The judge that the options name."""
        return self.tools.judge()

    @cached_property
    def book(self) -> GradeBook:
        """The grades of this judge."""
        return GradeBook(self.folder.path / "grades" / f"{self.judge.fingerprint[:32]}.jsonl")


def _laid_out(length: int, place: Sequence[int], values: Sequence[float | None]) -> list[float | None]:
    laid: list[float | None] = [None] * length
    for k, value in zip(place, values, strict=True):
        laid[k] = value
    return laid
