"""What the labels say: the solution of the Gaussian process on all of them, in factors.

Row and candidate covariances are taken through landmarks, φ(x) = k(x, Z) L⁻ᵀ with k(Z, Z) = L Lᵀ. While there are no more
labelled rows than landmarks this is exact; beyond, it is the subset-of-regressors approximation.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nncift.errors import ModelError
from nncift.estimator.evidence import Weights

log = logging.getLogger(__name__)

DENSE = 4000
"""Labels up to which the system is solved by Cholesky (L³ / 3); beyond, by conjugate gradients."""

_TOLERANCE = 1e-4  # of the residual, relative: labels are noisier than that
_MOST_STEPS = 500
_LEAST_BELIEVED = 0.1  # so that what order there is remains
_CHUNK = 1 << 22  # numbers gathered at once


@dataclass(frozen=True, slots=True)
class System:
    """The covariance of the labels, in factors.

    Attributes:
        i, j: positions of the labelled pairs.
        row: φ of the part that all candidates share, [m, r].
        target: φ of the targets' dealings with candidates, the constant part included, [m, t].
        candidate: φ of the candidates, [n, s].
        weights: of the parts.
    """

    i: Int[Tensor, " L"]
    j: Int[Tensor, " L"]
    row: Float[Tensor, "m r"]
    target: Float[Tensor, "m t"]
    candidate: Float[Tensor, "n s"]
    weights: Weights

    def times(self, vector: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """The covariance times a vector, without the covariance.

        *Cost*: O(L (s + t) + (m + n) s t).
        """
        parts = self.parts(vector)
        own_target, own_candidate = self.weights.variance("target_own"), self.weights.variance("candidate_own")
        row = self.row @ parts.row_core + self.weights.variance("row_own") * parts.sums
        found = row[self.i] + self.weights.noise * vector + own_target * own_candidate * self._by_pair(vector)
        through = self.target @ parts.core + own_target * parts.by_target
        found += self._dots(through, self.i, self.candidate, self.j)
        return found + self._dots(self.target, self.i, own_candidate * parts.by_candidate, self.j)

    def parts(self, vector: Float[Tensor, " L"]) -> Parts:
        """What a vector over the labels is worth to each row: with the solution, the predictions' factors."""
        m, n = len(self.target), len(self.candidate)
        sums = torch.zeros(m, dtype=vector.dtype).index_add_(0, self.i, vector)
        by_target = self._spread(vector, self.i, self.candidate, self.j, m)
        by_candidate = self._spread(vector, self.j, self.target, self.i, n)
        return Parts(sums, self.row.T @ sums, self.target.T @ by_target, by_target, by_candidate)

    def dense(self) -> Float[Tensor, "L L"]:
        """The covariance."""
        own = {name: self.weights.variance(f"{name}_own") for name in ("row", "target", "candidate")}
        same_target, same_candidate = self.i[:, None] == self.i[None], self.j[:, None] == self.j[None]
        row, target, candidate = self.row[self.i], self.target[self.i], self.candidate[self.j]
        helped = target @ target.T + own["target"] * same_target
        helper = candidate @ candidate.T + own["candidate"] * same_candidate
        found = row @ row.T + own["row"] * same_target + helped * helper
        found.diagonal().add_(self.weights.noise)
        return found

    def factor(self) -> Float[Tensor, "L L"] | None:
        """The Cholesky factor of the covariance; None of more labels than it is made for."""
        return sound_factor(self.dense()) if len(self.i) <= DENSE else None

    def solve(self, y: Float[Tensor, " L"], factor: Float[Tensor, "L L"] | None) -> Float[Tensor, " L"]:
        """The vector that the covariance turns into `y`: by its factor, or without one by conjugate gradients.

        Raises:
            ModelError: conjugate gradients do not converge.
        """
        if factor is not None:
            return torch.cholesky_solve(y[:, None], factor)[:, 0]
        return _conjugate_gradients(self.times, y, self._diagonal())

    def believed(self, y: Float[Tensor, " L"], solution: Float[Tensor, " L"], factor: Float[Tensor, "L L"]) -> Tensor:
        """How far predictions of labels that are left out, one at a time, may be believed: what they have to be multiplied by
        to miss these labels least, between a tenth and one.

        Weights that were chosen by few labels see more in them than there is. A common factor changes no order.

        *Cost*: L³.
        """
        left_out = y - solution / torch.cholesky_inverse(factor).diagonal()
        return (y @ left_out / left_out.square().sum().clamp(min=1e-12)).clamp(_LEAST_BELIEVED, 1)

    def doubt(
        self,
        mean: Float[Tensor, " t"],
        own: float,
        *,
        centre: Float[Tensor, " s"],
        y: Float[Tensor, " L"],
        factor: Float[Tensor, "L L"] | None,
    ) -> Doubt:
        """How unsure it is of what candidates are worth to the mean of some targets.

        Args:
            mean: mean φ of these targets.
            own: what part of the mean is a labelled target's own, 1 / m.
            centre: mean φ of the candidates.
            y: standardised labels.
            factor: of the covariance, where there is one.

        *Cost*: L³ for at most 4,000 labels; of more, so many of them, evenly spread, which makes it rather too unsure.
        """
        if factor is None:
            some = torch.linspace(0, len(y) - 1, DENSE).long()
            fewer = replace(self, i=self.i[some], j=self.j[some])
            return fewer.doubt(mean, own, centre=centre, y=y[some], factor=fewer.factor())
        weight = self.weights.variance("target_own") * own
        inverse = torch.cholesky_inverse(factor)
        helped = self.target[self.i] @ mean + weight
        features = helped[:, None] * self.candidate[self.j]
        solved = inverse @ features
        prior, n = mean @ mean + weight, len(self.candidate)
        left = prior * torch.eye(features.shape[1], dtype=prior.dtype) - features.T @ solved
        between = torch.zeros_like(self.candidate).index_add_(0, self.j, helped[:, None] * solved)
        own_row = torch.zeros(n, dtype=prior.dtype)
        for candidate, labels in self._by_candidate():
            own_row[candidate] = helped[labels] @ inverse[labels][:, labels] @ helped[labels]
        return Doubt(left, prior, centre, between, own_row, self._surprise(inverse, y))

    def _by_candidate(self) -> Iterator[tuple[int, Int[Tensor, " l"]]]:
        """Each candidate that has labels, and the positions of these."""
        counts = torch.bincount(self.j, minlength=len(self.candidate)).tolist()
        for candidate, labels in enumerate(torch.split(torch.argsort(self.j, stable=True), counts)):
            if len(labels):
                yield candidate, labels

    def _surprise(self, inverse: Float[Tensor, "L L"], y: Float[Tensor, " L"]) -> Tensor:
        """By how much candidates differ from what the labels of all the others say of them, in standard deviations of that
        difference: the root mean square over candidates of the error of the mean of their labels, 1 if it is as sure as it
        may be. (What is left out of a Gaussian process has the mean -A⁻¹ b and the covariance A⁻¹ of the inverse's block A.)
        """
        weighted = inverse @ y
        found = []
        for _, labels in self._by_candidate():
            apart = torch.linalg.inv(inverse[labels][:, labels])
            found.append((apart @ weighted[labels]).sum().square() / apart.sum())
        return torch.stack(found).mean().sqrt()

    def _diagonal(self) -> Float[Tensor, " L"]:
        own = {name: self.weights.variance(f"{name}_own") for name in ("row", "target", "candidate")}
        row = self.row.square().sum(1) + own["row"]
        helped, helper = self.target.square().sum(1) + own["target"], self.candidate.square().sum(1) + own["candidate"]
        return row[self.i] + helped[self.i] * helper[self.j] + self.weights.noise

    def _by_pair(self, vector: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """Sums over the labels of the same pair, of which twins of a row may have several."""
        _, which = torch.unique(self.i * len(self.candidate) + self.j, return_inverse=True)
        return torch.zeros_like(vector).index_add_(0, which, vector)[which]

    def _spread(
        self,
        vector: Float[Tensor, " L"],
        to: Int[Tensor, " L"],
        factors: Float[Tensor, "a s"],
        at: Int[Tensor, " L"],
        size: int,
    ) -> Float[Tensor, "b s"]:
        """Sum over the labels of vector · factors, into the rows that the labels are of."""
        found = torch.zeros(size, factors.shape[1], dtype=factors.dtype)
        step = max(1, _CHUNK // max(1, factors.shape[1]))
        for start in range(0, len(vector), step):
            part = slice(start, start + step)
            found.index_add_(0, to[part], vector[part, None] * factors[at[part]])
        return found

    def _dots(
        self, left: Float[Tensor, "a s"], i: Int[Tensor, " L"], right: Float[Tensor, "b s"], j: Int[Tensor, " L"]
    ) -> Float[Tensor, " L"]:
        """Inner products of the labelled pairs."""
        step = max(1, _CHUNK // max(1, left.shape[1]))
        parts = [slice(start, start + step) for start in range(0, len(i), step)]
        return torch.cat([(left[i[part]] * right[j[part]]).sum(1) for part in parts])


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is not known of candidates' worth to a target as a whole.

    Attributes:
        left: covariance that is left between the candidates' features, [s, s].
        prior: variance of a candidate with a feature of length one before any label.
        centre: mean φ of the candidates, which the means are compared with, [s].
        between: what is known at once of a labelled candidate's own worth and of that of its features, [n, s].
        own: what is known of a labelled candidate's own worth, [n].
        surprise: what standard deviations have to be multiplied by, if above 1.
    """

    left: Float[Tensor, "s s"]
    prior: Float[Tensor, ""]
    centre: Float[Tensor, " s"]
    between: Float[Tensor, "n s"]
    own: Float[Tensor, " n"]
    surprise: Float[Tensor, ""]


@dataclass(frozen=True, slots=True)
class Parts:
    """A vector over the labels, summed up by row.

    Attributes:
        sums: [m], over the labels of each target.
        row_core: [r], the same against what all candidates share of a target.
        core: [t, s], between the features of targets and of candidates.
        by_target: [m, s], over the labels of each target against the candidates' features.
        by_candidate: [n, t], over the labels of each candidate against the targets' features.
    """

    sums: Float[Tensor, " m"]
    row_core: Float[Tensor, " r"]
    core: Float[Tensor, "t s"]
    by_target: Float[Tensor, "m s"]
    by_candidate: Float[Tensor, "n t"]


def sound_factor(covariance: Float[Tensor, "L L"]) -> Float[Tensor, "L L"]:
    """The Cholesky factor; where rounding has made the covariance singular, of one with a little more noise.

    Raises:
        ModelError: it holds numbers that are none.
    """
    more = float(covariance.diagonal().mean())
    for power in (None, -12, -10, -8, -6, -4):
        if power is not None:
            covariance.diagonal().add_(more * 10.0**power)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if not int(failed):
            return factor
    raise ModelError(
        "the estimator could not be fitted: its features or labels are no numbers. Use --estimator network."
    )


def _conjugate_gradients(
    times: Callable[[Tensor], Tensor], y: Float[Tensor, " L"], diagonal: Float[Tensor, " L"]
) -> Float[Tensor, " L"]:
    """Conjugate gradients, preconditioned by the diagonal. They come nearer with every step: where they do not arrive, what
    they have come to is taken, and held-out labels tell what it is worth.

    Raises:
        ModelError: numbers that are none have come in.
    """
    solution = torch.zeros_like(y)
    residual, enough = y.clone(), _TOLERANCE * float(y.norm())
    scaled = residual / diagonal
    direction, size = scaled.clone(), residual @ scaled
    for _ in range(_MOST_STEPS):
        if float(residual.norm()) <= enough:
            return solution
        turned = times(direction)
        step = size / (direction @ turned)
        solution += step * direction
        residual -= step * turned
        scaled = residual / diagonal
        before, size = size, residual @ scaled
        direction = scaled + (size / before) * direction
    left = float(residual.norm() / y.norm())
    if not math.isfinite(left):
        raise ModelError(
            "the estimator could not be fitted: its features or labels are no numbers. Use --estimator network."
        )
    log.warning("fitting %s labels ended after %d steps with %.1e of them left over", f"{len(y):,}", _MOST_STEPS, left)
    return solution
