"""What an estimator must beat to be worth its name: predictions that never look at a text."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.labels import Labels

_SHRINKAGE = (1.0, 4.0, 16.0, 64.0)  # labels' worth of doubt about a row or a column
_FOLDS = 5
_SWEEPS = 20


@dataclass(frozen=True, slots=True)
class AdditiveMeans:
    """Mean, plus an effect of each target row and of each candidate column; 0 for those without labels.

    The effects are shrunk towards 0 as if so many labels without effect had been seen too. It is the strongest thing to
    say about a pair without reading it, and most of the variance of a real influence matrix.
    """

    mean: float
    row: Float[ndarray, "m"]
    column: Float[ndarray, "n"]

    @classmethod
    def fit(cls, labels: Labels, rng: np.random.Generator) -> AdditiveMeans:
        """Fits the effects, with the shrinkage that does best in a five-fold cross-validation of these labels."""
        fold = rng.permutation(len(labels)) % _FOLDS
        options = list(itertools.product(_SHRINKAGE, repeat=2))
        losses = np.zeros(len(options))
        if len(labels) >= 2 * _FOLDS:
            for held in range(_FOLDS):
                rest, test = labels.take(fold != held), labels.take(fold == held)
                for place, option in enumerate(options):
                    errors = test.y - cls._with(rest, *option).predict(test.i, test.j)
                    losses[place] += float((errors**2).sum())
        return cls._with(labels, *options[int(losses.argmin())])

    @classmethod
    def _with(cls, labels: Labels, doubt_row: float, doubt_column: float) -> AdditiveMeans:
        m, n = labels.shape
        y = labels.y.astype(np.float64)
        mean = float(y.mean())
        in_row = np.bincount(labels.i, minlength=m) + doubt_row
        in_column = np.bincount(labels.j, minlength=n) + doubt_column
        row, column = np.zeros(m), np.zeros(n)
        for _ in range(_SWEEPS):
            row = np.bincount(labels.i, y - mean - column[labels.j], m) / in_row
            column = np.bincount(labels.j, y - mean - row[labels.i], n) / in_column
        return cls(mean, row, column)

    def predict(self, i: Int[ndarray, "L"], j: Int[ndarray, "L"]) -> Float[ndarray, "L"]:
        """Predictions for pairs."""
        return self.mean + self.row[i] + self.column[j]


def baselines(train: Labels, held_out: Labels, rng: np.random.Generator) -> dict[str, Float[ndarray, "L"]]:
    """Predictions for held-out labels by name; the random one is uniform on the range of the training labels."""
    low, high = float(train.y.min()), float(train.y.max())
    size = len(held_out)
    found = {
        "predict 0": np.zeros(size),
        "predict uniform random": rng.uniform(low, high, size) if high > low else np.full(size, low),
        "predict the mean": np.full(size, train.y.mean(dtype=np.float64)),
    }
    if train.shape[0] > 1:
        found["row + column means"] = AdditiveMeans.fit(train, rng).predict(held_out.i, held_out.j)
    return found
