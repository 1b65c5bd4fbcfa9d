"""Several runs beside one another: what they share, and what only one of them chose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nncift.report.reading import Run
from nncift.report.shown import plain

_ONLY = 50  # rows of each run


@dataclass(frozen=True, slots=True)
class Alone:
    """The rows that only one run chose.

    Attributes:
        run: its number, counted from 0.
        count: how many there are.
        rows: rank, id and beginning of the best of them.
    """

    run: int
    count: int
    rows: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What several runs have in common.

    Attributes:
        names: of the runs, told apart where they are alike.
        shared: rows that each pair of runs has in common; the number of its rows on the diagonal.
        jaccard: of each pair, rows in common over rows in either.
        by_all: rows that every run chose.
        alone: of each run.
        same_pool: whether all chose from pools of the same name and size; ids of different pools are not the same rows.
    """

    names: tuple[str, ...]
    shared: tuple[tuple[int, ...], ...]
    jaccard: tuple[tuple[float, ...], ...]
    by_all: int
    alone: tuple[Alone, ...]
    same_pool: bool


def compare(runs: Sequence[Run]) -> Comparison:
    """The comparison of two runs or more."""
    sets = [set(run.ids) for run in runs]
    counted = Counter(one for ids in sets for one in ids)
    shared = tuple(tuple(len(a & b) for b in sets) for a in sets)
    jaccard = tuple(tuple(len(a & b) / len(a | b) for b in sets) for a in sets)
    by_all = sum(count == len(runs) for count in counted.values())
    alone = tuple(_alone(number, run, counted) for number, run in enumerate(runs))
    same = len({(run.config.pool, run.of) for run in runs}) == 1
    return Comparison(names_of(runs), shared, jaccard, by_all, alone, same)


def names_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The names of runs, by as much of their path as tells them apart."""
    found = Counter(run.name for run in runs)
    return tuple(
        plain(run.name if found[run.name] == 1 else f"{run.name} ({number})", 60)
        for number, run in enumerate(runs, start=1)
    )


def _alone(number: int, run: Run, counted: Counter[str]) -> Alone:
    at = [k for k, one in enumerate(run.ids) if counted[one] == 1]
    rows = tuple((k + 1, plain(run.ids[k], 80), plain(run.chosen[k].text, 160)) for k in at[:_ONLY])
    return Alone(number, len(at), rows)
