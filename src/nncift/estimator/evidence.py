"""How strong each part of the Gaussian process is: the weights under which the labels are least surprising."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.estimator.covariance import radial, squared_distances

logger = logging.getLogger(__name__)

_SINGULAR: type[RuntimeError] = torch.linalg.LinAlgError  # pyright: ignore[reportPrivateImportUsage]

_LABELS = 600  # that the weights are chosen by: one step costs L³ / 3
_PER_CANDIDATE = 10  # of them at most, so that there are many candidates among them
_STEPS = 20
_PULL = 1.0  # towards where the search starts, as if each logarithm were drawn from there with a deviation of 0.7
JITTER = 1e-4  # of noise at least, in variances of the labels

_START = {"noise": -1.0, "row_own": -1.0, "row": -3.0, "target_own": -3.0, "target_mean": -2.0, "target": -1.0}
_START |= {"target_length": 0.0, "candidate_own": -3.0, "candidate": -1.0, "candidate_length": 0.0}
_BY_BLOCK = ("row", "target", "target_length", "candidate", "candidate_length")


@dataclass(frozen=True, slots=True)
class Weights:
    """Logarithms of the variances (and length scales) of the parts, in units of the labels' variance:

        cov(K[i, j], K[i', j']) = row(i, i') + target(i, i') · candidate(j, j') + noise
        row       = row_own · [same row]    + Σ_b row_b · rbf_b
        target    = target_own · [same row] + target_mean + Σ_b target_b · rbf_b
        candidate = candidate_own · [same row] + Σ_b candidate_b · rbf_b

    `row` is how easily a target is helped; with `target_mean`, which is the same for all targets, `candidate` is how much a
    candidate helps everybody; the rest is what one candidate does for one target.

    Attributes:
        log: float64 by name, [1], or [B] where there is one a block.
    """

    log: dict[str, Float[Tensor, " b"]]

    @classmethod
    def start(cls, blocks: int) -> Weights:
        """Where the search starts."""
        return cls.unpacked(
            torch.cat(
                [
                    torch.full((blocks if name in _BY_BLOCK else 1,), value, dtype=torch.float64)
                    for name, value in _START.items()
                ]
            ),
            blocks,
        )

    @classmethod
    def unpacked(cls, flat: Float[Tensor, " P"], blocks: int) -> Weights:
        """From one vector."""
        sizes = [blocks if name in _BY_BLOCK else 1 for name in _START]
        return cls(dict(zip(_START, flat.split(sizes), strict=True)))

    @property
    def flat(self) -> Float[Tensor, " P"]:
        """As one vector."""
        return torch.cat([self.log[name] for name in _START])

    def variance(self, name: str) -> Tensor:
        """The variance of a part without blocks."""
        return torch.exp(self.log[name][0])

    @property
    def candidate_own_features(self) -> Tensor:
        """Variance of a candidate by its features."""
        return torch.exp(self.log["candidate"]).sum()

    @property
    def noise(self) -> Tensor:
        """Variance of what no feature and no effect explains."""
        return self.variance("noise") + JITTER

    def row(self, squares: Sequence[Tensor]) -> Tensor:
        """What alike targets share for all candidates, but for the part of its own."""
        return radial(squares, self.log["row"], self.log["target_length"])

    def target(self, squares: Sequence[Tensor]) -> Tensor:
        """What alike targets share of their dealings with candidates, but for the part of its own."""
        return radial(squares, self.log["target"], self.log["target_length"]) + self.variance("target_mean")

    def candidate(self, squares: Sequence[Tensor]) -> Tensor:
        """What alike candidates share, but for the part of its own."""
        return radial(squares, self.log["candidate"], self.log["candidate_length"])


def choose_weights(
    i: Int[ndarray, " L"],
    j: Int[ndarray, " L"],
    y: Float[Tensor, " L"],
    target: Sequence[Float[Tensor, "m q"]],
    pool: Sequence[Float[Tensor, "n q"]],
    rng: np.random.Generator,
) -> Weights:
    """The weights of greatest marginal likelihood on at most 600 of the labels, found by L-BFGS.

    Args:
        i, j: positions of the labelled pairs among the coordinates.
        y: standardised labels.
        target, pool: coordinates of the rows, by block, one block at least; zeros for the one target of a pointwise
            influence.
        rng: draws the labels that are looked at.

    *Cost*: about 25 Cholesky factors of 600 rows, and their derivatives: 1 s of one core.
    """
    start = Weights.start(len(pool))
    chosen = _some(j, rng)
    rows, at = np.unique(i[chosen], return_inverse=True)
    columns, to = np.unique(j[chosen], return_inverse=True)
    at, to, seen = torch.from_numpy(at), torch.from_numpy(to), y[torch.from_numpy(chosen)]
    of_rows = squared_distances([x[rows] for x in target], [x[rows] for x in target])
    of_columns = squared_distances([x[columns] for x in pool], [x[columns] for x in pool])
    same_row, same_column = torch.eye(len(rows), dtype=torch.float64), torch.eye(len(columns), dtype=torch.float64)
    same_label = torch.eye(len(chosen), dtype=torch.float64)

    def surprise(flat: Tensor) -> Tensor:
        weights = Weights.unpacked(flat, len(pool))
        row = weights.variance("row_own") * same_row + weights.row(of_rows)
        helped = weights.variance("target_own") * same_row + weights.target(of_rows)
        helper = weights.variance("candidate_own") * same_column + weights.candidate(of_columns)
        between = _pairs(row, at) + _pairs(helped, at) * _pairs(helper, to) + weights.noise * same_label
        factor = torch.linalg.cholesky(between)
        weighted = torch.cholesky_solve(seen[:, None], factor)[:, 0]
        pull = _PULL * (flat - start.flat).square().sum()
        return 0.5 * seen @ weighted + factor.diagonal().log().sum() + pull

    return Weights.unpacked(_minimum(surprise, start.flat), len(pool))


def _minimum(surprise: Callable[[Tensor], Tensor], start: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The best point that L-BFGS meets from the start on."""
    flat = start.clone().requires_grad_(True)
    search = torch.optim.LBFGS([flat], max_iter=_STEPS, line_search_fn="strong_wolfe")

    best, found = float("inf"), start

    def closure() -> Tensor:
        nonlocal best, found
        search.zero_grad()
        value = surprise(flat)
        value.backward()
        if value.item() < best:  # what is no number is not
            best, found = value.item(), flat.detach().clone()
        return value

    try:
        search.step(closure)
    except _SINGULAR:
        logger.info("the search for the estimator's weights met a singular matrix; the best weights so far are kept")
    return found


def _pairs(matrix: Float[Tensor, "a a"], at: Int[Tensor, " L"]) -> Float[Tensor, "L L"]:
    return matrix.index_select(0, at).index_select(1, at)


def _some(j: Int[ndarray, " L"], rng: np.random.Generator) -> Int[ndarray, " l"]:
    """At most so many labels: of random candidates, at most ten of each, and more of them where that is not enough."""
    order = rng.permutation(len(j))
    place = np.empty(len(j), dtype=np.int64)
    by_candidate = order[np.argsort(j[order], kind="stable")]
    starts = np.flatnonzero(np.diff(j[by_candidate], prepend=-1))
    place[by_candidate] = np.arange(len(j)) - np.repeat(starts, np.diff(np.append(starts, len(j))))
    rank = rng.permutation(int(j.max()) + 1)[j]
    first = np.lexsort((place, rank, place // _PER_CANDIDATE))
    return np.sort(first[:_LABELS])
