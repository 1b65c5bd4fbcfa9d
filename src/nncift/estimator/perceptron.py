"""The networks as estimators: the paper's on embeddings alone, and one on all features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Reads, refuse_other_rows
from nncift.estimator.covariance import Coordinates
from nncift.estimator.features import Features
from nncift.estimator.fitted import FittedEstimator
from nncift.estimator.network import Hidden
from nncift.estimator.threads import one_thread
from nncift.estimator.training import TrainingConfig, fit
from nncift.kernel.base import Kernel


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """A trained network.

    Attributes:
        network: the weights, and the scale of the labels.
        coordinates: how features are whitened; None where it reads nothing but embeddings.
    """

    kind: ClassVar[str] = "network"

    network: FittedEstimator
    coordinates: Coordinates | None

    @property
    def pointwise(self) -> bool:
        """Whether it scores pool rows alone."""
        return self.network.pointwise

    @property
    def labels(self) -> int:
        """How many labels it was trained on."""
        return self.network.labels

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.network.weights

    @property
    def flops(self) -> int:
        """Estimated operations of training."""
        return self.network.training_flops

    def kernel(self, target: Features | None, pool: Features) -> Kernel:
        """The kernel of these rows."""
        helped = None if self.pointwise or target is None else _inputs(target, self.coordinates)
        return self.network.kernel(helped, _inputs(pool, self.coordinates))

    def summary(self) -> str:
        """How it was trained."""
        return f"{self.network.epochs} passes over {self.labels:,} labels"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.network.record() | {"blocks": [] if self.coordinates is None else list(self.coordinates.whitening)}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, and how features are whitened."""
        return self.network.tensors() | ({} if self.coordinates is None else self.coordinates.tensors())

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> FittedNetwork:
        """From what `record` and `tensors` gave."""
        blocks = record["blocks"]
        return cls(FittedEstimator.restored(record, tensors), Coordinates.restored(blocks, tensors) if blocks else None)


@dataclass(frozen=True, slots=True)
class Network:
    """The published layout on all features, whitened, with steps and an end that suit few labels.

    Use it to compare: one hidden layer over what a candidate and a target are like, or other layers (`with_hidden`).

    *Cost*: 1 s of one core for 1,000 batches. No language-model call but for the features.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    fitted: ClassVar[type[FittedNetwork]] = FittedNetwork
    reads: ClassVar[Reads] = "all"

    config: TrainingConfig = field(default_factory=TrainingConfig)

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> FittedNetwork:
        """Trains the network."""
        with one_thread():
            coordinates = Coordinates.of([pool] if target is None else [target, pool])
        return _fitted(labels, target, pool, coordinates, config=self.config, seed=seed)

    @property
    def factors(self) -> int:
        """See `Estimator`."""
        return (*self.config.hidden, 1)[0]

    def with_hidden(self, hidden: Hidden) -> Network:
        """The same with other hidden layers."""
        return replace(self, config=replace(self.config, hidden=hidden))


@dataclass(frozen=True, slots=True)
class PaperNetwork:
    """The published network and schedule on embeddings: Adam 1e-4, at most 20 passes, no held-out labels.

    Use it to see what the method as published would have given; labels are standardised here all the same, and the rule
    for stopping means what the paper says.

    *Cost*: as `Network`.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    fitted: ClassVar[type[FittedNetwork]] = FittedNetwork
    reads: ClassVar[Reads] = "embedding"

    config: TrainingConfig = field(default_factory=TrainingConfig.paper)

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> FittedNetwork:
        """Trains the network."""
        return _fitted(labels, target, pool, None, config=self.config, seed=seed)

    @property
    def factors(self) -> int:
        """See `Estimator`."""
        return (*self.config.hidden, 1)[0]

    def with_hidden(self, hidden: Hidden) -> PaperNetwork:
        """The same with other hidden layers."""
        return replace(self, config=replace(self.config, hidden=hidden))


def _fitted(
    labels: Labels,
    target: Features | None,
    pool: Features,
    coordinates: Coordinates | None,
    *,
    config: TrainingConfig,
    seed: int,
) -> FittedNetwork:
    refuse_other_rows(labels, target, pool)
    helped = None if target is None else _inputs(target, coordinates)
    network = fit(labels, helped, _inputs(pool, coordinates), config=config, seed=seed)
    return FittedNetwork(network, coordinates)


def _inputs(rows: Features, coordinates: Coordinates | None) -> Float[ndarray, "rows d"]:
    """What the network reads of rows."""
    if coordinates is not None:
        with one_thread():
            return torch.cat(coordinates.apply(rows), dim=1).numpy().astype(np.float32)
    if "embedding" not in rows.blocks:
        raise ConfigError("the paper's network reads embeddings, and the rows have none. Give an --embedder.")
    return rows.blocks["embedding"]
