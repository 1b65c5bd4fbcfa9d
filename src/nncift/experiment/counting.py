"""How much a cell asks for, told by the arithmetic of the runs themselves: no model is loaded and nothing is computed.

Where the rows are at hand they are read, and the pairs are drawn as the run draws them. Where only their number is stated,
placeholders take their place: a row of each, of no two the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import cast

from nncift.config import LabelConfig, SelectConfig
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.estimator.budget import PER_CANDIDATE, LabelBudget, parse_labels
from nncift.evaluation.comparison import trials
from nncift.evaluation.options import EvaluateConfig
from nncift.evaluation.subjects import Subject
from nncift.experiment.recipe import DataSet
from nncift.experiment.rows import expected_rows, prepare_rows
from nncift.influence.base import Asked, Calls, calls_of
from nncift.pipeline.allowance import read_allowance
from nncift.pipeline.drawing import plain_design
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.phases import choose_difficulty
from nncift.pipeline.preparing import prepare
from nncift.pipeline.setup import Setup

_MANY = 200_000
"""Pairs of placeholders that are not drawn one by one: rows of both axes are then all met, or lie in one block."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one data set, for a plan.

    Attributes:
        files: by role a file of them, or of placeholders.
        counts: by role how many.
        stated: roles whose number is only stated.
    """

    files: dict[str, str]
    counts: dict[str, int]
    stated: frozenset[str]


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a `select` or `label` cell asks of the language model.

    Attributes:
        rows: by role, those that can be used.
        budget: rows to choose, 0 where only labels are wanted.
        objective: name of the rule, empty where only labels are wanted.
        labels: exact influences; None where they are free, or a budget in seconds decides.
        at_most: whether rounds may end before that.
        calls: for the labels.
        read: rows that the language model reads for the estimator, and to tell phases by: a forward each.
        seconds: of labelling, where the budget is one of seconds.
    """

    rows: dict[str, int]
    budget: int
    objective: str
    labels: int | None
    at_most: bool
    calls: Calls
    read: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measuring:
    """What an `evaluate` cell does, at most: equal subsets are measured once.

    Attributes:
        trainings: fine-tunings.
        lessons: rows that they go through, over all epochs.
        scored: test rows whose loss is taken after a training.
        shown: test rows whose loss is taken behind demonstrations.
        trained_answers, shown_answers: test rows that are answered after either.
        graded: answers that a judge reads.
    """

    trainings: int
    lessons: int
    scored: int
    shown: int
    trained_answers: int
    shown_answers: int
    graded: int


def rows_of(data: DataSet, *, root: Path, place: Path) -> Rows:
    """The rows of a data set: read where they lie below `root`, and else placeholders for as many as are stated.

    Args:
        data: says where rows come from; `expect` counts more than what is at hand.
        root: the folder that files are relative to.
        place: a folder for the files.

    Raises:
        ConfigError: rows are neither at hand nor stated.
    """
    files, counts, stated = {}, {}, set()
    for role, spec in data.roles.items():
        path = place / f"{role}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = data.expect.get(role)
        if count is None and not _at_hand(spec, root):
            count = expected_rows(spec)
            if count is None:
                raise ConfigError(
                    f"the {role} rows are not in {str(root)!r}, and nothing says how many there are. Name their folder with "
                    f"--data DIR, or state them in the data set:  expect: {{{role}: 15000}}."
                )
        if count is None:
            counts[role] = int(prepare_rows(spec, root=root, out=path)["rows"])
        else:
            lines = (json.dumps({"prompt": f"{role} {k}", "completion": f"row {k} of {role}"}) for k in range(count))
            path.write_text("\n".join(lines) + "\n", encoding="ascii")
            counts[role] = count
            stated.add(role)
        files[role] = str(path)
    return Rows(files, counts, frozenset(stated))


def _at_hand(spec: Mapping[str, object], root: Path) -> bool:
    parts = spec.get("parts")
    if isinstance(parts, list):
        return all(isinstance(part, dict) and _at_hand(part, root) for part in parts)
    return isinstance(spec.get("file"), str) and (root / str(spec["file"])).is_file()


class Counter:
    """Counts cells; what cells of one experiment have in common is decided once."""

    def __init__(self) -> None:
        self._prepared = cache(prepare)

    def labelling(self, config: LabelConfig | SelectConfig, rows: Rows) -> Labelling:
        """What a `select` or `label` cell asks for."""
        small = _without_columns(config) if rows.stated else config
        labels = None if config.takes_over else parse_labels(config.labels)
        setup, asked, exact, at_most = self._asked(_common(small), labels, bool(rows.stated))
        budget, reading = self._chosen(small, setup)
        if setup.reads_states and not exact:
            reading += setup.readable
        calls = Calls() if asked is None else setup.calls(asked)
        return Labelling(
            rows={role: len(pool) for role, pool in setup.pools()},
            budget=budget,
            objective=setup.objective.name if setup.objective else "",
            labels=None if asked is None else asked.pairs,
            at_most=at_most,
            calls=calls,
            read=reading,
            seconds=labels.amount if labels is not None and labels.kind == "seconds" else 0.0,
        )

    def _asked(
        self, config: LabelConfig | SelectConfig, labels: LabelBudget | None, stated: bool
    ) -> tuple[Setup, Asked | None, bool, bool]:
        """The run as it is decided, the size of its question, whether all is asked, and whether it may be less."""
        if stated and labels is not None and labels.kind in ("all", "share", "count", "block"):
            setup = self._prepared(replace(config, labels="auto"))
            m, n = kernel_shape(setup.axes)
            free = setup.pairs is None and labels.kind == "all"
            if labels.pairs(m, n) > _MANY and not free:
                huge = _huge(setup, labels)
                return setup, huge, huge.pairs >= setup.open_pairs, False
        setup = self._prepared(config)
        if setup.pairs is None or setup.labels.kind == "seconds":
            return setup, None, setup.exact, False
        if setup.rounds is not None:
            return setup, setup.asked_of(setup.draw(setup.rounds.most)), False, setup.rounds.stops
        return setup, setup.asked, setup.exact, False

    def _chosen(self, config: LabelConfig | SelectConfig, setup: Setup) -> tuple[int, int]:
        """Rows to choose, and those of them that are read to tell phases by."""
        if not isinstance(config, SelectConfig):
            return 0, 0
        budget = read_allowance(config, setup.pool.by_id()).rows
        difficulty = choose_difficulty(config, budget)
        phases = 0 if difficulty is None else calls_of(difficulty, Asked(0, budget, budget, budget)).forwards
        return budget, phases


def measuring(config: EvaluateConfig, subsets: Mapping[str, Labelling], rows: Rows) -> Measuring:
    """What an evaluation does with the subsets that it compares.

    Args:
        config: of the evaluation.
        subsets: by name what is known of each.
        rows: of the data set.
    """
    test = rows.counts.get("test", 0)
    pool = rows.counts["pool"]
    if config.lds:
        halves, half = 2 * config.half_subsets, pool // 2
        targets = rows.counts.get("target", pool)
        return Measuring(halves, halves * half * config.epochs, halves * targets, 0, 0, 0, 0)
    flat = [
        (by, len(trial.rows))
        for _, by, table in trials(config, _subjects(config, subsets, pool))
        for draw in table
        for trial in draw
    ]
    trained = [count for by, count in flat if by == "lora"]
    shown = [count for by, count in flat if by == "icl"]
    answers = int(config.wants_answers)
    return Measuring(
        trainings=sum(count > 0 for count in trained),
        lessons=config.epochs * sum(trained),
        scored=test * len(trained),
        shown=test * len(shown),
        trained_answers=answers * test * len(trained),
        shown_answers=answers * test * len(shown),
        graded=test * len(flat) if "judge" in config.measures else 0,
    )


def _subjects(config: EvaluateConfig, subsets: Mapping[str, Labelling], pool: int) -> list[Subject]:
    """What would be compared; only the numbers of rows mean anything."""
    sizes = sorted({one.budget for one in subsets.values()})
    found = [Subject(name, None, one.budget, (_some(one.budget),)) for name, one in subsets.items()]
    for control in config.beside:
        match control:
            case "initial":
                found.append(Subject("initial", control, 0, ((),)))
            case "full":
                found.append(Subject("full", control, 0, (_some(pool),)))
            case "random":
                draws = config.draws
                found += [Subject(f"random {size}", control, size, (_some(size),) * draws) for size in sizes]
            case "random-tokens":
                draws = config.draws
                found += [
                    Subject(f"random, tokens of {name}", control, one.budget, (_some(one.budget),) * draws)
                    for name, one in subsets.items()
                ]
            case "embedding":
                found += [Subject(f"embedding {size}", control, size, (_some(size),)) for size in sizes]
            case "top-mean":
                found += [
                    Subject(f"{name}, top-mean", control, one.budget, (_some(one.budget),))
                    for name, one in subsets.items()
                    if one.objective != "top-mean"
                ]
    return found


def _some(count: int) -> tuple[Example, ...]:
    """So many rows, of which nothing but the number is looked at."""
    return cast("tuple[Example, ...]", range(count))


def _common(config: LabelConfig | SelectConfig) -> LabelConfig | SelectConfig:
    """The options without those that the labels of a run do not depend on."""
    plain = replace(config, output=None)
    if isinstance(plain, SelectConfig):
        plain = replace(plain, budget="1", phases=0, keep=None, quota=None, optimizer="auto", parts=1, threads=0)
    return plain


def _without_columns(config: LabelConfig | SelectConfig) -> LabelConfig | SelectConfig:
    """The options that placeholders can serve: they have no column to hold a quota by, and none is kept already."""
    plain = replace(config, format="auto", target_format="auto", seed=0)  # counts do not depend on the seed
    if isinstance(plain, SelectConfig):
        plain = replace(plain, quota=None, keep=None, existing_format="auto")
    return plain


def _huge(setup: Setup, labels: LabelBudget) -> Asked:
    """The size of a question of so many pairs that they are not worth drawing: in a block its sides, else every row."""
    if labels.kind == "all":
        return setup.all_asked
    m, n = kernel_shape(setup.axes)
    usual = labels.design(m, priced=setup.influence.traits.priced)
    design = usual if usual == "pointwise" else plain_design(setup.config.design) or usual
    if design == "block":
        rows, columns = labels.sides(m, n)
        return Asked(rows, columns, rows * columns, n)
    pairs = labels.pairs(m, n)
    targets = m if setup.influence.traits.pairwise else len(setup.axes.helped)
    each = PER_CANDIDATE if design == "stripes" else 1
    return Asked(targets, min(n, -(-pairs // each)), pairs, n)
