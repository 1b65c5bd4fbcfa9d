"""Rows seen through landmarks: features whose inner products are the covariances of the Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nncift.estimator.covariance import squared_distances
from nncift.estimator.evidence import Weights
from nncift.estimator.posterior import sound_factor

LANDMARKS = 256
"""Labelled rows of a side that the others are compared with."""

_RIDGE = 1e-6  # of the landmarks' own covariance, so that twins among them do no harm


@dataclass(frozen=True, slots=True)
class Lens:
    """φ(x) = k(x, Z) L⁻ᵀ with k(Z, Z) = L Lᵀ, for each of the three covariances.

    Attributes:
        weights: of the covariances.
        target, pool: coordinates of the landmarks, by block.
    """

    weights: Weights
    target: list[Float[Tensor, "z q"]]
    pool: list[Float[Tensor, "z q"]]

    @classmethod
    def of(
        cls,
        weights: Weights,
        target: Sequence[Float[Tensor, "m q"]],
        pool: Sequence[Float[Tensor, "n q"]],
        rng: np.random.Generator,
    ) -> Lens:
        """Takes all of the rows as landmarks, or as many as there may be."""
        return cls(weights, *([block[_some(len(side[0]), rng)] for block in side] for side in (target, pool)))

    def rows(self, target: Sequence[Float[Tensor, "m q"]]) -> tuple[Float[Tensor, "m z"], Float[Tensor, "m t"]]:
        """φ of targets: of what all candidates share, and of their dealings with single ones."""
        seen, own = squared_distances(target, self.target), squared_distances(self.target, self.target)
        return (
            _through(self.weights.row(seen), self.weights.row(own)),
            _through(self.weights.target(seen), self.weights.target(own)),
        )

    def columns(self, pool: Sequence[Float[Tensor, "n q"]]) -> Float[Tensor, "n z"]:
        """φ of candidates."""
        seen, own = squared_distances(pool, self.pool), squared_distances(self.pool, self.pool)
        return _through(self.weights.candidate(seen), self.weights.candidate(own))


def _through(seen: Float[Tensor, "a z"], own: Float[Tensor, "z z"]) -> Float[Tensor, "a z"]:
    ridge = _RIDGE * own.diagonal().mean() * torch.eye(len(own), dtype=own.dtype)
    factor = sound_factor(own + ridge)
    return torch.linalg.solve_triangular(factor, seen.T, upper=False).T


def _some(rows: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(np.sort(rng.permutation(rows)[:LANDMARKS]))
