"""The verb `evaluate`: do subsets teach, and do the influences behind them predict what training does?"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from numpy import ndarray

from nncift.data.rows import Example, ids_of, keys_of
from nncift.data.write import write_rejected
from nncift.errors import ConfigError
from nncift.evaluation import comparison, lds
from nncift.evaluation.answering import AnswerMetrics
from nncift.evaluation.bench import Bench
from nncift.evaluation.controls import make_controls
from nncift.evaluation.options import EvaluateConfig, resolved_evaluation
from nncift.evaluation.payoff import payoff, payoff_sentence
from nncift.evaluation.shown import shown
from nncift.evaluation.subjects import Named, Subject, read_subjects
from nncift.evaluation.summary import higher_is_better, summarise
from nncift.evaluation.tools import Tools
from nncift.progress import Reporter, Silent
from nncift.recipe import changed_values, write_recipe
from nncift.run import RunFolder, environment
from nncift.selection import Influences

log = logging.getLogger(__name__)

RECIPE = "evaluation.yaml"
_TOLD = 5  # subsets whose costs are put into words


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out.

    Attributes:
        records: one per subset, route and metric: what `nncift evaluate --json` prints.
        costs: per subset, what choosing it and training on it took.
        notes: rows that were left out or cut, grades that are missing.
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

    *Cost*: one fine-tuning per subset, draw and seed that is not kept yet (`plan_evaluation`).
    """
    with _opened(config, reporter or Silent()) as (tools, named, folder):
        with folder.atomic(RECIPE) as part:
            write_recipe(resolved_evaluation(config), part, verb="evaluate")
        folder.write_json("environment.json", environment(asdict(tools.placement) | {"seed": config.seed}))
        found = (_datamodels if config.lds else _compare)(config, tools, named, folder)
        name = "lds.json" if config.lds else "results.json"
        folder.write_json(name, {"records": found.records, "notes": found.notes})
        if not config.lds:  # apart: seconds are never the same twice, results are
            folder.write_json("costs.json", found.costs)
    return found


def plan_evaluation(config: EvaluateConfig, reporter: Reporter | None = None) -> comparison.Plan:
    """What `evaluate` would have to do: controls are made, nothing is trained.

    Raises:
        NnciftError: as `evaluate`.
    """
    with _opened(config, reporter or Silent()) as (tools, named, folder):
        if config.lds:
            bench, members, _, _ = _halves(config, tools, named, folder)
            every = lds.trials(named.pool.by_id().examples, members, config.seed)
            return comparison.plan(bench, [trial for of_seed in every for trial in of_seed], answers=False)
        bench, subjects, _, _ = _lined_up(config, tools, named, folder)
        every = comparison.trials(config, subjects)
        flat = [trial for _, _, table in every for draw in table for trial in draw]
        return comparison.plan(bench, flat, answers=config.wants_answers)


@contextmanager
def _opened(config: EvaluateConfig, reporter: Reporter) -> Iterator[tuple[Tools, Named, RunFolder]]:
    """The models, what the user named, and the folder, after all that cannot work is refused."""
    if config.output is None:
        raise ConfigError("no folder for the results: add -o DIR.")
    place = Path(config.output)
    if (place / "recipe.yaml").is_file():
        raise ConfigError(f"{config.output!r} is a run folder. Name another one for the results: -o DIR.")
    if config.test is None and not config.lds:
        raise ConfigError("no test rows: add --test FILE, rows that nothing was chosen from.")
    tools = Tools(config, reporter)
    named = read_subjects(config)
    with closing(RunFolder(place)) as folder:
        if changes := changed_values(resolved_evaluation(config), place / RECIPE, verb="evaluate"):
            log.warning("%s holds an evaluation with other options (%s); its results are replaced", place, changes)
        yield tools, named, folder


def _lined_up(
    config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder
) -> tuple[Bench, list[Subject], AnswerMetrics, dict[str, str]]:
    """Everything that is compared, and where it is measured; nothing is measured yet."""
    test, notes = comparison.read_test(config, named)
    metrics = AnswerMetrics(config, tools, folder)
    metrics.refuse_missing()
    bench = tools.bench(folder, tuple(test))
    notes |= _worded(config, bench, chain(named.pool, *(subject.draws[0] for subject in named.subjects)))
    controls = make_controls(config, named, folder=folder.path, lengths=bench.lengths, reporter=tools.reporter)
    with folder.atomic("rejected.jsonl") as part:
        write_rejected(chain(test.rejected, named.pool.rejected, named.rejected), part)
    return bench, [*named.subjects, *controls], metrics, named.notes | notes


def _compare(config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder) -> Evaluation:
    """Subsets and controls on the test rows."""
    bench, subjects, metrics, notes = _lined_up(config, tools, named, folder)
    measured = comparison.measure(config, bench, subjects, tools.reporter)
    notes |= comparison.cut_notes(measured, len(bench.test))
    metrics.grade(bench.test, [cell.answers for entry in measured for draw in entry.table for cell in draw])
    folder.write_json("cells.json", [comparison.as_json(entry) for entry in measured])
    records = summarise(comparison.scored(config, measured, bench.test, metrics), seed=config.seed)
    costs = payoff(measured, len(named.pool), records)
    told = [*shown(records), *_costs_told(costs)]
    told.append(f"{len(records):,} results on {len(bench.test):,} test rows in {folder.path / 'results.json'}")
    return Evaluation(records, costs, notes | metrics.notes, told, folder.path)


def _costs_told(costs: list[dict[str, Any]]) -> list[str]:
    """The costs of the subsets that gained most; of many the others stand in `costs.json`."""
    ranked = sorted(
        costs, key=lambda cost: (cost["diff_random"] or 0.0) * (-1 if higher_is_better(cost["metric"]) else 1)
    )
    lines = [payoff_sentence(cost) for cost in (costs if len(costs) <= _TOLD else ranked[:_TOLD])]
    return lines if len(costs) <= _TOLD else [*lines, f"What the other {len(costs) - _TOLD:,} cost is in costs.json."]


def _datamodels(config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder) -> Evaluation:
    """The linear datamodeling score of the runs' influences."""
    bench, members, seen, notes = _halves(config, tools, named, folder)
    pool = named.pool.by_id().examples
    halves = lds.train_halves(bench, pool, members, seed=config.seed, reporter=tools.reporter)
    found = {name: lds.predictions(one, members, len(bench.test)) for name, one in seen.items()}
    left_out = lds.holding_own(pool, bench.test, members)
    records = lds.score_records(found, halves, left_out=left_out, seed=config.seed)
    told = [*lds.score_sentences(records), f"{len(records):,} scores in {folder.path / 'lds.json'}"]
    return Evaluation(records, [], named.notes | notes, told, folder.path)


def _halves(
    config: EvaluateConfig, tools: Tools, named: Named, folder: RunFolder
) -> tuple[Bench, ndarray, dict[str, Influences], dict[str, str]]:
    """Where halves are measured, which rows each holds, the influences that have to predict them, and what there is to say.

    Raises:
        ConfigError: no run folder is named, or the runs have different rows.
    """
    if not named.runs:
        raise ConfigError("--lds judges the influences of run folders, and none is named.")
    notes = {}
    if config.half_subsets < lds.ENOUGH:
        notes["halves"] = f"{config.half_subsets:,} half-subsets are few: at least {lds.ENOUGH} are usual"
        log.warning("%s", notes["halves"])
    seen = {name: run.influences() for name, run in named.runs.items()}
    pool = named.pool.by_id().examples
    targets = next((one.targets for one in seen.values() if one.targets), (named.target or named.pool).by_id().examples)
    for name, one in seen.items():
        if _ids(one.pool) != _ids(pool) or (one.targets and _ids(one.targets) != _ids(targets)):
            raise ConfigError(f"the run {name!r} has other pool or target rows; --lds compares runs on the same ones.")
    bench = tools.bench(folder, tuple(targets))
    notes |= _worded(config, bench, pool)
    return bench, lds.draw_halves(len(pool), config.half_subsets, config.seed), seen, notes


def _worded(config: EvaluateConfig, bench: Bench, rows: Iterable[Example]) -> dict[str, str]:
    """Before anything is trained: whether the model's chat format takes all rows, and what there is to say where not."""
    told = bench.refuse_unworded(rows) if "lora" in config.routes or config.lds else None
    return {} if told is None else {"wording": told}


def _ids(rows: Sequence[Example]) -> list[tuple[str, str]]:
    return list(zip(ids_of(rows), keys_of(rows), strict=True))
