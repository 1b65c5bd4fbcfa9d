"""Covariances between rows, from their features: what alike means to the Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.errors import ConfigError
from nncift.estimator.features import Features

MOST_DIRECTIONS = 64
"""Principal directions that are kept of a block of vectors."""

_FITTED_ON = 2000  # rows, to find a block's directions
_APPLIED = 1 << 16  # rows that are whitened at a time
_NUMBERS = "scalars"
_INSTEAD = {"embedding": "mean_state"}
"""A block that is left out where the other is there: embeddings add nothing to a language model's states."""


@dataclass(frozen=True, slots=True)
class Whitening:
    """Turns a block into a few coordinates in which rows lie about one apart from their mean.

    Vectors are centred, projected onto their main directions and scaled by one number; numbers (the block `scalars`) are
    standardised each by itself.

    Attributes:
        mean: float32 [d].
        directions: float32 [d, q].
    """

    mean: Float[ndarray, " d"]
    directions: Float[ndarray, "d q"]

    @classmethod
    def of(cls, block: Float[ndarray, "rows d"], *, numbers: bool) -> Whitening:
        """Fits to the rows of a block."""
        rows = block.astype(np.float64)
        mean = rows.mean(axis=0)
        rows = rows - mean
        if numbers:
            spread = rows.std(axis=0)
            scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0) / np.sqrt(len(spread))
            return cls(mean.astype(np.float32), np.diag(scale).astype(np.float32))
        centred = torch.from_numpy(rows)  # torch's products, which `one_thread` holds; numpy's bits follow the threads
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
        q = min(MOST_DIRECTIONS, len(values))
        total = float(values[-q:].sum())
        directions = vectors[:, -q:].numpy() * (1 / np.sqrt(total) if total > 0 else 0.0)
        # as a file keeps them: in another order of memory the same product may round otherwise
        return cls(mean.astype(np.float32), np.ascontiguousarray(directions, dtype=np.float32))

    def apply(self, block: Float[ndarray, "rows d"]) -> Float[Tensor, "rows q"]:
        """The coordinates of rows, float64; so many at a time that a file of vectors is not copied whole."""
        directions = torch.from_numpy(self.directions)
        parts = [
            (torch.from_numpy(block[start : start + _APPLIED] - self.mean) @ directions).double()
            for start in range(0, max(1, len(block)), _APPLIED)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Whitened blocks of features, in a fixed order.

    Attributes:
        whitening: by block name.
    """

    whitening: dict[str, Whitening]

    @classmethod
    def of(cls, sides: Sequence[Features]) -> Coordinates:
        """Fits to the rows of both sides of a kernel, to about 2,000 of them where there are more."""
        blocks = sides[0].blocks
        names = sorted(name for name in blocks if _INSTEAD.get(name) not in blocks)
        step = -(-sum(map(len, sides)) // _FITTED_ON)
        every = {name: np.concatenate([side.blocks[name][::step] for side in sides]) for name in names}
        return cls({name: Whitening.of(block, numbers=name == _NUMBERS) for name, block in every.items()})

    def apply(self, rows: Features) -> list[Float[Tensor, "rows q"]]:
        """The coordinates of rows, one tensor a block.

        Raises:
            ConfigError: the rows have other features than those it was fitted to.
        """
        mine = {name: len(white.mean) for name, white in self.whitening.items()}
        theirs = {name: rows.widths.get(name) for name in mine}
        if theirs != mine:
            raise ConfigError(
                f"the estimator was trained on the features {mine} (name: width), these rows have {rows.widths}. "
                "Use the same embedder, model and --features, or train the estimator again."
            )
        return [white.apply(rows.blocks[name]) for name, white in self.whitening.items()]

    def tensors(self) -> dict[str, Tensor]:
        """All numbers, by name."""
        return {
            f"{name}.{part}": torch.from_numpy(getattr(white, part)).contiguous()
            for name, white in self.whitening.items()
            for part in Whitening.__slots__
        }

    @classmethod
    def restored(cls, blocks: Sequence[str], tensors: dict[str, Tensor]) -> Coordinates:
        """From what `tensors` gave, with the blocks in their order."""
        return cls(
            {name: Whitening(*(tensors[f"{name}.{part}"].numpy() for part in Whitening.__slots__)) for name in blocks}
        )


def squared_distances(
    left: Sequence[Float[Tensor, "a q"]], right: Sequence[Float[Tensor, "b q"]]
) -> list[Float[Tensor, "a b"]]:
    """Squared distance of every pair of rows, per block."""
    found = []
    for a, b in zip(left, right, strict=True):
        square = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
        found.append(square.clamp_(min=0))
    return found


def radial(
    squares: Sequence[Float[Tensor, "a b"]], log_weight: Float[Tensor, " B"], log_length: Float[Tensor, " B"]
) -> Float[Tensor, "a b"]:
    """Sum over blocks of weight · exp(-distance² / (2 length²))."""
    total = torch.zeros_like(squares[0])
    for k, square in enumerate(squares):
        total = total + torch.exp(log_weight[k]) * torch.exp(-0.5 * square * torch.exp(-2 * log_length[k]))
    return total
