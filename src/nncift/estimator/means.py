"""Row and column means: the estimator that reads no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nncift.data.labels import Labels
from nncift.estimator.base import Reads, refuse_other_rows
from nncift.estimator.baselines import AdditiveMeans
from nncift.estimator.features import Features
from nncift.kernel.lowrank import LowRankKernel
from nncift.seeds import generator


@dataclass(frozen=True, slots=True)
class FittedMeans:
    """Effects by the keys of rows.

    Attributes:
        mean: of the labels.
        row, column: effects of targets and of candidates.
        pointwise: whether it scores pool rows alone.
        labels: how many it was fitted to.
    """

    kind: ClassVar[str] = "means"

    mean: float
    row: dict[str, float]
    column: dict[str, float]
    pointwise: bool
    labels: int

    @property
    def weights(self) -> int:
        """The effects and the mean."""
        return 1 + len(self.row) + len(self.column)

    @property
    def flops(self) -> int:
        """Twenty sweeps over the labels, for each of the sixteen shrinkages and five folds."""
        return 20 * 16 * 5 * 4 * self.labels

    def kernel(self, target: Features | None, pool: Features) -> LowRankKernel:
        """The effects of these rows, 0 for those that had no labels."""
        keys = ("",) if self.pointwise or target is None else target.keys
        row, column = (
            np.array([effects.get(key, 0.0) for key in of], dtype=np.float64)
            for effects, of in ((self.row, keys), (self.column, pool.keys))
        )
        nothing = (np.zeros((len(keys), 0), dtype=np.float32), np.zeros((len(pool), 0), dtype=np.float32))
        return LowRankKernel(self.mean, row, column, *nothing)

    def summary(self) -> str:
        """How it was fitted."""
        return f"effects of targets and candidates from {self.labels:,} labels"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = {"mean": self.mean, "pointwise": self.pointwise, "labels": self.labels}
        return names | {"targets": list(self.row), "pool": list(self.column)}

    def tensors(self) -> dict[str, Tensor]:
        """The effects, float64."""
        sides = {"row": self.row, "column": self.column}
        return {name: torch.tensor(list(side.values()), dtype=torch.float64) for name, side in sides.items()}

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> FittedMeans:
        """From what `record` and `tensors` gave."""
        row = dict(zip(record["targets"], tensors["row"].tolist(), strict=True))
        column = dict(zip(record["pool"], tensors["column"].tolist(), strict=True))
        return cls(record["mean"], row, column, record["pointwise"], record["labels"])


@dataclass(frozen=True, slots=True)
class Means:
    """Predicts the mean, plus a shrunk effect of each target and of each candidate that had labels.

    Use it as the yardstick: an estimator that does not beat it has not read the texts to any profit.

    *Cost*: a few passes over the labels.
    """

    fitted: ClassVar[type[FittedMeans]] = FittedMeans
    reads: ClassVar[Reads] = "nothing"
    factors: ClassVar[int] = 1

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> FittedMeans:
        """Fits the effects."""
        refuse_other_rows(labels, target, pool)
        i = labels.i if target is None else target.same[labels.i]
        merged = Labels(i.astype(np.int32), pool.same[labels.j].astype(np.int32), labels.y, labels.shape)
        means = AdditiveMeans.fit(merged, generator(seed, "estimator/means"))
        keys = {"": 0} if target is None else dict(zip(target.keys, target.same, strict=True))
        row = {key: float(means.row[k]) for key, k in keys.items()}
        column = {key: float(means.column[k]) for key, k in zip(pool.keys, pool.same, strict=True)}
        return FittedMeans(means.mean, row, column, pointwise=target is None, labels=len(labels))
