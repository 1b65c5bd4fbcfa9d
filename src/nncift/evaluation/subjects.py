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
from nncift.data.rows import Example, Pool
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
    """

    subjects: tuple[Subject, ...]
    runs: dict[str, Selection]
    pool: Pool
    target: Pool | None


def read_subjects(config: EvaluateConfig, reporter: Reporter) -> Named:
    """Reads run folders and files of chosen rows.

    Raises:
        ConfigError: there is no pool, or the runs have several and none is named.
    """
    recipes = {name: read_recipe(Path(name) / "recipe.yaml") for name in config.subset if Path(name).is_dir()}
    pool = load_pool(_one("pool", config.pool, recipes), layout=config.format, role="pool")
    target_file = _one("target", config.target, recipes, needed=False)
    target = None if target_file is None else load_pool(target_file, layout=config.target_format, role="target")
    runs = {
        name: select(replace(recipe, output=name), reporter) for name, recipe in recipes.items() if recipe is not None
    }
    subjects = []
    for name in config.subset:
        rows = runs[name].examples if name in runs else load_pool(name, layout=config.format, role="subset").examples
        cost = _cost(runs[name]) if name in runs else None
        subjects.append(Subject(_title(name), None, len(rows), (_sorted(rows),), cost))
    return Named(tuple(subjects), {_title(name): run for name, run in runs.items()}, pool, target)


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
    found = [subject for control in config.beside for subject in makers[control]()]
    _refuse_doubles([*named.subjects, *found])
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
        mean = np.nanmean(np.where(np.isnan(seen.values).all(1, keepdims=True), -np.inf, seen.values), axis=1)
        best = np.argsort(-mean, kind="stable")[: len(run)]
        yield Subject(
            f"{name}, top-mean", "top-mean", len(run), (_sorted(seen.pool[int(j)] for j in best),), _cost(run)
        )


def _embedding(config: EvaluateConfig, named: Named, reporter: Reporter) -> Iterator[Subject]:
    options: dict[str, Any] = {"influence": "embedding", "seed": config.seed, "format": config.format}
    options |= {"pool": named.pool.source, "embedder": config.embedder, "device": config.device}
    if named.target is not None:
        options |= {"target": named.target.source, "target_format": config.target_format}
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
    return path.stem if path.suffix else path.name or name


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


def _refuse_doubles(subjects: Sequence[Subject]) -> None:
    names = [(subject.name, subject.size) for subject in subjects]
    double = next((name for name, size in names if names.count((name, size)) > 1), None)
    if double is not None:
        raise ConfigError(f"two subsets would be called {double!r} in the results; rename a file or folder.")
