"""Who is compared: the subsets that the user names, and the controls beside them.

Controls are made of the pool alone and of what the selection was allowed to see; no control reads a test row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nncift.cachedir import cache_folder
from nncift.config import SelectConfig, read_recipe
from nncift.data.files import load_pool
from nncift.data.rows import Example, Pool, Rejected
from nncift.errors import ConfigError
from nncift.evaluation.options import Control, EvaluateConfig
from nncift.pipeline import select
from nncift.progress import Reporter
from nncift.run import content_key
from nncift.seeds import generator
from nncift.selection import Selection

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to teach a model with, by one name.

    Attributes:
        name: in results.
        control: which control it is; None for what the user named.
        size: of the random subsets that it is compared with; 0 for `initial` and `full` where there are several.
        draws: the rows, one tuple a draw, each sorted by id; more than one where chance has a part.
        cost: what choosing it took: floating-point operations and seconds; None where that is not known.
    """

    name: str
    control: Control | None
    size: int
    draws: tuple[tuple[Example, ...], ...]
    cost: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What the user named, read.

    Attributes:
        subjects: in the order given.
        runs: the selections of those that are run folders, by name.
        pool: what the subsets were chosen from.
        target: the file that the selections were for; None where the pool was its own target.
        rejected: rows of the user's files of chosen rows that cannot be used.
    """

    subjects: tuple[Subject, ...]
    runs: dict[str, Selection]
    pool: Pool
    target: Pool | None
    rejected: tuple[Rejected, ...]


def read_subjects(config: EvaluateConfig, reporter: Reporter) -> Named:
    """Reads run folders and files of chosen rows.

    Raises:
        ConfigError: there is no pool, the runs have several and none is named, or two subsets have one name.
    """
    _refuse_doubles([*map(_title, config.subset)])
    recipes = {name: read_recipe(Path(name) / "recipe.yaml") for name in config.subset if Path(name).is_dir()}
    pool = load_pool(_one("pool", config.pool, recipes), layout=_layout(config.format, "format", recipes), role="pool")
    target_file = _one("target", config.target, recipes, needed=False)
    layout = _layout(config.target_format, "target_format", recipes)
    target = None if target_file is None else load_pool(target_file, layout=layout, role="target")
    runs = {
        name: select(replace(recipe, output=name), reporter) for name, recipe in recipes.items() if recipe is not None
    }
    files = {
        name: load_pool(name, layout=config.format, role="subset") for name in config.subset if name not in recipes
    }
    subjects = []
    for name in config.subset:
        rows = runs[name].examples if name in runs else files[name].examples
        cost = _cost(runs[name]) if name in runs else None
        subjects.append(Subject(_title(name), None, len(rows), (_sorted(rows),), cost))
    rejected = tuple(row for file in files.values() for row in file.rejected)
    if rejected:
        log.warning("%d rows of the files of chosen rows cannot be used; rejected.jsonl says why", len(rejected))
    return Named(tuple(subjects), {_title(name): run for name, run in runs.items()}, pool, target, rejected)


def controls(config: EvaluateConfig, named: Named, reporter: Reporter) -> list[Subject]:
    """The controls that are asked for, for every size among the subsets.

    *Cost*: `embedding` embeds pool and target; the others choose without a model.
    """
    sizes = _sizes(named)
    alone = sizes[0] if len(sizes) == 1 else 0
    makers: dict[Control, Callable[[], Iterator[Subject]]] = {
        "initial": lambda: iter([Subject("initial", "initial", alone, ((),))]),
        "random": lambda: _random(config, named),
        "random-tokens": lambda: _random_tokens(config, named),
        "full": lambda: iter([Subject("full", "full", alone, (_sorted(named.pool),))]),
        "top-mean": lambda: _top_mean(named),
        "embedding": lambda: _embedding(config, named, reporter),
    }
    if {"random", "embedding"} & {*config.beside}:
        _refuse_too_large(named)
    found = [subject for control in config.beside for subject in makers[control]()]
    ours = dict.fromkeys(subject.name for subject in found)
    _refuse_doubles([*(subject.name for subject in named.subjects), *ours])
    return found


def _random(config: EvaluateConfig, named: Named) -> Iterator[Subject]:
    rows = _sorted(named.pool)
    for size in _sizes(named):
        draws = tuple(
            _sorted(
                rows[k] for k in generator(config.seed, f"control/random/{size}/{draw}").permutation(len(rows))[:size]
            )
            for draw in range(config.draws)
        )
        yield Subject("random", "random", size, draws)


def _random_tokens(config: EvaluateConfig, named: Named) -> Iterator[Subject]:
    """Random rows until they hold as much text as the subset: what it would be to train as long on chance.

    Text is counted in characters of prompt and response, which needs no tokenizer.
    """
    rows = _sorted(named.pool)
    lengths = np.array([len(row.text) for row in rows])
    for subject in named.subjects:
        wanted = sum(len(row.text) for row in subject.draws[0])
        draws = []
        for draw in range(config.draws):
            order = generator(config.seed, f"control/random-tokens/{draw}").permutation(len(rows))
            total = np.cumsum(lengths[order])
            count = max(1, int(np.abs(total - wanted).argmin()) + 1)
            draws.append(_sorted(rows[k] for k in order[:count]))
        yield Subject(f"random, text of {subject.name}", "random-tokens", subject.size, tuple(draws))


def _top_mean(named: Named) -> Iterator[Subject]:
    if not named.runs:
        log.warning("the control top-mean needs the influences of a run folder; it is left out")
    for name, run in named.runs.items():
        if run.objective == "top-mean":
            continue
        seen = run.influences()
        known = ~np.isnan(seen.values)
        total = np.where(known, seen.values, 0).sum(axis=1, dtype=np.float64)
        mean = np.where(known.any(axis=1), total / np.maximum(1, known.sum(axis=1)), -np.inf)
        best = np.argsort(-mean, kind="stable")[: len(run)]
        yield Subject(
            f"{name}, top-mean", "top-mean", len(run), (_sorted(seen.pool[int(j)] for j in best),), _cost(run)
        )


def _embedding(config: EvaluateConfig, named: Named, reporter: Reporter) -> Iterator[Subject]:
    options: dict[str, Any] = {"influence": "embedding", "seed": config.seed, "format": named.pool.layout}
    options |= {"pool": named.pool.source, "embedder": config.embedder, "device": config.device}
    if named.target is not None:
        options |= {"target": named.target.source, "target_format": named.target.layout}
    for size in _sizes(named):
        chosen = SelectConfig.of({key: value for key, value in options.items() if value is not None} | {"budget": size})
        place = cache_folder() / "runs" / content_key({name: str(value) for name, value in vars(chosen).items()})[:16]
        run = select(replace(chosen, output=str(place)), reporter)
        yield Subject("embedding", "embedding", size, (_sorted(run.examples),), _cost(run))


def _sizes(named: Named) -> list[int]:
    return sorted({subject.size for subject in named.subjects})


def _sorted(rows: Any) -> tuple[Example, ...]:
    return tuple(sorted(rows, key=lambda row: row.id))


def _cost(run: Selection) -> dict[str, float]:
    return {name: run.costs["total"][name] for name in ("flops", "seconds", "cpu_seconds")}


def _title(name: str) -> str:
    """How results call a run folder or a file."""
    path = Path(name)
    return path.resolve().name if path.is_dir() else path.stem


def _one(what: str, given: str | None, recipes: dict[str, SelectConfig], *, needed: bool = True) -> Any:
    """The one file that the user names, or that all run folders have.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if given is not None:
        return given
    found = {getattr(recipe, what) for recipe in recipes.values()}
    if len(found) > 1:
        raise ConfigError(
            f"the run folders have different files as {what}: {', '.join(map(str, found))}. Name one: --{what} FILE."
        )
    if needed and found in (set(), {None}):
        raise ConfigError(f"no {what} is known: add --{what} FILE, the file that the rows were chosen from.")
    return next(iter(found), None)


def _layout(given: str, what: str, recipes: dict[str, SelectConfig]) -> str:
    """The row layout that the user names, or that all run folders were told."""
    told = {getattr(recipe, what) for recipe in recipes.values()}
    return next(iter(told)) if given == "auto" and len(told) == 1 else given


def _refuse_too_large(named: Named) -> None:
    for subject in named.subjects:
        if subject.size > len(named.pool):
            raise ConfigError(
                f"{subject.name!r} has {subject.size:,} rows, more than the pool's {len(named.pool):,}, so that no random "
                "subset of its size can be drawn. Name the file that it was chosen from with --pool."
            )


def _refuse_doubles(names: Sequence[str]) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"two subsets would be called {double!r} in the results; rename a file or folder.")
