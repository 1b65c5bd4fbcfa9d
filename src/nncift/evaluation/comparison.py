"""Subsets and controls beside one another: the cells of each, on the same test rows, and the scores in them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.files import load_pool
from nncift.data.rows import Example, Pool
from nncift.data.views import take
from nncift.errors import DataError
from nncift.evaluation.answering import AnswerMetrics, Scores
from nncift.evaluation.bench import Bench, Trial
from nncift.evaluation.options import By, EvaluateConfig
from nncift.evaluation.payoff import Measured
from nncift.evaluation.subjects import Named, Subject
from nncift.evaluation.summary import Scored
from nncift.pipeline.inputs import describe_rejected
from nncift.progress import Reporter
from nncift.seeds import generator

log = logging.getLogger(__name__)

Trials = list[tuple[Subject, By, list[list[Trial]]]]
"""Of every subject and route its trials, [draws][seeds]."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an evaluation has to do.

    Attributes:
        cells: different ones, those that are kept included.
        kept: cells that need nothing.
        trainings: models to fine-tune.
        lessons: rows that they are trained on, over all epochs.
        measured: test rows to score and to answer.
        repeated: trainings that were made before, and for which only answers are missing: adapters are not kept.
    """

    cells: int
    kept: int
    trainings: int
    lessons: int
    measured: int
    repeated: int

    def record(self) -> dict[str, int]:
        """For programs."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For a person."""
        lines = [
            f"{self.trainings:,} trainings on {self.lessons:,} rows in all, and {self.measured:,} test rows to score or to "
            f"answer; {self.kept:,} of {self.cells:,} cells are kept from before."
        ]
        if self.repeated:
            lines.append(
                f"{self.repeated:,} trainings are repeated: their losses are known, but no answers were asked for then, and "
                "adapters are not kept."
            )
        return lines


def read_test(config: EvaluateConfig, named: Named) -> tuple[Pool, dict[str, str]]:
    """The test rows sorted by id, without those that a subset could have taught word by word, and what there is to say.

    Raises:
        DataError: no row is left.
    """
    assert config.test is not None
    test = load_pool(config.test, layout=config.test_format, role="test").by_id()
    taught = {*named.pool.keys}
    taught |= {row.content_key for subject in named.subjects for draw in subject.draws for row in draw}
    kept = take(test.examples, [place for place, key in enumerate(test.keys) if key not in taught])
    notes = {}
    if told := describe_rejected([("test", test), ("pool", named.pool)]):
        notes["rejected"] = told
    if len(kept) < len(test):
        notes["leaked"] = (
            f"{len(test) - len(kept):,} of {len(test):,} test rows are in the pool or a subset; they are left out"
        )
    if not len(kept):
        raise DataError(
            f"every row of {config.test} is in the pool or a subset. Test on rows that nothing was chosen from."
        )
    if shared := sum(row.content_key in named.seen for row in kept):
        notes["target"] = (
            f"{shared:,} of {len(kept):,} test rows are target rows, which the selection was allowed to see"
        )
    for sentence in notes.values():
        log.warning("%s", sentence)
    return Pool(kept, test.rejected, test.source, test.layout, test.file_type), notes


def trials(config: EvaluateConfig, subjects: Sequence[Subject]) -> Trials:
    """What has to be measured."""
    seeds = [int(generator(config.seed, f"training/{k}").integers(2**31)) for k in range(config.seeds)]

    def of(subject: Subject, by: By) -> list[list[Trial]]:
        if len(subject.draws) > 1:  # where chance chooses, another draw tells more than another training
            return [[Trial(rows, by, seeds[k % len(seeds)])] for k, rows in enumerate(subject.draws)]
        rows = next(iter(subject.draws))
        return [[Trial(rows, by, seed) for seed in seeds[: _seeds_needed(config, by, len(rows))]]]

    return [(subject, by, of(subject, by)) for by in config.routes for subject in subjects]


def plan(bench: Bench, every: Sequence[Trial], *, answers: bool) -> Plan:
    """What of it is not kept from before."""
    name = bench.answers_key if answers else bench.key
    flat = {name(trial): trial for trial in every}
    missing = [trial for trial in flat.values() if bench.missing(trial, answers=answers)]
    trained = [trial for trial in missing if trial.by == "lora" and trial.rows]
    lessons = sum(bench.how.fine_tuning.epochs * len(trial.rows) for trial in trained)
    return Plan(
        cells=len(flat),
        kept=len(flat) - len(missing),
        trainings=len(trained),
        lessons=lessons,
        measured=sum(bench.work(trial, answers=answers) for trial in missing) - lessons,
        repeated=sum(not bench.missing(trial, answers=False) for trial in trained),
    )


def measure(config: EvaluateConfig, bench: Bench, subjects: Sequence[Subject], reporter: Reporter) -> list[Measured]:
    """Every cell of every subject, from the folder or computed now."""
    answers = config.wants_answers
    every = trials(config, subjects)
    planned = plan(bench, [trial for _, _, table in every for draw in table for trial in draw], answers=answers)
    reporter.begin("plan", 0, "")
    reporter.end(" ".join(planned.lines()))
    reporter.begin("cells", planned.lessons + planned.measured, "rows")
    found = [
        Measured(subject, by, [[bench.cell(trial, answers=answers) for trial in draw] for draw in table])
        for subject, by, table in every
    ]
    reporter.end(f"{planned.cells:,}, {planned.kept:,} of them kept from before")
    return found


def cut_notes(measured: Sequence[Measured], test: int) -> dict[str, str]:
    """What was cut or left out, in the cell where it was most."""
    said = {
        "lessons_cut": "up to {0:,} rows of a subset are cut to --max-length",
        "lessons_left_out": "up to {0:,} rows of a subset are not trained on: their response has no token",
        "test_cut": "{0:,} of {1:,} test rows are cut to --max-length by lora",
        "prompts_cut": "{0:,} of {1:,} test rows lose the beginning of their prompt by lora, to leave room for an answer",
        "answers_cut": "up to {0:,} of {1:,} answers end where the context is full",
        "demonstrations_dropped": "up to {0:,} demonstrations of a subset do not fit into --max-length",
        "test_too_long": "{0:,} of {1:,} test rows have no score by icl: they do not fit into --max-length, or have no token",
    }
    facts = [cell.facts for entry in measured for draw in entry.table for cell in draw]
    most = {kind: max((found.get(kind, 0) for found in facts), default=0) for kind in said}
    notes = {kind: sentence.format(most[kind], test) for kind, sentence in said.items() if most[kind]}
    for sentence in notes.values():
        log.warning("%s", sentence)
    return notes


def scored(
    config: EvaluateConfig, measured: Sequence[Measured], test: Sequence[Example], metrics: AnswerMetrics
) -> list[Scored]:
    """By subject, route and metric the score of every test row."""
    return [
        _scored(config, entry, metric, scores)
        for entry in measured
        for metric, scores in _scores(config, entry, test, metrics).items()
    ]


def _scored(config: EvaluateConfig, entry: Measured, metric: str, scores: Float[ndarray, "D S n"]) -> Scored:
    """Under one metric."""
    subject, rows = entry.subject, [cell.rows for draw in entry.table for cell in draw]
    mean = sum(rows) / len(rows)
    return Scored(
        subset=subject.name,
        control=subject.control,
        matched=subject.matched,
        by=entry.by,
        metric=metric,
        scores=scores,
        size=subject.size,
        rows=int(mean) if mean == int(mean) else mean,
        seeds=min(_seeds_needed(config, entry.by, rows[0]), len(rows)),
    )


def _seeds_needed(config: EvaluateConfig, by: By, rows: int) -> int:
    """One where nothing is drawn."""
    drawn = (by == "lora" and rows > 0) or (config.wants_answers and config.decoding != "greedy")
    return config.seeds if drawn else 1


def _scores(
    config: EvaluateConfig, entry: Measured, test: Sequence[Example], metrics: AnswerMetrics
) -> dict[str, Float[ndarray, "draws seeds items"]]:
    """By metric the score of every test row, NaN where there is none."""
    found: dict[str, list[list[list[float | None]]]] = {}
    for draw in entry.table:
        scores: list[Scores] = [metrics.scores(test, cell.answers) if cell.answers else {} for cell in draw]
        if "loss" in config.measures:
            scores = [{"loss": cell.loss} | answered for cell, answered in zip(draw, scores, strict=True)]
        for metric in scores[0]:
            found.setdefault(metric, []).append([of_cell[metric] for of_cell in scores])
    return {metric: np.array(values, dtype=np.float64) for metric, values in found.items()}


def as_json(entry: Measured) -> dict[str, Any]:
    """The record of a subject without any text: what can be shown to anybody."""
    shown = ("key", "rows", "tokens", "response_tokens", "loss", "costs", "facts")
    return {
        "subset": entry.subject.name,
        "control": entry.subject.control,
        "by": entry.by,
        "size": entry.subject.size,
        "cost": entry.subject.cost,
        "cells": [[{name: getattr(cell, name) for name in shown} for cell in draw] for draw in entry.table],
    }
