"""The session that pointwise teachers with a language model share: every row that is asked about is scored once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.influence.base import Context, Progress
from nncift.lm.tokens import Query

Score = Callable[[Sequence[Example], "Cuts", Progress], Float[ndarray, " R"]]
"""Scores distinct rows, minus infinity where a row cannot be scored; tells of every model call and of rows that are cut."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Rows that lost text: each counts once in the ledger, however often it is read.

    Attributes:
        context: whose ledger counts them.
        rows: ids, and what was lost.
    """

    context: Context
    rows: dict[str, str] = field(default_factory=dict)

    def note(self, row: Example, what: str) -> None:
        """Remembers one row."""
        if row.id not in self.rows:
            self.context.ledger.truncated += 1
        self.rows[row.id] = what


class RowSession:
    """Pool rows by themselves, in the order of their ids.

    Args:
        context: of the run.
        score: what is asked for distinct rows.
        calls: model calls for one row, so that progress can be told while they are made.
    """

    def __init__(self, context: Context, score: Score, *, calls: int) -> None:
        self.context = context
        self.score = score
        self.calls = calls
        self.cuts = Cuts(context)

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Scores of pool rows `j`."""
        distinct, place = np.unique(j, return_inverse=True)
        rows = [self.context.pool[int(k)] for k in distinct]
        order = sorted(range(len(rows)), key=lambda k: rows[k].id)
        done, told = 0, 0

        def tell(count: int) -> None:
            nonlocal done, told
            done += count
            whole = done * len(j) // (self.calls * len(rows))
            on_progress(whole - told)
            told = whole

        scores = np.empty(len(rows))
        scores[order] = self.score([rows[k] for k in order], self.cuts, tell)
        on_progress(len(j) - told)  # rows that cannot be scored make no call
        return scores[place].astype(np.float32)

    def truncated(self) -> dict[str, str]:
        """Rows that lost text so far."""
        return dict(self.cuts.rows)


def mean_loss(log_probs: Float[ndarray, " R"]) -> float:
    """Mean negative log-likelihood of tokens, in nats."""
    return -float(np.mean(log_probs, dtype=np.float64))


def behind_first(query: Query) -> Query:
    """The query with the first response token given instead of scored: where nothing stands in front of a response, its
    first token cannot be predicted. The response of a single token is then empty."""
    return Query((*query.ids, *query.response[:1]), query.response[1:], query.truncated)
