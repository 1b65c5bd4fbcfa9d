"""A trained network: what it predicts, and the kernel that it makes of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.errors import ConfigError
from nncift.estimator.network import InfluenceNetwork, Network, PointwiseNetwork, arrays_of
from nncift.kernel.deep import DeepKernel
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.lowrank import LowRankKernel


@dataclass(frozen=True, slots=True)
class FittedEstimator:
    """A trained network with the scale of its labels.

    Attributes:
        network: pairwise or pointwise, on the CPU.
        scale: standard deviation of the training labels (0 where they were constant: all is `offset`).
        offset: mean of the training labels.
        epochs: epochs that its weights have seen.
        stopped: why training ended (`tolerance`, `patience`, `epochs`).
        labels: how many labels it was trained on.
        seed: the seed of its initial weights and shuffles.
    """

    network: Network
    scale: float
    offset: float
    epochs: int
    stopped: str
    labels: int
    seed: int

    @property
    def pointwise(self) -> bool:
        """Whether it scores pool rows alone."""
        return isinstance(self.network, PointwiseNetwork)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def training_flops(self) -> int:
        """Estimated floating-point operations that training took: 6 per weight and label shown."""
        return 6 * self.weights * self.labels * self.epochs

    def kernel(
        self, e_target: Float[ndarray, "m d"] | None, e_pool: Float[ndarray, "n d"]
    ) -> FactorisedKernel | DeepKernel | LowRankKernel:
        """The kernel of these rows, in factors; a pointwise estimator ignores `e_target` and gives a kernel of one row.

        Without a hidden layer it is an effect of the target and one of the candidate, and its means are exact in linear time
        as those of one hidden layer are; deeper networks have no such shortcut.

        Raises:
            ConfigError: the embeddings have another dimension than those it was trained on.
        """
        pool, target = self._project_pool(e_pool), self._project_target(e_target)
        scale, offset = self.scale, self.offset
        if not self.network.hidden:
            row, column = (scale * side[:, 0].astype(np.float64) for side in (target, pool))
            return LowRankKernel(
                offset, row, column, *(np.zeros((len(side), 0), np.float32) for side in (target, pool))
            )
        *deeper, (weights, bias) = arrays_of(self.network.layers)[1:]
        output, last = weights[0].copy(), float(bias[0])
        if not deeper:
            return FactorisedKernel(pool, target, output, last, scale, offset)
        layers, biases = (tuple(part.copy() for part in parts) for parts in zip(*deeper, strict=True))
        return DeepKernel(pool, target, layers, biases, output, last, scale, offset)

    def tensors(self) -> dict[str, Tensor]:
        """The weights, by name."""
        return {f"network.{name}": tensor.contiguous() for name, tensor in self.network.state_dict().items()}

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> FittedEstimator:
        """From what `record` and `tensors` gave."""
        network_class = PointwiseNetwork if record["pointwise"] else InfluenceNetwork
        network = network_class(record["dimension"], tuple(record["hidden"]), generator=torch.Generator())
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        )
        kept = ("scale", "offset", "epochs", "stopped", "labels", "seed")
        return cls(network=network.requires_grad_(False), **{name: record[name] for name in kept})

    def record(self) -> dict[str, Any]:
        """What is kept beside the weights, as plain values for JSON."""
        return {
            "pointwise": self.pointwise,
            "dimension": self.network.dimension,
            "hidden": list(self.network.hidden),
            "scale": self.scale,
            "offset": self.offset,
            "epochs": self.epochs,
            "stopped": self.stopped,
            "labels": self.labels,
            "seed": self.seed,
        }

    def _project_pool(self, e_pool: Float[ndarray, "n d"]) -> Float[ndarray, "n h"]:
        self._check_dimension(e_pool, "pool")
        return self.network.project_pool(e_pool)

    def _project_target(self, e_target: Float[ndarray, "m d"] | None) -> Float[ndarray, "m h"]:
        if isinstance(self.network, PointwiseNetwork):
            return self.network.project_target()
        if e_target is None:
            raise ConfigError("this estimator is pairwise: it needs the embeddings of the target. Give a target.")
        self._check_dimension(e_target, "target")
        return self.network.project_target(e_target)

    def _check_dimension(self, embeddings: ndarray, role: str) -> None:
        if embeddings.shape[1] != self.network.dimension:
            raise ConfigError(
                f"the {role} embeddings have {embeddings.shape[1]} dimensions, the estimator was trained on "
                f"{self.network.dimension}. Embed with the embedder it was trained with, or train it again."
            )
