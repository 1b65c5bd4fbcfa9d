"""Who is compared: the run folders and files of chosen rows that the user names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nncift.config import SelectConfig
from nncift.data.files import load_pool
from nncift.data.folders import holds_shards
from nncift.data.rows import Example, Pool, Rejected
from nncift.errors import ConfigError
from nncift.evaluation.options import Control, EvaluateConfig
from nncift.pipeline import reopen
from nncift.recipe import read_recipe
from nncift.run import LOCK
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
        cost: what choosing it took: `flops`, `seconds`, `cpu_seconds`, and `reused`, the share of its labels that an earlier
            run had made (their operations are counted all the same); None where that is not known.
        matched: for random rows of as many tokens, the subset whose tokens are matched.
    """

    name: str
    control: Control | None
    size: int
    draws: tuple[tuple[Example, ...], ...]
    cost: dict[str, float] | None = None
    matched: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What the user named, read.

    Attributes:
        subjects: in the order given.
        runs: the selections of those that are run folders, by the name of their subject.
        pool: what the subsets were chosen from.
        target: the rows that the control `embedding` selects for; None where that is the pool itself.
        seen: content of every row that some selection was meant to help.
        rejected: rows of the user's files of chosen rows that cannot be used.
        notes: what there is to say about them.
    """

    subjects: tuple[Subject, ...]
    runs: dict[str, Selection]
    pool: Pool
    target: Pool | None
    seen: frozenset[str]
    rejected: tuple[Rejected, ...]
    notes: dict[str, str]

    @property
    def sizes(self) -> list[int]:
        """Numbers of rows among the subsets, each once."""
        return sorted({subject.size for subject in self.subjects})


def read_subjects(config: EvaluateConfig) -> Named:
    """Reads run folders, without changing them, and files of chosen rows.

    Raises:
        ConfigError: there is no pool, the runs have several and none is named, or two subsets have one name.
        RunError: a run did not finish, or its rows or files changed since.
    """
    refuse_doubles([*map(title, config.subset)])
    recipes = {name: read_recipe(Path(name) / "recipe.yaml") for name in config.subset if _is_run(name)}
    pool_file = _one("pool", config.pool, recipes)
    if pool_file is None:
        raise ConfigError("no pool is known: add --pool FILE, the file that the rows were chosen from.")
    pool = load_pool(pool_file, layout=_layout(config.format, "format", recipes), role="pool")
    runs = {
        name: reopen(name, pool=_moved(recipe.pool, config.pool), target=_moved(recipe.target, config.target))
        for name, recipe in recipes.items()
    }
    files = {name: load_pool(name, layout=config.format, role="subset") for name in config.subset if name not in runs}
    subjects = []
    for name in config.subset:
        rows = runs[name].examples if name in runs else files[name].examples
        cost = whole_cost(runs[name]) if name in runs else None
        subjects.append(Subject(title(name), None, len(rows), (by_id(rows),), cost))
    rejected = tuple(row for file in files.values() for row in file.rejected)
    every = _targets(config, recipes)
    needed = "embedding" in config.beside  # for the others the runs may have targets of their own
    target = every.get(_one("target", config.target, recipes)) if needed else next(iter(every.values()), None)
    return Named(
        subjects=tuple(subjects),
        runs={title(name): run for name, run in runs.items()},
        pool=pool,
        target=target,
        seen=frozenset(key for rows in every.values() for key in rows.keys),
        rejected=rejected,
        notes=_notes(subjects, pool, len(rejected)),
    )


def by_id(rows: Any) -> tuple[Example, ...]:
    """Rows sorted by id, so that the order of a file plays no part."""
    return tuple(sorted(rows, key=lambda row: row.id))


def whole_cost(run: Selection) -> dict[str, float]:
    """What choosing took, as if nothing had been found computed."""
    costs = run.costs
    reused = costs["exact"]["not_made"] if costs["exact"] else 0.0
    spent = {name: costs["total"][name] for name in ("flops", "seconds", "cpu_seconds")}
    if 0 < reused < 1:
        label = costs["stages"]["label"]
        spent = {name: value + label[name] * reused / (1 - reused) for name, value in spent.items()}
    return spent | {"reused": reused}


def _is_run(name: str) -> bool:
    """Whether a folder is named that is no folder of shards."""
    path = Path(name)
    return path.is_dir() and ((path / LOCK).exists() or (path / "recipe.yaml").exists() or not holds_shards(path))


def title(name: str) -> str:
    """How results call a run folder or a file."""
    path = Path(name)
    return path.resolve().name if path.is_dir() else path.stem


def refuse_doubles(names: Sequence[str]) -> None:
    """Raises:
    ConfigError: two subsets would have one name.
    """
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(f"two subsets would be called {double!r} in the results; rename a file or folder.")


def _moved(before: str | None, given: str | None) -> str | None:
    """The file that the user names in place of one that is no longer where it was."""
    return given if before is not None and not Path(before).exists() else None


def _targets(config: EvaluateConfig, recipes: Mapping[str, SelectConfig]) -> dict[str, Pool]:
    """Every file of target rows."""
    layout = _layout(config.target_format, "target_format", recipes)
    names = {config.target} if config.target else {recipe.target for recipe in recipes.values()}
    return {name: load_pool(name, layout=layout, role="target") for name in sorted(filter(None, names))}


def _one(what: str, given: str | None, recipes: Mapping[str, SelectConfig]) -> Any:
    """The one file that the user names, or that all run folders have; None where there is none.

    Raises:
        ConfigError: there are several.
    """
    found = {given} if given is not None else {getattr(recipe, what) for recipe in recipes.values()}
    if len(found) > 1:
        names = ", ".join(sorted(str(name) if name else f"none (the pool is its own {what})" for name in found))
        raise ConfigError(f"the run folders have different files as {what}: {names}. Name one: --{what} FILE.")
    return next(iter(found), None)


def _layout(given: str, what: str, recipes: Mapping[str, SelectConfig]) -> str:
    """The row layout that the user names, or that all run folders were told."""
    told = {getattr(recipe, what) for recipe in recipes.values()}
    return next(iter(told)) if given == "auto" and len(told) == 1 else given


def _notes(subjects: Sequence[Subject], pool: Pool, rejected: int) -> dict[str, str]:
    notes = {}
    if rejected:
        notes["subset_rejected"] = f"{rejected:,} rows of the files of chosen rows cannot be used (see rejected.jsonl)"
    known = {*pool.keys}
    strange = {
        subject.name: count
        for subject in subjects
        if (count := sum(row.content_key not in known for row in subject.draws[0]))
    }
    if strange:
        which = ", ".join(f"{count:,} of {name!r}" for name, count in strange.items())
        notes["strange"] = f"rows that are not in the pool: {which}; random subsets are drawn from the pool alone"
    for sentence in notes.values():
        log.warning("%s", sentence)
    return notes
