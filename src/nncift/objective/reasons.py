"""Why a row was chosen, in words: replays a ranking over the kernel and sees whom each pick helped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from nncift.objective.functions import Explained, SetFunction
from nncift.objective.problem import CoverageProblem
from nncift.objective.ranking import Ranking
from nncift.objective.sparse import SparseCoverage
from nncift.objective.survey import at_once


def explain(
    function: SetFunction, ranking: Ranking, rows: Sequence[str], merit: Float64[ndarray, " n"]
) -> tuple[str, ...]:
    """One sentence per pick.

    Args:
        function: the objective that was maximised.
        ranking: its picks.
        rows: [r] ids of the represented rows.
        merit: float [n], each candidate's score where the objective has no rows, its mean influence otherwise.

    *Cost*: one pass over the lines of the picks that were made for their gain.
    """
    if isinstance(function, SparseCoverage):
        return explain(function.problem, ranking, rows, merit)  # whom a pick helps, the whole kernel knows
    kept = ["kept: it was chosen before"] * ranking.kept
    if isinstance(function, CoverageProblem) and not function.rows:
        return (*kept, *(f"score {merit[j]:.4g}" for j in ranking.order[ranking.kept :]))
    last = ranking.kept + ranking.positive
    if isinstance(function, CoverageProblem):
        chosen = _helped(function, ranking, rows)
    elif isinstance(function, Explained):
        chosen = function.sentences(ranking, rows)
    else:
        chosen = [f"adds most (+{gain:.4g})" for gain in ranking.gains[ranking.kept : last]]
    rest = [f"no row is covered better; next by mean influence ({merit[j]:.4g})" for j in ranking.order[last:]]
    return (*kept, *chosen, *rest)


def _helped(problem: CoverageProblem, ranking: Ranking, rows: Sequence[str]) -> list[str]:
    """Whom each pick behind the kept ones helped, of those that were made for their gain."""
    covered = np.minimum(problem.start, problem.limit)
    last, step = ranking.kept + ranking.positive, at_once(problem.rows)
    sentences = []
    for first in range(0, last, step):
        which = ranking.order[first : min(first + step, last)]
        for line, gain in zip(problem.lines.take(which), ranking.gains[first:last], strict=False):
            worth = np.minimum(np.maximum(line, covered), problem.limit)
            better = worth - covered
            covered = worth
            sentences.append(_sentence(better, float(gain), rows))
    return sentences[ranking.kept :]


def _sentence(better: Float64[ndarray, " r"], gain: float, rows: Sequence[str]) -> str:
    helped = int((better > 0).sum())
    if not helped:
        return f"helps by itself (+{gain:.4g})"
    most = int(better.argmax())
    return f"best so far for {helped} of {len(better)} rows, most for {rows[most]!r} (+{better[most]:.4g})"
