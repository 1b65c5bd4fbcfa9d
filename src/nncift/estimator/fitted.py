"""A fitted estimator: what it predicts, the factors a kernel is made of, and the file it is kept in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from nncift.errors import ConfigError, RunError
from nncift.estimator.network import InfluenceNetwork, Network, PointwiseNetwork

_FORMAT = "nncift-estimator-1"
_PAIRS = 16384  # pairs predicted at once: 6.5 MB of hidden units at h = 100, about one core's second-level cache


@dataclass(frozen=True, slots=True)
class Factors:
    """All that a kernel needs: `K[i, j] = offset + scale · (weights · relu(pool[j] + target[i]) + bias)`.

    Attributes:
        pool: float32 [n, h], what each pool row adds to the hidden units.
        target: float32 [m, h], what each target row adds, the first layer's bias included.
        weights: float32 [h], the second layer.
        bias: the second layer's bias, in standardised label units.
        scale: standard deviation of the labels it was trained on (0 where they were constant: all is `offset`).
        offset: mean of the labels it was trained on.
    """

    pool: Float[ndarray, "n h"]
    target: Float[ndarray, "m h"]
    weights: Float[ndarray, "h"]
    bias: float
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class FittedEstimator:
    """A trained network with the scale of its labels.

    Attributes:
        network: pairwise or pointwise, on the CPU.
        scale: standard deviation of the training labels (0 where they were constant: all is `offset`).
        offset: mean of the training labels.
        embedder: fingerprint of the embedder whose space it lives in; None where the caller gave none.
        epochs: epochs that its weights have seen.
        stopped: why training ended (`tolerance`, `patience`, `epochs`).
        labels: how many labels it was trained on.
        seed: the seed of its initial weights and shuffles.
    """

    network: Network
    scale: float
    offset: float
    embedder: str | None
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

    def filling_flops(self, rows: int, columns: int) -> int:
        """Estimated floating-point operations of filling a kernel: each row projected once, then four per hidden unit."""
        network = self.network
        projections = (columns + (0 if self.pointwise else rows)) * 2 * network.dimension * network.hidden
        return projections + 4 * network.hidden * rows * columns

    def factors(self, e_target: Float[ndarray, "m d"] | None, e_pool: Float[ndarray, "n d"]) -> Factors:
        """The factors of the kernel of these rows; a pointwise estimator ignores `e_target` and gives a kernel of one
        row.

        Raises:
            ConfigError: the embeddings have another dimension than those it was trained on.
        """
        second = self.network.second
        return Factors(
            pool=self._project_pool(e_pool),
            target=self._project_target(e_target),
            weights=second.weight.detach().numpy()[0].copy(),
            bias=float(second.bias.detach()),
            scale=self.scale,
            offset=self.offset,
        )

    def predict(
        self,
        e_target: Float[ndarray, "m d"] | None,
        e_pool: Float[ndarray, "n d"],
        i: Int[ndarray, "L"],
        j: Int[ndarray, "L"],
    ) -> Float[ndarray, "L"]:
        """Predicted influences of the pairs (i, j), in label units; a pointwise estimator ignores `e_target` and `i`.

        *Cost*: one projection of each row that occurs, then 4·h FLOP for a pair.
        """
        if len(j) == 0:
            return np.zeros(0, dtype=np.float32)
        rows, at_row = (np.zeros(1, np.int64), np.zeros(len(j), np.int64)) if self.pointwise else _used(i)
        columns, at_column = _used(j)
        part = self.factors(None if e_target is None else e_target[rows], e_pool[columns])
        values = np.empty(len(j), dtype=np.float32)
        for start in range(0, len(j), _PAIRS):
            block = slice(start, start + _PAIRS)
            hidden = part.pool[at_column[block]]
            hidden += part.target[at_row[block]]
            np.maximum(hidden, 0, out=hidden)
            values[block] = part.offset + part.scale * (hidden @ part.weights + part.bias)
        return values

    def save(self, path: Path) -> None:
        """Writes weights and metadata as one safetensors file; the same estimator gives the same bytes."""
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        # One key: the format keeps its metadata in a hash map, whose order would differ from run to run.
        path.write_bytes(to_bytes(tensors, metadata={"nncift": json.dumps(self.record(), sort_keys=True)}))

    def record(self) -> dict[str, str | int | float | None]:
        """What is kept beside the weights, as plain values for JSON."""
        return {
            "format": _FORMAT,
            "kind": "pointwise" if self.pointwise else "pairwise",
            "dimension": self.network.dimension,
            "hidden": self.network.hidden,
            "scale": self.scale,
            "offset": self.offset,
            "embedder": self.embedder,
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


def load(path: Path, *, expect_embedder: str | None, expect_dimension: int | None = None) -> FittedEstimator:
    """Reads an estimator that `FittedEstimator.save` wrote.

    Arguments:
        path: the safetensors file.
        expect_embedder: fingerprint of the embedder that will be used with it; None to accept any.
        expect_dimension: length of the embeddings that will be used with it; None to accept any.

    Raises:
        ConfigError: it was trained on another embedder's space, or on embeddings of another dimension.
        RunError: the file is missing, damaged, or no estimator.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["nncift"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if record["format"] != _FORMAT:
            raise RunError(
                f"{path} has the format {record['format']!r}, this version reads {_FORMAT!r}. Train it again."
            )
        cls = PointwiseNetwork if record["kind"] == "pointwise" else InfluenceNetwork
        network = cls(record["dimension"], record["hidden"], generator=torch.Generator())
        network.load_state_dict(state)
        estimator = FittedEstimator(
            network=network.requires_grad_(False),
            **{
                field: record[field] for field in ("scale", "offset", "embedder", "epochs", "stopped", "labels", "seed")
            },
        )
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{path} cannot be read as an estimator: {error}. Train it again.") from error
    _refuse_other_space(estimator, path, expect_embedder, expect_dimension)
    return estimator


def _refuse_other_space(estimator: FittedEstimator, path: Path, embedder: str | None, dimension: int | None) -> None:
    if embedder is not None and estimator.embedder != embedder:
        raise ConfigError(
            f"{path} was trained on the embeddings of {estimator.embedder!r}, here they come from {embedder!r}. "
            "Use the same embedder, or train the estimator again."
        )
    if dimension is not None and estimator.network.dimension != dimension:
        raise ConfigError(
            f"{path} was trained on embeddings of {estimator.network.dimension} dimensions, here they have "
            f"{dimension}. Use the same embedder, or train the estimator again."
        )


def _used(positions: Int[ndarray, "L"]) -> tuple[Int[ndarray, "u"], Int[ndarray, "L"]]:
    """The positions that occur, and where each entry is among them."""
    return np.unique(positions, return_inverse=True)
