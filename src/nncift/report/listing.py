"""The table: the chosen rows with the reasons, and the rows that came nearest to being chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.rows import Example, ids_of
from nncift.kernel.lines import MASKED
from nncift.report.reading import Missing, Run
from nncift.report.shown import bytes_of, fitting, plain

NEXT = 100
"""Rows that were not chosen, at most."""

_ID, _PROMPT, _RESPONSE, _REASON = 80, 180, 260, 240  # characters
_BYTES = 1_700_000  # of all texts
_HELPED = 2  # targets a row
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One row as the table shows it; all texts are fit for a page.

    Attributes:
        rank: 1 for the best; of rows that were not chosen it goes on behind the last.
        gain: what the pick added; None where it was not chosen.
        influence: its mean influence; None where it is not known.
        helps: the targets that it helps most, each with its influence.
    """

    rank: int
    id: str
    prompt: str
    response: str
    gain: float | None
    influence: float | None
    reason: str
    helps: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines of both kinds.

    Attributes:
        chosen: the best of the chosen rows.
        of: how many are chosen.
        rejected: the nearest of the others, nearest first.
        how: what nearest means here, or why nothing is said of them.
    """

    chosen: tuple[Line, ...]
    of: int
    rejected: tuple[Line, ...]
    how: str


def listing(run: Run, most: int) -> Listing:
    """At most so many rows, by rank.

    *Cost*: one pass over the kernel's lines of these rows; where it is small, the ranking is continued.
    """
    at_next, why_next, how = _nearest(run)
    shown = run.order[: max(1, most - len(at_next))]
    found = run.means
    means = None if isinstance(found, Missing) else found[0]
    helps = _most_helped(run, np.concatenate([shown, at_next]))
    chosen = [(run.chosen[k], float(run.gains[k]), run.entries[k]["reason"]) for k in range(len(shown))]
    others: list[tuple[Example, float | None, str]] = []
    if run.pool is not None:
        others = [(run.pool.examples[int(k)], None, why) for k, why in zip(at_next, why_next, strict=True)]
    every = [*chosen, *others]
    ranks = [*range(1, len(shown) + 1), *range(len(run) + 1, len(run) + 1 + len(others))]
    known = [None if means is None else float(means[k]) for k in (*shown, *at_next)]

    def lines(share: float) -> tuple[Line, ...]:
        return tuple(
            _line(rank, row, gain, mean, why, help, share)
            for rank, (row, gain, why), mean, help in zip(ranks, every, known, helps, strict=True)
        )

    fit = fitting(lines, _size, _BYTES)
    return Listing(fit[: len(shown)], len(run), fit[len(shown) :], how)


def _line(
    rank: int, row: Example, gain: float | None, mean: float | None, why: str, helps: Sequence[tuple[str, float]], share: float
) -> Line:  # fmt: skip
    cut = {
        name: max(12, int(most * share)) for name, most in (("id", _ID), ("prompt", _PROMPT), ("response", _RESPONSE))
    }
    return Line(
        rank=rank,
        id=plain(row.id, cut["id"]),
        prompt=plain(row.prompt, cut["prompt"]),
        response=plain(row.response, cut["response"]),
        gain=gain,
        influence=mean if mean is not None and np.isfinite(mean) else None,
        reason=plain(why, max(24, int(_REASON * share))),
        helps=tuple((plain(name, cut["id"]), value) for name, value in helps),
    )


def _size(lines: Sequence[Line]) -> int:
    return sum(
        bytes_of([line.id, line.prompt, line.response, line.reason, *(name for name, _ in line.helps)])
        for line in lines
    )


def _nearest(run: Run) -> tuple[Int[ndarray, " r"], list[str], str]:
    """Positions of the rows that came nearest to being chosen, why each was not, and what nearest means."""
    nothing = np.empty(0, dtype=np.int64)
    room = min(NEXT, run.of - len(run))
    if not room:
        return nothing, [], "Every row of the pool is chosen."
    if run.picked is None:
        return nothing, [], f"Which rows came nearest cannot be told: {run.closed}"
    if run.inside is not None and "tok" not in run.config.budget.lower():
        further = run.picked.resize(len(run) + room).picks
        behind = [(int(k), why) for k, why in zip(further.order, further.reasons, strict=True) if not run.is_chosen[k]][
            :room
        ]
        how = "What the same ranking would have chosen next, had the budget been larger; the reason is the one of that case."
        return np.array([k for k, _ in behind], dtype=np.int64), [why for _, why in behind], how
    found = run.means
    if isinstance(found, Missing):
        return nothing, [], f"Which rows came nearest cannot be told: {run.why_not_inside}."
    means, labels_only = found
    open_ = np.flatnonzero(np.isfinite(means) & ~run.is_chosen)
    nearest = open_[np.argsort(-means[open_], kind="stable")][:room]
    kind = "mean of exact labels" if labels_only else "mean influence"
    return (
        nearest,
        [f"not chosen; {kind} {means[k]:.4g}" for k in nearest],
        f"The rows of the highest {kind} that were not chosen.",
    )


def _most_helped(run: Run, at: Int[ndarray, " k"]) -> list[list[tuple[str, float]]]:
    """The targets that each row helps most; nothing where the kernel cannot be had or has but one row for all targets."""
    inside = run.inside
    if inside is None or len(inside.rows) < 2:
        return [[] for _ in at]
    names, lines, found = ids_of(inside.rows), inside.kernels().target, []
    for first in range(0, len(at), _AT_ONCE):
        found += [_best(line, names) for line in lines.take(at[first : first + _AT_ONCE])]
    return found


def _best(line: Float[ndarray, " m"], names: list[str]) -> list[tuple[str, float]]:
    order = np.argsort(-line, kind="stable")[:_HELPED]
    return [(names[k], float(line[k])) for k in order.tolist() if line[k] != MASKED]
