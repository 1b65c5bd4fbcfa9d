"""The verb `evaluate`: subsets and controls, each shown to the model and measured on the same test rows, cell by cell."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.data.write import write_rejected
from nncift.errors import ConfigError, DataError
from nncift.evaluation.answering import AnswerMetrics, Scores
from nncift.evaluation.bench import Bench, Trial
from nncift.evaluation.lds import draw_halves, predictions, score_records, score_sentences, train_halves
from nncift.evaluation.options import By, EvaluateConfig
from nncift.evaluation.payoff import Measured, payoff, payoff_sentence
from nncift.evaluation.subjects import Named, Subject, controls, read_subjects
from nncift.evaluation.summary import Scored, sentences, summarise
from nncift.evaluation.tools import Tools
from nncift.progress import Reporter, Silent
from nncift.run import RunFolder, environment
from nncift.seeds import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out.

    Attributes:
        records: one per subset, route and metric: what `nncift evaluate --json` prints.
        costs: per subset, what choosing it and training on it took.
        notes: test rows that were left out, grades that are missing.
        told: the same for a person; the last line says what, how many, where.
        folder: where cells and results are.
    """

    records: list[Any]
    costs: list[dict[str, Any]]
    notes: dict[str, str]
    told: list[str]
    folder: Path


def evaluate(config: EvaluateConfig, reporter: Reporter | None = None) -> Evaluation:
    """Measures whether subsets teach, beside the controls; with `config.lds` whether their influences predict training.

    Raises:
        NnciftError: anything that a user can mend.

    *Cost*: one fine-tuning per subset, draw and seed that is not kept yet.
    """
    if config.output is None:
        raise ConfigError("no folder for the results: add -o DIR.")
    if (Path(config.output) / "recipe.yaml").is_file():
        raise ConfigError(f"{config.output!r} is a run folder. Name another one for the results: -o DIR.")
    if config.test is None and not config.lds:
        raise ConfigError("no test rows: add --test FILE, rows that nothing was chosen from.")
    reporter = reporter or Silent()
    tools = Tools(config, reporter)
    named = read_subjects(config, reporter)
    with closing(RunFolder(Path(config.output))) as folder:
        folder.write_json("environment.json", environment(asdict(tools.placement) | {"seed": config.seed}))
        found = (_datamodels if config.lds else _compare)(config, tools, named, folder)
        folder.write_json(
            "lds.json" if config.lds else "results.json", {"records": found.records, "notes": found.notes}
        )
        if not config.lds:  # apart: seconds are never the same twice, results are
            folder.write_json("costs.json", found.costs)
    return found


def _compare(config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder) -> Evaluation:
    """Subsets and controls on the test rows."""
    test, notes = read_test(config, named)
    metrics = AnswerMetrics(config, tools, folder)
    metrics.refuse_missing()
    subjects = [*named.subjects, *controls(config, named, tools.reporter)]
    with folder.atomic("rejected.jsonl") as part:
        write_rejected((*test.rejected, *named.pool.rejected, *named.rejected), part)
    measured = measure(config, tools.bench(folder, test.examples), subjects, tools.reporter)
    notes |= cut_notes(measured, len(test))
    metrics.grade(test.examples, [cell.answers for entry in measured for draw in entry.table for cell in draw])
    scored = [
        Scored(entry.subject.name, entry.by, metric, scores, entry.subject.size)
        for entry in measured
        for metric, scores in _scores(config, entry, test, metrics).items()
    ]
    folder.write_json("cells.json", [_as_json(entry) for entry in measured])
    records = summarise(scored, seed=config.seed)
    costs = payoff(measured, len(named.pool))
    told = [*sentences(records), *map(payoff_sentence, costs)]
    told.append(f"{len(records):,} results on {len(test):,} test rows in {folder.path / 'results.json'}")
    return Evaluation(records, costs, notes | metrics.notes, told, folder.path)


def _datamodels(config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder) -> Evaluation:
    """The linear datamodeling score of the runs' influences."""
    if not named.runs:
        raise ConfigError("--lds judges the influences of run folders, and none is named.")
    seen = {name: run.influences() for name, run in named.runs.items()}
    pool = named.pool.by_id().examples
    targets = (named.target or named.pool).by_id().examples
    for name, influences in seen.items():
        if influences.pool != pool or (influences.targets and influences.targets != targets):
            raise ConfigError(f"the run {name!r} has other pool or target rows; --lds compares runs on the same ones.")
    bench = tools.bench(folder, targets)
    members = draw_halves(len(pool), config.half_subsets, config.seed)
    halves = train_halves(bench, pool, members, seed=config.seed, reporter=tools.reporter)
    found = {name: predictions(influences, members, len(targets)) for name, influences in seen.items()}
    records = score_records(found, halves, seed=config.seed)
    told = [*score_sentences(records), f"{len(records):,} scores in {folder.path / 'lds.json'}"]
    return Evaluation(records, [], {}, told, folder.path)


def read_test(config: EvaluateConfig, named: Named) -> tuple[Pool, dict[str, str]]:
    """The test rows sorted by id, without those that a subset could have taught word by word, and what there is to say.

    Raises:
        DataError: no row is left.
    """
    assert config.test is not None
    test = load_pool(config.test, layout=config.test_format, role="test").by_id()
    taught = {row.content_key for row in named.pool}
    taught |= {row.content_key for subject in named.subjects for draw in subject.draws for row in draw}
    kept = tuple(row for row in test if row.content_key not in taught)
    notes = {}
    if len(kept) < len(test):
        notes["leaked"] = (
            f"{len(test) - len(kept):,} of {len(test):,} test rows are in the pool or a subset; they are left out"
        )
    if not kept:
        raise DataError(
            f"every row of {config.test} is in the pool or a subset. Test on rows that nothing was chosen from."
        )
    seen = {row.content_key for row in named.target or ()}
    if shared := sum(row.content_key in seen for row in kept):
        notes["target"] = (
            f"{shared:,} of {len(kept):,} test rows are target rows, which the selection was allowed to see"
        )
    for sentence in notes.values():
        log.warning("%s", sentence)
    return Pool(kept, test.rejected, test.source, test.layout, test.file_type), notes


def measure(config: EvaluateConfig, bench: Bench, subjects: Sequence[Subject], reporter: Reporter) -> list[Measured]:
    """Every cell of every subject, from the folder or computed now."""
    answers = any(metric != "loss" for metric in config.measures)
    seeds = [int(generator(config.seed, f"training/{k}").integers(2**31)) for k in range(config.seeds)]

    def trials(subject: Subject, by: By) -> list[list[Trial]]:
        if len(subject.draws) > 1:  # where chance chooses, another draw tells more than another training
            return [[Trial(rows, by, seeds[k % len(seeds)])] for k, rows in enumerate(subject.draws)]
        rows = next(iter(subject.draws))
        return [[Trial(rows, by, seed) for seed in seeds[: _seeds_needed(config, by, len(rows), answers)]]]

    every: list[tuple[Subject, By, list[list[Trial]]]]
    every = [(subject, by, trials(subject, by)) for by in config.routes for subject in subjects]
    name = bench.answers_key if answers else bench.key
    flat = {name(trial): trial for _, _, table in every for draw in table for trial in draw}
    missing = [trial for trial in flat.values() if bench.missing(trial, answers=answers)]
    reporter.begin("cells", sum(bench.work(trial, answers=answers) for trial in missing), "rows")
    found = [
        Measured(subject, by, [[bench.cell(trial, answers=answers) for trial in draw] for draw in table])
        for subject, by, table in every
    ]
    kept = f", {len(flat) - len(missing):,} of them kept from before" if len(flat) > len(missing) else ""
    reporter.end(f"{len(flat):,} trainings and measurements{kept}")
    return found


def cut_notes(measured: Sequence[Measured], test: int) -> dict[str, str]:
    """What was cut or left out, in the cell where it was most."""
    said = {
        "lessons_cut": "up to {0:,} rows of a subset are cut to --max-length",
        "lessons_left_out": "up to {0:,} rows of a subset are not trained on: their response has no token",
        "test_cut": "{0:,} of {1:,} test rows are cut to --max-length by lora",
        "demonstrations_dropped": "up to {0:,} demonstrations of a subset do not fit into --max-length",
        "test_too_long": "{0:,} of {1:,} test rows have no score by icl: they do not fit into --max-length, or have no token",
    }
    facts = [cell.facts for entry in measured for draw in entry.table for cell in draw]
    most = {kind: max((found.get(kind, 0) for found in facts), default=0) for kind in said}
    notes = {kind: sentence.format(most[kind], test) for kind, sentence in said.items() if most[kind]}
    for sentence in notes.values():
        log.warning("%s", sentence)
    return notes


def _seeds_needed(config: EvaluateConfig, by: str, rows: int, answers: bool) -> int:
    """One where nothing is drawn."""
    drawn = (by == "lora" and rows > 0) or (answers and config.decoding != "greedy")
    return config.seeds if drawn else 1


def _scores(
    config: EvaluateConfig, entry: Measured, test: Pool, metrics: AnswerMetrics
) -> dict[str, Float[ndarray, "draws seeds items"]]:
    """By metric the score of every test row, NaN where there is none."""
    found: dict[str, list[list[list[float | None]]]] = {}
    for draw in entry.table:
        scores: list[Scores] = [metrics.scores(test.examples, cell.answers) if cell.answers else {} for cell in draw]
        if "loss" in config.measures:
            scores = [{"loss": cell.loss} | answered for cell, answered in zip(draw, scores, strict=True)]
        for metric in scores[0]:
            found.setdefault(metric, []).append([of_cell[metric] for of_cell in scores])
    return {metric: np.array(values, dtype=np.float64) for metric, values in found.items()}


def _as_json(entry: Measured) -> dict[str, Any]:
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
