"""Which labels are shown: one draw for each design and repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.budget import DesignKind, LabelBudget, parse_design, parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.estimator.schedule import Schedule, in_rounds
from nncift.rehearsal.matrix import Matrix
from nncift.rehearsal.options import FidelityConfig
from nncift.seeds import generator

FEWEST = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """Labels that the estimators learn from.

    Attributes:
        design: how they lie.
        usual: whether `select` would lay them so.
        repeat: counted from 0.
        seed: of the estimators.
        labels: the exact influences that are shown; in rounds those of the first.
        unseen: positions of the candidates that were withheld from labelling, in ascending order.
        rounds: how many labels there are after each round; None where all are drawn at once.
    """

    design: DesignKind
    usual: bool
    repeat: int
    seed: int
    labels: Labels
    unseen: Int[ndarray, " u"]
    rounds: Schedule | None = None

    @property
    def labelled(self) -> Bool[ndarray, "m n"]:
        """Where the labels lie."""
        where = np.zeros(self.labels.shape, dtype=bool)
        where[self.labels.i, self.labels.j] = True
        return where

    @property
    def among(self) -> Int[ndarray, " c"] | None:
        """Positions of the candidates that may be labelled, None for all."""
        return np.setdiff1d(np.arange(self.labels.shape[1]), self.unseen) if len(self.unseen) else None


def draw_trials(config: FidelityConfig, matrix: Matrix) -> list[Trial]:
    """All draws, by design and then by repeat. Repeat r draws as `select` with the seed plus r; all designs of a repeat
    have the same candidates withheld.

    Raises:
        ConfigError: the number of labels cannot be read, is more than there are pairs, or is less than two.
    """
    budget = parse_labels(config.labels)
    usual = budget.design(len(matrix.values))
    return [
        _draw(config, matrix, budget, design, usual=design == usual, repeat=repeat)
        for design in _designs(config, budget, usual)
        for repeat in range(config.repeats)
    ]


def _designs(config: FidelityConfig, budget: LabelBudget, usual: DesignKind) -> Iterator[DesignKind]:
    """Those that were named; the usual one where none was, and where only one is possible."""
    if not config.designs or usual in ("all", "pointwise"):
        yield usual
    else:
        yield from map(parse_design, config.designs)


def _draw(
    config: FidelityConfig, matrix: Matrix, budget: LabelBudget, design: DesignKind, *, usual: bool, repeat: int
) -> Trial:
    seed = config.seed + repeat
    candidates = matrix.candidates
    count = round(config.withheld * len(candidates))
    if count == len(candidates):
        raise ConfigError(f"--unseen {config.unseen} of {len(candidates)} candidates leaves none to label. Lower it.")
    rng = generator(seed, "fidelity/unseen candidates")
    unseen = np.sort(rng.choice(candidates, count, replace=False))
    m, n = matrix.values.shape
    among = np.setdiff1d(np.arange(n), unseen)
    most = int(matrix.known[:, among].sum())
    rounds = in_rounds(budget, m, n, most=most, adaptive=design == "adaptive")
    i, j = pairs_to_label(
        budget if rounds is None else LabelBudget("count", rounds.first),
        m,
        n,
        masked=matrix.masked,
        rng=generator(seed, "labels"),
        design=None if usual or design == "adaptive" else design,
        among=among if count else None,
    )
    if len(i) < FEWEST:
        raise ConfigError(f"--labels {config.labels} is {len(i)} exact influence; it takes {FEWEST} to learn from.")
    return Trial(design, usual, repeat, seed, Labels(i, j, matrix.values[i, j], (m, n)), unseen, rounds)
