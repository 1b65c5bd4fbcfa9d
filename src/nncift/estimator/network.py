"""The paper's InfluenceNetwork, and the two halves into which its first layer falls apart."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's usual initialisation, drawn from `generator` and not from the global state."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class InfluenceNetwork(nn.Module):
    """Predicts the influence of a pool row on a target row: `w₂·relu(W₁[e_pool; 0; e_target] + b₁) + b₂`.

    Use it for pairwise influences. The separator between the two embeddings is the constant 0, so its column of `W₁`
    never learns and never matters; it is kept because the published network has it (205,101 weights at d = 1024, h =
    100).

    Arguments:
        dimension: d, the length of an embedding.
        hidden: h, the number of hidden units.
        generator: what the initial weights are drawn from.

    *Cost*: 2·h·(2d + 1) FLOP for a pair as published; 4·h once the halves of its two rows are projected.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    def __init__(self, dimension: int, hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dimension = dimension
        self.hidden = hidden
        self.first = _linear(2 * dimension + 1, hidden, generator)
        self.second = _linear(hidden, 1, generator)

    def forward(self, e_pool: Float[Tensor, "b d"], e_target: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Predictions for pairs whose embeddings are given row by row, in standardised label units."""
        separator = e_pool.new_zeros(len(e_pool), 1)
        inputs = torch.cat((e_pool, separator, e_target), dim=1)
        return self.second(torch.relu(self.first(inputs))).squeeze(1)

    def project_pool(self, e_pool: Float[ndarray, "n d"]) -> Float[ndarray, "n h"]:
        """What pool rows add to the hidden units."""
        weight = self.first.weight.detach().numpy()
        return np.asarray(e_pool @ weight[:, : self.dimension].T, dtype=np.float32)

    def project_target(self, e_target: Float[ndarray, "m d"]) -> Float[ndarray, "m h"]:
        """What target rows add to the hidden units, the first layer's bias included."""
        weight = self.first.weight.detach().numpy()
        bias = self.first.bias.detach().numpy()
        return np.asarray(e_target @ weight[:, self.dimension + 1 :].T + bias, dtype=np.float32)


class PointwiseNetwork(nn.Module):
    """Predicts a score of a pool row from its embedding alone: `w₂·relu(W₁ e + b₁) + b₂`.

    Use it for pointwise influences, which know no target (102,601 weights at d = 1024, h = 100).

    Arguments:
        dimension: d, the length of an embedding.
        hidden: h, the number of hidden units.
        generator: what the initial weights are drawn from.

    *Cost*: 2·h·(d + 1) FLOP for a row.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    def __init__(self, dimension: int, hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dimension = dimension
        self.hidden = hidden
        self.first = _linear(dimension, hidden, generator)
        self.second = _linear(hidden, 1, generator)

    def forward(self, e_pool: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Predictions in standardised label units."""
        return self.second(torch.relu(self.first(e_pool))).squeeze(1)

    def project_pool(self, e_pool: Float[ndarray, "n d"]) -> Float[ndarray, "n h"]:
        """The hidden units before the activation, the first layer's bias included."""
        weight = self.first.weight.detach().numpy()
        bias = self.first.bias.detach().numpy()
        return np.asarray(e_pool @ weight.T + bias, dtype=np.float32)

    def project_target(self, e_target: None = None) -> Float[ndarray, "1 h"]:
        """Zeros: one row that adds nothing, so that a pointwise kernel has the form of a pairwise one with m = 1."""
        return np.zeros((1, self.hidden), dtype=np.float32)


Network = InfluenceNetwork | PointwiseNetwork
