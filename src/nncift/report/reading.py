"""What a report is made from: a finished run folder, and the rows and kernels behind it where they can be had for nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.data.files import load_pool
from nncift.data.rows import Example, Pool
from nncift.data.shards import lines_in, stored
from nncift.errors import NnciftError, RunError
from nncift.pipeline.reopening import reopen
from nncift.plain import DAMAGE
from nncift.recipe import read_recipe
from nncift.run import as_left
from nncift.selection import Inside, Selection

CHEAP = 20_000_000
"""Influences that are filled in for a picture: seconds. A larger kernel is not filled again."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A picture that cannot be drawn of a run, and why."""

    why: str


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: of the run.
        config: its options, resolved.
        objective: the set function or rule that chose.
        of: usable rows of the pool.
        notes: its warnings by kind.
        entries: the lines of the ranking, best first.
        chosen: the chosen rows, best first.
        costs: `costs.json`.
        facts: what the choice left in `stages.json`.
        fidelity: `fidelity.json`; None where every influence is exact.
        learning: `learning.json`; None where labels were drawn at once.
        picked: the run opened again; None where its rows or files are not what they were.
        closed: why it could not be opened.
    """

    folder: Path
    config: SelectConfig
    objective: str
    of: int
    notes: dict[str, str]
    entries: tuple[dict[str, Any], ...]
    chosen: Sequence[Example]
    costs: dict[str, Any]
    facts: dict[str, Any]
    fidelity: dict[str, Any] | None
    learning: dict[str, Any] | None
    picked: Selection | None
    closed: str | None

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.resolve().name

    @cached_property
    def order(self) -> Int[ndarray, " k"]:
        """Positions of the chosen rows in the pool sorted by id, best first."""
        return np.array([entry["position"] for entry in self.entries], dtype=np.int64)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the chosen rows, best first."""
        return tuple(entry["id"] for entry in self.entries)

    @cached_property
    def gains(self) -> Float64[ndarray, " k"]:
        """What each pick added."""
        return np.array([entry["gain"] for entry in self.entries], dtype=np.float64)

    @cached_property
    def is_chosen(self) -> Bool[ndarray, " n"]:
        """Which rows of the pool, sorted by id, are chosen."""
        chosen = np.zeros(self.of, dtype=bool)
        chosen[self.order] = True
        return chosen

    @cached_property
    def pool(self) -> Pool | None:
        """The pool sorted by id, None where it cannot be had."""
        return self.picked.pool.by_id() if self.picked else None

    @property
    def inside(self) -> Inside | None:
        """What the choice rests on; None where its kernel cannot be had, or is too large to be filled again."""
        if self.picked is None or int(np.prod(self.picked.inside.shape)) > CHEAP:
            return None
        return self.picked.inside

    @property
    def why_not_inside(self) -> str:
        """Why there is no kernel."""
        if self.picked is None:
            return f"the run could not be opened again: {self.closed}"
        n, m = self.picked.inside.shape
        return f"its {n * m:,} influences are not filled in again for a page (the most is {CHEAP:,})"

    @cached_property
    def means(self) -> tuple[Float[ndarray, " n"], bool] | Missing:
        """The mean influence of every pool row, NaN where none is known; and whether these are means of exact labels alone."""
        if self.inside is not None:
            return self.inside.kernels().means, False
        path = self.folder / "labels.npz"
        if not path.is_file():
            return Missing(f"No influence lies in the folder, and {self.why_not_inside}.")
        with as_left(self.folder):
            stored = read_npz(path)
            j, y = stored["j"], stored["y"].astype(np.float64)
            own = (j < self.of) & np.isfinite(y)
            counts = np.bincount(j[own], minlength=self.of)
            sums = np.bincount(j[own], weights=y[own], minlength=self.of)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), True


def open_run(folder: str | Path, picked: Selection | None = None) -> Run:
    """A finished run as its folder tells of it.

    Args:
        folder: of the run.
        picked: the run where it is open already.

    Raises:
        ConfigError: the folder holds no recipe of `select`.
        RunError: the run did not finish, or a file of its folder is missing or damaged.
    """
    place = Path(folder)
    config = read_recipe(place / "recipe.yaml")
    if not (place / "done.json").is_file():
        raise RunError(f"the run in {str(place)!r} did not finish. Go on with `nncift run {place / 'recipe.yaml'}`.")
    with as_left(place):
        return _opened(place, config, picked)


def _opened(place: Path, config: SelectConfig, picked: Selection | None) -> Run:
    done, stages, costs = (_json(place / name) for name in ("done.json", "stages.json", "costs.json"))
    fidelity, learning = (
        _json(path) if (path := place / f"{name}.json").is_file() else None for name in ("fidelity", "learning")
    )
    entries, closed = _entries(place), None
    if picked is None:
        try:
            picked = reopen(place)
        except NnciftError as error:
            closed = str(error)
    chosen = picked.examples if picked else _subset(place, config, done["subset"], len(entries))
    facts, of, notes = stages["select"]["facts"], int(done["of"]), dict(done["notes"])
    objective = picked.objective if picked else str(done.get("objective") or config.objective or "its objective")
    run = Run(place, config, objective, of, notes, entries, chosen, costs, facts, fidelity, learning, picked, closed)
    if (
        len(entries) != len(chosen)
        or len(run.ids) != int(run.is_chosen.sum())
        or (len(run) and run.order.min() < 0)
        or not np.isfinite(run.gains).all()
    ):
        raise _damaged(stored(place, "selection"))
    return run


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *DAMAGE) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _entries(place: Path) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(json.loads(line) for line in lines_in(place, "selection"))
    except (OSError, *DAMAGE) as error:
        raise _damaged(stored(place, "selection")) from error


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is missing or damaged. Make it again with `nncift run {path.parent / 'recipe.yaml'}`.")


def _subset(place: Path, config: SelectConfig, name: str, count: int) -> Sequence[Example]:
    """The chosen rows of the folder's own file."""
    if Path(name).name != name:  # a folder of somebody else's must not name files outside it
        raise _damaged(place / "done.json")
    rows = load_pool(place / name, layout=config.format, role="subset").examples
    if len(rows) != count:
        raise _damaged(place / name)
    return rows
