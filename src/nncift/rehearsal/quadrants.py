"""The error of predictions by whether a candidate and a target ever got a label: learnt by heart, or carried over?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator.baselines import AdditiveMeans
from nncift.estimator.dense import Figures
from nncift.seeds import generator

PARTS = (
    "labelled candidate, labelled target",
    "labelled candidate, unlabelled target",
    "unlabelled candidate, labelled target",
    "neither labelled",
)
"""Where a pair stands; the paper's quadrants 1 to 4, whose second and third its code has the other way round."""


@dataclass(frozen=True, slots=True)
class Part:
    """The known pairs of one quadrant.

    Attributes:
        pairs: how many.
        sd: standard deviation of their exact influences, in label units.
        estimator: `mse` in squared label units and `r2` against the mean of the labels.
        baselines: the same of guesses that read no text, by name.
    """

    pairs: int
    sd: float
    estimator: Figures
    baselines: dict[str, Figures]


@dataclass(frozen=True, slots=True)
class Quadrants:
    """All parts of one prediction.

    Attributes:
        low, high: the smallest and the largest known influence, 0 and 1 where labels are scaled to [0, 1].
        parts: by the words of `PARTS`; None where a part has no known pair.
    """

    low: float
    high: float
    parts: dict[str, Part | None]


def quadrants(
    exact: Float[ndarray, "m n"],
    predicted: Float[ndarray, "m n"],
    known: Bool[ndarray, "m n"],
    labels: Labels,
    *,
    seed: int,
) -> Quadrants | None:
    """Splits the known pairs by whether their candidate and their target have any label, and judges each part.

    Use it where labels form a block, as the paper's do: there the first part is the labels themselves, and only the last
    says what is known of rows never seen. In other designs the first part holds pairs without a label too.

    Args:
        exact, predicted: influences, finite where known.
        known: pairs whose exact influence there is.
        labels: what was shown.
        seed: of the baseline's cross-validation, as of the estimator `means`.

    Returns:
        None where the known pairs are all in one part, which the figures over all pairs describe.

    *Cost*: a fit of row and column means, and a few passes over the matrix.
    """
    columns, rows = (
        np.bincount(axis, minlength=size) > 0 for axis, size in ((labels.j, exact.shape[1]), (labels.i, exact.shape[0]))
    )
    split = {part: known & where for part, where in zip(PARTS, _parts(rows, columns), strict=True)}
    if sum(part.any() for part in split.values()) < 2:
        return None
    low, high = float(exact[known].min()), float(exact[known].max())
    mean = float(labels.y.mean(dtype=np.float64))
    effects = AdditiveMeans.fit(labels, generator(seed, "estimator/means"))
    additive = effects.mean + effects.row[:, None] + effects.column

    def judged(part: Bool[ndarray, "m n"]) -> Part | None:
        if not part.any():
            return None
        y = exact[part].astype(np.float64)
        around = float(np.mean((y - mean) ** 2))
        errors = {
            "predict the mean": around,
            "predict 0 of [0, 1]": float(np.mean((y - low) ** 2)),
            "uniform random in [0, 1]": float(np.mean((y - (low + high) / 2) ** 2) + (high - low) ** 2 / 12),
            "row + column means": float(np.mean((y - additive[part]) ** 2)),
        }
        own = _figures(float(np.mean((y - predicted[part]) ** 2)), around)
        return Part(len(y), float(y.std()), own, {name: _figures(mse, around) for name, mse in errors.items()})

    return Quadrants(low, high, {name: judged(part) for name, part in split.items()})


def _parts(rows: Bool[ndarray, " m"], columns: Bool[ndarray, " n"]) -> list[Bool[ndarray, "m n"]]:
    """Where the pairs of each part lie, in the order of `PARTS`."""
    return [row[:, None] & column for column in (columns, ~columns) for row in (rows, ~rows)]


def _figures(mse: float, around: float) -> Figures:
    return {"mse": mse, "r2": 1 - mse / around if around > 0 else 0.0}
