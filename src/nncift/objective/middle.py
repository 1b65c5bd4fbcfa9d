"""Neither the easiest nor the hardest rows: a rule that picks around the median score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.objective.base import Kernels
from nncift.objective.ranking import Ranking


class Middle:
    """The candidates whose scores stand nearest to the median: f(A) = −Σ_{j∈A} |rank_j − (n − 1)/2|.

    Use it with a score such as perplexity, where both ends of the scale are bad data. Ranks count from the lowest score,
    equal scores share their mean rank, and candidates equally far from the middle come in the order of their ids. Where an
    influence has one value per target, the mean over the targets is the score.

    *Cost*: one sort.
    *Reference*: Marion et al., When Less is More, arXiv 2309.04564 (the middle of perplexity); arXiv 2503.01807.
    """

    name: ClassVar[str] = "middle"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True
    needs_whole: ClassVar[bool] = False

    def rank(self, kernels: Kernels, budget: int, *, rows: Sequence[str]) -> tuple[Ranking, tuple[str, ...]]:
        """See `Rule.rank`; a pick's gain is how far it stands from the middle, in ranks, negated."""
        if budget < 0:
            raise ConfigError(f"the budget is {budget}; it must be 0 or more.")
        scores = kernels.means
        n = len(scores)
        ranks = _shared_ranks(scores)
        worth = 0.0 - np.abs(ranks - (n - 1) / 2)
        order = np.argsort(-worth, kind="stable")[:budget].astype(np.int64)
        reasons = tuple(f"score {scores[j]:.4g} is {ranks[j] + 1:.10g} of {n:,} from below" for j in order)
        return Ranking(order, worth[order], len(order), ""), reasons


def _shared_ranks(scores: Float64[ndarray, "n"]) -> Float64[ndarray, "n"]:
    """0-based ranks from the lowest score; equal scores share the mean of theirs."""
    _, which, count = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[which]
