"""The paper's InfluenceNetwork with any hidden layers, and the two halves into which its first layer falls apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor, nn

from nncift.errors import ConfigError
from nncift.estimator.threads import one_thread

_BLOCK = 1024  # rows that are projected at once

Hidden = tuple[int, ...]
"""Units of the hidden layers, from the inputs on; none makes the network linear."""


def parse_hidden(text: str) -> Hidden:
    """Reads a layout.

    Args:
        text: `100` for one hidden layer of 100 units, `1000,500` or `[1000, 500]` for two, `none` for no hidden layer.

    Raises:
        ConfigError: it is none of these.
    """
    word = text.strip().lower()
    if word.startswith("[") and word.endswith("]"):
        word = word[1:-1].strip() or "none"
    if word == "none":
        return ()
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}(\s*,\s*0*[1-9][0-9]{0,5})*", word, re.ASCII):
        raise ConfigError(f"--hidden is {text!r}; say units of each hidden layer, such as 100 or 1000,500, or none.")
    return tuple(int(units) for units in word.split(","))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with PyTorch's usual initialisation, drawn from `generator` and not from the global state."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def _layers(inputs: int, hidden: Hidden, generator: torch.Generator) -> nn.ModuleList:
    """A linear layer for each hidden one and one for the output, in their order."""
    widths = (inputs, *hidden, 1)
    return nn.ModuleList(_linear(into, out, generator) for into, out in pairwise(widths))


def _forward(layers: nn.ModuleList, inputs: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
    *hidden, last = layers
    for layer in hidden:
        inputs = torch.relu(layer(inputs))
    return last(inputs).squeeze(1)


def arrays_of(layers: Iterable[nn.Module]) -> list[tuple[Float[ndarray, "g h"], Float[ndarray, "g"]]]:
    """Weights and biases of linear layers, float32."""
    linear = (layer for layer in layers if isinstance(layer, nn.Linear))
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear]


def _projected(
    rows: Float[ndarray, "n d"], weight: Float32[ndarray, "h d"], bias: Float32[ndarray, " h"]
) -> Float32[ndarray, "n h"]:
    """A linear layer of many rows, a block at a time and on one thread: the linear algebra libraries' own threads wait for each
    other longer than this takes, and bits would depend on how many there are."""
    found = np.empty((len(rows), len(weight)), dtype=np.float32)
    turned, shift = torch.from_numpy(weight).T, torch.from_numpy(bias)
    with one_thread():
        for first in range(0, len(rows), _BLOCK):
            some = slice(first, min(first + _BLOCK, len(rows)))
            block = torch.from_numpy(np.require(rows[some], np.float32, "W"))
            torch.addmm(shift, block, turned, out=torch.from_numpy(found[some]))
    return found


class InfluenceNetwork(nn.Module):
    """Predicts the influence of a pool row on a target row: `w·relu(… relu(W₁[e_pool; 0; e_target] + b₁) …) + b`.

    Use it for pairwise influences. The separator between the two embeddings is the constant 0, so its column of `W₁`
    never learns and never matters; it is kept because the published network has it (205,101 weights at d = 1024 and one
    hidden layer of 100 units, of which 204,900 are those of `W₁`).

    Args:
        dimension: d, the length of an embedding.
        hidden: units of each hidden layer; none makes it linear, an effect of the target and one of the candidate.
        generator: what the initial weights are drawn from.

    *Cost*: 2 FLOP per weight for a pair as published; the first layer costs 2·h once the halves of its rows are projected.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    def __init__(self, dimension: int, hidden: Hidden, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dimension = dimension
        self.hidden = tuple(hidden)
        self.layers = _layers(2 * dimension + 1, self.hidden, generator)

    def forward(self, e_pool: Float[Tensor, "b d"], e_target: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Predictions for pairs whose embeddings are given row by row, in standardised label units."""
        separator = e_pool.new_zeros(len(e_pool), 1)
        return _forward(self.layers, torch.cat((e_pool, separator, e_target), dim=1))

    def project_pool(self, e_pool: Float[ndarray, "n d"]) -> Float[ndarray, "n h"]:
        """What pool rows add to the first layer's units (to the output, where there is no hidden layer)."""
        weight, bias = arrays_of(self.layers)[0]
        return _projected(e_pool, weight[:, : self.dimension], np.zeros_like(bias))

    def project_target(self, e_target: Float[ndarray, "m d"]) -> Float[ndarray, "m h"]:
        """What target rows add to them, the first layer's bias included."""
        weight, bias = arrays_of(self.layers)[0]
        return _projected(e_target, weight[:, self.dimension + 1 :], bias)


class PointwiseNetwork(nn.Module):
    """Predicts a score of a pool row from its embedding alone: `w·relu(… relu(W₁ e + b₁) …) + b`.

    Use it for pointwise influences, which know no target (102,601 weights at d = 1024 and one hidden layer of 100 units).

    Args:
        dimension: d, the length of an embedding.
        hidden: units of each hidden layer; none makes it linear.
        generator: what the initial weights are drawn from.

    *Cost*: 2 FLOP per weight for a row.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """

    def __init__(self, dimension: int, hidden: Hidden, *, generator: torch.Generator) -> None:
        super().__init__()
        self.dimension = dimension
        self.hidden = tuple(hidden)
        self.layers = _layers(dimension, self.hidden, generator)

    def forward(self, e_pool: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """Predictions in standardised label units."""
        return _forward(self.layers, e_pool)

    def project_pool(self, e_pool: Float[ndarray, "n d"]) -> Float[ndarray, "n h"]:
        """The first layer's units before the activation, its bias included."""
        weight, bias = arrays_of(self.layers)[0]
        return _projected(e_pool, weight, bias)

    def project_target(self, e_target: None = None) -> Float[ndarray, "1 h"]:
        """Zeros: one row that adds nothing, so that a pointwise kernel has the form of a pairwise one with m = 1."""
        return np.zeros((1, (*self.hidden, 1)[0]), dtype=np.float32)


Network = InfluenceNetwork | PointwiseNetwork
