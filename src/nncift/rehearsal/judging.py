"""What one prediction of the whole matrix is worth, by every figure that is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator.dense import Figures, candidate_figures, pair_figures
from nncift.estimator.rounds import Round
from nncift.rehearsal.gains import Yardstick
from nncift.rehearsal.matrix import Matrix
from nncift.rehearsal.quadrants import Quadrants, quadrants

Candidates = Literal["all", "unseen"]


@dataclass(frozen=True, slots=True)
class Judged:
    """The figures of one prediction over some of the candidates.

    Attributes:
        labels: how many pairs were shown.
        figures: those of `estimator.dense`, by name.
        gains: of the objective, by budget; None where there are none.
        seconds: that fitting and predicting took; None for a guess that takes none.
        rounds: the learning curve, where labels were drawn in rounds.
        quadrants: the errors by whether candidate and target have a label; None over some candidates only, and where all
            pairs would be in one of them.
    """

    labels: int
    figures: Figures
    gains: Figures | None
    seconds: float | None
    rounds: tuple[Round, ...] | None = None
    quadrants: Quadrants | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """What predictions are held against.

    Attributes:
        matrix: the exact influences.
        yardstick: of selections; None where influences are pointwise and a selection is a sort.
    """

    matrix: Matrix
    yardstick: Yardstick | None

    @classmethod
    def of(cls, matrix: Matrix, *, seed: int) -> Judge:
        """For a matrix."""
        return cls(matrix, None if matrix.pointwise else Yardstick.of(matrix, seed=seed))

    def judge(
        self,
        predicted: Float[ndarray, "m n"],
        labels: Labels,
        labelled: Bool[ndarray, "m n"],
        unseen: Int[ndarray, " u"],
        *,
        seed: int,
        seconds: float | None,
        sd: Float[ndarray, " n"] | None = None,
        rounds: tuple[Round, ...] | None = None,
    ) -> dict[Candidates, Judged]:
        """The figures over all candidates, and where some were withheld from labelling over those alone; the seed is that of
        the estimators."""
        gains = None if self.yardstick is None else self.yardstick.gains(predicted)
        open_ = self.matrix.known & ~labelled
        everyone = self._figures(predicted, labels, open_, self.matrix.candidates, sd)
        parts = quadrants(self.matrix.values, predicted, self.matrix.known, labels, seed=seed)
        found: dict[Candidates, Judged] = {"all": Judged(len(labels), everyone, gains, seconds, rounds, parts)}
        if len(unseen):
            apart = np.zeros(len(self.matrix.pool_ids), dtype=bool)
            apart[unseen] = True
            found["unseen"] = Judged(
                len(labels), self._figures(predicted, labels, open_ & apart, unseen, sd), None, seconds
            )
        return found

    def _figures(
        self,
        predicted: Float[ndarray, "m n"],
        labels: Labels,
        judged: Bool[ndarray, "m n"],
        which: Int[ndarray, " c"],
        sd: Float[ndarray, " n"] | None,
    ) -> Figures:
        exact, mean = self.matrix.values, float(labels.y.mean(dtype=np.float64))
        return pair_figures(exact, predicted, judged, mean=mean) | candidate_figures(
            exact, predicted, self.matrix.known, which, sd=sd
        )
