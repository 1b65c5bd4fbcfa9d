"""From the features of rows and targets to influences: a weighted sum of inner products over the checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.columns import column
from nncift.data.rows import Example
from nncift.data.wording import Wording
from nncift.errors import DataError
from nncift.influence.base import Context, Direct, Progress
from nncift.influence.gradient_features import Extraction, tokenize_rows
from nncift.tuning.adam import Direction
from nncift.tuning.features import FeatureStore

Aggregate = Literal["mean_of_cos", "cos_of_mean"]

_TILE = 512  # rows of either side whose features are read at once: 16 MiB each at 8,192 numbers


def match(
    context: Context,
    wording: Wording,
    extraction: Extraction,
    weights: Float[ndarray, " t"],
    *,
    adam: Direction | None = None,
    aggregate: Aggregate = "mean_of_cos",
) -> Direct:
    """A session that scores pairs from features, which are all computed here; only rows that are asked about get some.

    Args:
        context: of the teacher.
        wording: of the rows.
        extraction: takes the gradients.
        weights: [t] of its checkpoints.
        adam: Adam's direction for pool rows, or None for their plain gradient; targets always have the plain one.
        aggregate: see `factors_of`.

    Raises:
        DataError: a target row has no gradient.
    """
    cut: dict[str, str] = {}
    pool = tokenize_rows(context, wording, context.pool, context.asked_pool, cut)
    targets = tokenize_rows(context, wording, context.targets, context.asked_targets, cut)
    refuse_targets(context, set(context.asked_targets.tolist()) - set(targets.positions.tolist()))
    context.reporter.begin("gradients", len(weights) * (len(pool) + len(targets)), "rows")
    of_pool, of_targets = extraction.features(pool, adam=adam), extraction.features(targets)
    context.reporter.end(
        f"gradients of {len(pool):,} pool rows and {len(targets):,} targets at {len(weights)} checkpoints"
    )
    refuse_targets(context, targets.positions[~of_targets.directed()].tolist())
    pool_row = _places(len(context.pool), pool.positions)
    pool_row[pool.positions[~of_pool.directed()]] = -1
    factors = factors_of(of_targets, [context.targets[k] for k in targets.positions], aggregate)
    target_row = _places(len(context.targets), targets.positions)
    target_row[targets.positions[~of_targets.directed()]] = -1
    return Direct(Matching(of_pool, of_targets, weights, factors, pool_row, target_row).label, cut)


@dataclass(frozen=True, slots=True)
class Matching:
    """Scores pairs of rows whose features are known.

    Attributes:
        pool: features of pool rows.
        targets: features of target rows.
        weights: [t] of the checkpoints.
        factors: [t, rows of `targets`]: what a target's unit vectors are multiplied by.
        pool_row: [n] where in `pool` each pool row is, -1 where it cannot be scored.
        target_row: [m] where in `targets` each target is, -1 where nothing helps it.
    """

    pool: FeatureStore
    targets: FeatureStore
    weights: Float[ndarray, " t"]
    factors: Float[ndarray, "t v"]
    pool_row: Int[ndarray, " n"]
    target_row: Int[ndarray, " m"]

    def label(self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], on_progress: Progress) -> Float[ndarray, " L"]:
        """y = Σ_t weight_t · factor_t,i · ⟨unit_t(j), unit_t(i)⟩, float32; minus infinity where j cannot be scored, 0 where
        nothing helps i."""
        rows, columns = self.target_row[i], self.pool_row[j]
        y = np.where(columns < 0, -np.inf, 0.0)
        for top in range(0, self.targets.shape[1], _TILE):
            for left in range(0, self.pool.shape[1], _TILE):
                here = (rows // _TILE == top // _TILE) & (columns >= 0) & (columns // _TILE == left // _TILE)
                if here.any():
                    y[here] = self._block(rows[here], columns[here])
        on_progress(len(i))
        return y.astype(np.float32)

    def _block(self, rows: Int[ndarray, " l"], columns: Int[ndarray, " l"]) -> Float[ndarray, " l"]:
        ours, row = np.unique(rows, return_inverse=True)
        theirs, at = np.unique(columns, return_inverse=True)
        total = np.zeros((len(ours), len(theirs)))
        for t, weight in enumerate(self.weights):
            block = self.targets.units(t, ours) @ self.pool.units(t, theirs).T
            total += weight * self.factors[t, ours, None] * block
        return total[row, at]


def factors_of(store: FeatureStore, rows: Sequence[Example], aggregate: Aggregate) -> Float[ndarray, "t v"]:
    """What the unit vectors of the target rows (in the order of the store) are multiplied by.

    `mean_of_cos`: 1. `cos_of_mean`: a row's length over that of its task's mean vector, so that the mean of the influences
    over the task's rows is the cosine with the task's mean gradient; the task is the row's `task` column, and rows without
    one make one task.
    """
    factors = np.ones(store.shape[:2])
    if aggregate == "mean_of_cos":
        return factors
    tasks = [column(row, "task") for row in rows]
    for task in dict.fromkeys(tasks):
        members = np.array([k for k, other in enumerate(tasks) if other == task])
        for t in range(store.shape[0]):
            lengths = store.lengths[t, members].astype(np.float64)
            mean = np.zeros(store.shape[2])
            for part in np.array_split(np.arange(len(members)), -(-len(members) // _TILE)):
                mean += lengths[part] @ store.units(t, members[part])
            whole = np.linalg.norm(mean / len(members))
            factors[t, members] = lengths / whole if whole > 0 else 0.0
    return factors


def refuse_targets(context: Context, positions: Iterable[int]) -> None:
    """Refuses a target of the user's own that nothing could help; a pool row that is to be covered just stays uncovered.

    Raises:
        DataError: it names the first of them.
    """
    for row in sorted(context.targets[position].id for position in positions if not context.is_candidate(position)):
        raise DataError(
            f"target row {row!r} has no gradient: its response has no token that is predicted, or the gradient is zero or not "
            "finite. Remove the row, or try `--dtype float32`."
        )


def _places(count: int, positions: Int[ndarray, " k"]) -> Int[ndarray, " n"]:
    where = np.full(count, -1, dtype=np.int64)
    where[positions] = np.arange(len(positions))
    return where
