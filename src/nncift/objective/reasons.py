"""Why a row was chosen, in words: replays a ranking over the kernel and sees whom each pick helped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nncift.objective.greedy import Ranking
from nncift.objective.problem import CoverageProblem


def explain(problem: CoverageProblem, ranking: Ranking, rows: Sequence[str], merit: np.ndarray) -> tuple[str, ...]:
    """One sentence per pick.

    Args:
        problem: the objective that was maximised.
        ranking: its picks.
        rows: [r] ids of the represented rows.
        merit: float [n], each candidate's score where the objective has no rows, its mean influence otherwise.

    *Cost*: one pass over the chosen columns of the kernel.
    """
    if problem.values.shape[1] == 0:
        return tuple(f"score {merit[j]:.4g}" for j in ranking.order)
    cap = np.inf if problem.cap is None else problem.cap
    covered = np.minimum(problem.start, cap)
    sentences = []
    for j, gain in zip(ranking.order, ranking.gains, strict=True):
        worth = np.minimum(np.maximum(problem.values[j], covered), cap)
        better = worth - covered
        covered = worth
        helped = int((better > 0).sum())
        if helped and gain > 0:
            most = int(better.argmax())
            sentences.append(
                f"best so far for {helped} of {len(better)} rows, most for {rows[most]!r} (+{better[most]:.4g})"
            )
        elif gain > 0:
            sentences.append(f"helps by itself (+{gain:.4g})")
        else:
            sentences.append(f"no row is covered better; next by mean influence ({merit[j]:.4g})")
    return tuple(sentences)
