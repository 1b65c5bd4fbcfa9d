"""What an experiment would take, before anything is spent: rows, labels, language-model calls, and hours of stated hardware.

Operations are 2 · weights · tokens for a sequence that goes forward and twice that for one that goes backward, with the
`weights` of the recipe's axes and the mean `tokens` of its data sets; hours follow from `hardware.flops`. Training on a
row counts as a forward and a backward. Not counted: attention scores, the estimator, kernels and the search for a subset,
which take minutes where the others take hours, and what a cache or an equal subset saves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nncift.config import LabelConfig, SelectConfig
from nncift.errors import ConfigError, NnciftError
from nncift.evaluation.options import EvaluateConfig
from nncift.experiment.counting import Counter, Labelling, Rows, measuring, rows_of
from nncift.experiment.grid import Cell, make_grid, only
from nncift.experiment.recipe import DataSet, Hardware, Recipe
from nncift.experiment.records import read_record
from nncift.experiment.sharing import label_key
from nncift.influence.base import Calls, work
from nncift.pipeline.receipt import calls_text
from nncift.redact import redact
from nncift.rehearsal.options import FidelityConfig

_GRADE = 3  # a judge reads the instruction, the answer and the reference
_MOST_LINES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one cell would take, as its record will say it.

    Attributes:
        cell, verb: of the experiment.
        rows: by role.
        budget: rows to choose; 0 where none are chosen.
        labels: exact influences; None where there are none, or they are free.
        at_most: whether labels are drawn in rounds, which may end sooner.
        lm_forwards, lm_backwards: language-model calls for the labels.
        read: rows that the language model reads beside, for an estimator or for phases.
        texts: texts that are embedded.
        trainings, lessons: fine-tunings, and rows that they go through in all.
        scored, answered, graded: test rows whose loss is taken, that are answered, and answers that a judge reads.
        flops: operations, None where `weights` or `tokens` are not stated.
        seconds: on the stated hardware; None where that is not known.
        shares: the cell that has the same labels already; they are in the total once.
        recorded: whether it has a record, and nothing is left to do if nothing changed.
    """

    cell: str
    verb: str
    rows: dict[str, int]
    budget: int = 0
    labels: int | None = None
    at_most: bool = False
    lm_forwards: int = 0
    lm_backwards: int = 0
    read: int = 0
    texts: int = 0
    trainings: int = 0
    lessons: int = 0
    scored: int = 0
    answered: int = 0
    graded: int = 0
    flops: float | None = None
    seconds: float | None = None
    shares: str | None = None
    recorded: bool = False

    def line(self) -> str:
        """For a person."""
        parts = [" + ".join(f"{count:,} {role}" for role, count in self.rows.items())]
        if self.labels is not None:
            parts.append(f"{self.labels:,} labels{' at most' if self.at_most else ''}")
        if self.lm_forwards or self.lm_backwards:
            parts.append(f"{calls_text(Calls(self.lm_forwards, self.lm_backwards))} calls")
        named = {"read": "rows read", "trainings": "trainings", "lessons": "rows trained on", "scored": "scored"}
        named |= {"answered": "answered", "graded": "graded"}
        parts += [f"{getattr(self, name):,} {word}" for name, word in named.items() if getattr(self, name)]
        if self.flops is None:
            parts.append("operations not known")
        elif self.flops:
            parts.append(f"{self.flops:.2g} FLOP")
        if self.seconds:
            parts.append(spell(self.seconds))
        if self.shares:
            parts.append(f"labels of {self.shares}")
        return f"{self.cell}{' (recorded)' if self.recorded else ''}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """What all cells would take.

    Attributes:
        recipe: the experiment.
        cells: one estimate each.
        total: sums over the cells, labels that are shared counted once; `unknown` cells add nothing to operations and hours.
        stated: data sets of which rows are only stated.
    """

    recipe: Recipe
    cells: tuple[Estimate, ...]
    total: dict[str, float]
    stated: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        hardware = None if self.recipe.hardware is None else asdict(self.recipe.hardware)
        return {
            "experiment": self.recipe.name,
            "title": redact(self.recipe.title),
            "claim": redact(self.recipe.claim),
            "hardware": hardware,
            "stated": list(self.stated),
            "cells": [asdict(one) for one in self.cells],
            "total": self.total,
        }

    def lines(self) -> list[str]:
        """In words, the total last."""
        head = [redact(f"{self.recipe.name}: {self.recipe.title}")] if self.recipe.title else []
        head += [redact(self.recipe.claim)] if self.recipe.claim else []
        if self.stated:
            head.append(f"Rows are not read but stated by the recipe: {', '.join(self.stated)}.")
        shown = [one.line() for one in self.cells[:_MOST_LINES]]
        if len(self.cells) > _MOST_LINES:
            shown.append(f"... and {len(self.cells) - _MOST_LINES:,} more cells (--json, or --only TEXT, shows them)")
        return [*head, *shown, self._sum()]

    def _sum(self) -> str:
        total, hardware = self.total, self.recipe.hardware
        recorded = sum(one.recorded for one in self.cells)
        parts = [f"{len(self.cells):,} cells{f' ({recorded:,} recorded)' if recorded else ''}"]
        parts += [
            f"{total[name]:,.0f} {word}"
            for name, word in (
                ("labels", "labels"), ("lm_forwards", "forward calls"), ("lm_backwards", "backward calls"),
                ("trainings", "trainings"), ("answered", "answers"), ("graded", "grades"),
            )
            if total[name]
        ]  # fmt: skip
        parts.append(f"{total['flops']:.2g} FLOP")
        if hardware is not None:
            gpus = f", {total['gpu_hours']:,.1f} GPU-hours" if hardware.gpus else ""
            parts.append(f"{spell(total['seconds'])} on {hardware.name or 'the stated hardware'}{gpus}")
        if total["unknown"]:
            parts.append(
                f"not counted: the operations of {total['unknown']:,.0f} cells, for which `weights` (`judge_weights` of a "
                "local judge) or `tokens` are not stated"
            )
        return f"Total: {', '.join(parts)}"


def plan_experiment(
    recipe: Recipe, *, root: Path, folder: Path | None = None, text: str | None = None
) -> ExperimentPlan:
    """What an experiment would take; no model is loaded, nothing is fetched, and nothing is written.

    Use it before a run, and for sizes that this machine will never see: rows that are not at hand count as stated.

    Args:
        recipe: the experiment.
        root: the folder that the files of the recipe are relative to.
        folder: where the experiment has run or would, to tell which cells have a record.
        text: only cells whose name contains it, and what they need.

    Raises:
        ConfigError: whatever the run itself would be refused for, or rows are neither at hand nor stated.
    """
    cells = only(make_grid(recipe), text)
    with tempfile.TemporaryDirectory() as place:
        data = {
            name: rows_of(recipe.data[name], root=root, place=Path(place) / str(number))
            for number, name in enumerate(dict.fromkeys(cell.data for cell in cells))
        }
        planner = _Planner(recipe, data, folder)
        found = tuple(planner.estimate(cell) for cell in cells)
    return ExperimentPlan(
        recipe,
        found,
        _total(found, planner.again, recipe.hardware),
        tuple(name for name, rows in data.items() if rows.stated),
    )


class _Planner:
    """Estimates cells in the order of the grid."""

    def __init__(self, recipe: Recipe, data: Mapping[str, Rows], folder: Path | None) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.counter = Counter()
        self.known: dict[str, Labelling] = {}
        self.first: dict[str, str] = {}
        self.again: dict[str, Estimate] = {}

    def estimate(self, cell: Cell) -> Estimate:
        """One cell."""
        rows = self.data[cell.data]
        given: dict[str, Any] = dict(rows.files) | {"matrix": "labels.npz", "subset": cell.needs}
        config = cell.config(given)
        match config:
            case SelectConfig() | LabelConfig():
                return self._labelling(cell, config, rows)
            case EvaluateConfig():
                return self._measuring(cell, config, rows)
            case FidelityConfig():
                return self._reading(cell, config, rows)
        raise TypeError(f"{type(config).__name__} is of no verb of an experiment")

    def _labelling(self, cell: Cell, config: SelectConfig | LabelConfig, rows: Rows) -> Estimate:
        try:
            found = self.known[cell.name] = self.counter.labelling(config, rows)
        except NnciftError as error:
            raise ConfigError(f"the cell {cell.name}: {error}") from error
        key = label_key(config, rows.files)
        if cell.verb == "select" and found.labels is not None:  # who has labels to lend
            self.first.setdefault(key, cell.name)
        shares = self.first.get(key, cell.name)
        shared = shares != cell.name and not found.at_most
        costs = _Costs(cell, self.recipe.data[cell.data])
        texts = sum(found.rows.values())
        rest = _sum([costs.forward(found.read), costs.embedded(texts)])
        whole = _sum([costs.forward(work(found.calls)), rest])
        if shared:  # what the total counts: the same without the labels
            self.again[cell.name] = replace(self._made(cell, found.rows, rest), read=found.read, texts=texts)
        return replace(
            self._made(cell, found.rows, whole, beside=found.seconds),
            budget=found.budget,
            labels=found.labels,
            at_most=found.at_most,
            lm_forwards=found.calls.forwards,
            lm_backwards=found.calls.backwards,
            read=found.read,
            texts=texts,
            shares=shares if shared else None,
        )

    def _measuring(self, cell: Cell, config: EvaluateConfig, rows: Rows) -> Estimate:
        found = measuring(config, {name: self.known[name] for name in cell.needs}, rows)
        costs = _Costs(cell, self.recipe.data[cell.data])
        longer = min(config.max_length / costs.tokens, config.shots + 1) if costs.tokens else config.shots + 1
        answered = found.trained_answers + found.shown_answers
        spent = [
            costs.forward(3 * found.lessons),
            costs.forward(found.scored + longer * found.shown),
            costs.forward(found.trained_answers + longer * found.shown_answers, more=answered * config.max_new_tokens),
            costs.graded(found.graded, config.judge_tokens) if config.judge is None else 0.0,
        ]
        counts = {role: count for role, count in rows.counts.items() if role in cell.roles}
        return replace(
            self._made(cell, counts, _sum(spent)),
            trainings=found.trainings,
            lessons=found.lessons,
            scored=found.scored + found.shown,
            answered=answered,
            graded=found.graded,
        )

    def _reading(self, cell: Cell, config: FidelityConfig, rows: Rows) -> Estimate:
        counts = {role: count for role, count in rows.counts.items() if role in cell.roles}
        texts = sum(counts.values())
        read = texts if config.reads_states else 0
        costs = _Costs(cell, self.recipe.data[cell.data])
        whole = _sum([costs.forward(read), costs.embedded(texts)])
        return replace(self._made(cell, counts, whole), read=read, texts=texts)

    def _made(self, cell: Cell, rows: dict[str, int], flops: float | None, *, beside: float = 0.0) -> Estimate:
        """What every estimate says; `beside` are seconds that no operation stands for."""
        hardware = self.recipe.hardware
        seconds = None if hardware is None or flops is None else beside + flops / hardware.flops
        record = None if self.folder is None else read_record(self.folder, cell.name)
        recorded = record is not None and record.done
        return Estimate(cell=cell.name, verb=cell.verb, rows=rows, flops=flops, seconds=seconds, recorded=recorded)


class _Costs:
    """Operations of one cell, from what its recipe states."""

    def __init__(self, cell: Cell, data: DataSet) -> None:
        self.hints, self.tokens = cell.hints, data.tokens

    def forward(self, rows: float, *, more: float = 0) -> float | None:
        """So many rows through the language model, and further tokens."""
        if not rows and not more:
            return 0.0
        weights = self.hints.get("weights")
        return None if weights is None or self.tokens is None else 2 * weights * (rows * self.tokens + more)

    def embedded(self, texts: int) -> float | None:
        """So many texts through the sentence encoder; nothing where its size is not stated."""
        weights = self.hints.get("encoder_weights")
        return 0.0 if weights is None or self.tokens is None else 2 * weights * texts * self.tokens

    def graded(self, answers: int, judge_tokens: int) -> float | None:
        """So many answers read and graded by a local judge."""
        if not answers:
            return 0.0
        weights = self.hints.get("judge_weights")
        return (
            None
            if weights is None or self.tokens is None
            else (2 * weights * answers * (_GRADE * self.tokens + judge_tokens))
        )


def spell(seconds: float) -> str:
    """Seconds as minutes or hours."""
    if seconds < 90:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _sum(parts: Sequence[float | None]) -> float | None:
    return None if None in parts else sum(part for part in parts if part is not None)


def _total(cells: Sequence[Estimate], again: Mapping[str, Estimate], hardware: Hardware | None) -> dict[str, float]:
    """Sums, with cells whose labels another one has taken as what they add to it."""
    counted = [again.get(one.cell, one) for one in cells]
    names = (
        "labels",
        "lm_forwards",
        "lm_backwards",
        "read",
        "texts",
        "trainings",
        "lessons",
        "scored",
        "answered",
        "graded",
    )
    total: dict[str, float] = {
        name: sum(getattr(one, name) or 0 for one in counted) for name in (*names, "flops", "seconds")
    }
    total["unknown"] = sum(one.flops is None for one in counted)
    total["hours"] = total["seconds"] / 3600
    total["gpu_hours"] = total["hours"] * (0 if hardware is None else hardware.gpus)
    return total
