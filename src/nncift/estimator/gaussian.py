"""The Gaussian process over pairs: effects of targets and of candidates, and what alike rows do for alike rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Reads, refuse_other_rows
from nncift.estimator.covariance import Coordinates
from nncift.estimator.evidence import Weights, choose_weights
from nncift.estimator.features import Features
from nncift.estimator.lens import LANDMARKS, Lens
from nncift.estimator.posterior import DENSE, Doubt, Parts, System
from nncift.estimator.threads import one_thread
from nncift.kernel.lowrank import LowRankKernel
from nncift.seeds import generator

_AT_ONCE = 1 << 14  # candidates that are looked at together

_FEW = 1000
"""Scores of single rows up to which predictions are held against labels that are left out: these come in dozens, by which
weights are chosen too boldly (R² of SelectIT from 45 of 360 rows -.01 instead of -.04; of IFD no worse)."""


@dataclass(frozen=True, slots=True)
class FittedGaussian:
    """A fitted Gaussian process.

    Attributes:
        coordinates: how features are whitened.
        lens: landmarks and weights.
        parts: the solution, by labelled row.
        doubt: what is not known of candidates' means over the targets.
        target_keys, pool_keys: which rows had labels, in the order of `parts`.
        scale, offset: standard deviation and mean of the labels.
        targets: how many there were.
        pointwise: whether it scores pool rows alone.
        labels: how many it was fitted to.
    """

    kind: ClassVar[str] = "gaussian-process"

    coordinates: Coordinates
    lens: Lens
    parts: Parts
    doubt: Doubt
    target_keys: tuple[str, ...]
    pool_keys: tuple[str, ...]
    scale: float
    offset: float
    targets: int
    pointwise: bool
    labels: int

    @property
    def weights(self) -> int:
        """How many numbers the labels have shaped: the solution, summed up by row."""
        return sum(getattr(self.parts, name).numel() for name in Parts.__slots__)

    @property
    def flops(self) -> int:
        """Estimated operations: 25 Cholesky factors and their derivatives for the weights, then the factor of the system and
        its inverse, and beyond 4,000 labels some hundred steps of conjugate gradients."""
        some, width = min(self.labels, 600), self.parts.core.numel() ** 0.5
        steps = 0 if self.labels <= DENSE else 100 * 8 * self.labels * width
        return int(25 * 2 * some**3 + 2 * 4 / 3 * min(self.labels, DENSE) ** 3 + steps)

    def summary(self) -> str:
        """How it was fitted."""
        return f"a Gaussian process over {self.labels:,} labels"

    def kernel(self, target: Features | None, pool: Features) -> LowRankKernel:
        """Predicted influences of any rows; rows whose keys had labels keep what was learnt of themselves."""
        weights, parts = self.lens.weights, self.parts
        if target is None and not self.pointwise:
            raise ConfigError("this estimator is pairwise: it needs the features of the target. Give a target.")
        helped = _nobody(pool) if self.pointwise or target is None else target
        with one_thread():
            row, near = self.lens.rows(self.coordinates.apply(helped))
            known, labelled = _found(helped.keys, self.target_keys)
            through = near @ parts.core
            through[known] += weights.variance("target_own") * parts.by_target[labelled]
            shared = row @ parts.row_core
            shared[known] += weights.variance("row_own") * parts.sums[labelled]
            known, labelled = _found(pool.keys, self.pool_keys)
            width = through.shape[1]
            columns = np.zeros((len(pool), width + (near.shape[1] if len(known) else 0)), dtype=np.float32)
            for span, features in self._columns(pool):
                columns[span, :width] = features.numpy()
            if len(known):  # rows that had labels have a part of their own
                columns[known, width:] = (weights.variance("candidate_own") * parts.by_candidate[labelled]).numpy()
                through = torch.cat([through, near], dim=1)
        return LowRankKernel(
            row=(self.scale * shared).numpy(),
            column=np.zeros(len(pool)),
            target=np.ascontiguousarray((self.scale * through).numpy().astype(np.float32)),
            pool=columns,
            offset=self.offset,
        )

    def _columns(self, pool: Features) -> Iterator[tuple[slice, Float[Tensor, "b s"]]]:
        """φ of candidates, so many at a time that what is made of them on the way stays small."""
        for start in range(0, len(pool), _AT_ONCE):
            span = slice(start, min(start + _AT_ONCE, len(pool)))
            some = pool.take(np.arange(span.start, span.stop))
            yield span, self.lens.columns(self.coordinates.apply(some))

    def candidate_sd(self, pool: Features) -> Float[ndarray, " n"]:
        """Standard deviations of the candidates' mean influences over all targets, in label units.

        They are of the means against that of the pool it was fitted to: what all candidates share counts for nothing. Where
        candidates differed more from what the other labels said of them than they should, they are widened by as much.

        *Cost*: O(n s²).
        """
        weights, doubt = self.lens.weights, self.doubt
        with one_thread():
            own = weights.variance("candidate_own")
            left = torch.empty(len(pool), dtype=torch.float64)
            known, labelled = _found(pool.keys, self.pool_keys)
            for span, features in self._columns(pool):
                beyond = (weights.candidate_own_features - features.square().sum(1)).clamp(min=0)  # no landmark tells
                features -= doubt.centre  # what is not known of all of them alike
                left[span] = ((features @ doubt.left) * features).sum(1) + doubt.prior * (beyond + own)
                here = (known >= span.start) & (known < span.stop)
                at, which = known[here], labelled[here]
                told = 2 * (doubt.between[which] * features[at - span.start]).sum(1) + own * doubt.own[which]
                left[at] -= own * told
            variance = left.clamp(min=0) + weights.noise / self.targets
        return (self.scale * doubt.surprise.clamp(min=1) * variance.sqrt()).numpy()

    def record(self) -> dict[str, Any]:
        """What is kept beside the tensors, as plain values for JSON."""
        return {
            "pointwise": self.pointwise,
            "scale": self.scale,
            "offset": self.offset,
            "labels": self.labels,
            "targets": self.targets,
            "blocks": list(self.coordinates.whitening),
            "target_keys": list(self.target_keys),
            "pool_keys": list(self.pool_keys),
        }

    def tensors(self) -> dict[str, Tensor]:
        """All numbers, by name; float64 but for the whitening."""
        found = {f"weights.{name}": value for name, value in self.lens.weights.log.items()}
        found |= {f"parts.{name}": getattr(self.parts, name) for name in Parts.__slots__}
        found |= {f"doubt.{name}": getattr(self.doubt, name) for name in Doubt.__slots__}
        for k, name in enumerate(self.coordinates.whitening):
            found |= {f"{name}.target": self.lens.target[k], f"{name}.pool": self.lens.pool[k]}
        return {name: tensor.contiguous() for name, tensor in found.items()} | self.coordinates.tensors()

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> FittedGaussian:
        """From what `record` and `tensors` gave."""
        blocks: list[str] = record["blocks"]
        weights = Weights(
            {name.removeprefix("weights."): tensors[name] for name in tensors if name.startswith("weights.")}
        )
        lens = Lens(weights, *([tensors[f"{name}.{side}"] for name in blocks] for side in ("target", "pool")))
        parts = Parts(**{name: tensors[f"parts.{name}"] for name in Parts.__slots__})
        doubt = Doubt(**{name: tensors[f"doubt.{name}"] for name in Doubt.__slots__})
        kept = {name: record[name] for name in ("scale", "offset", "targets", "pointwise", "labels")}
        return cls(
            Coordinates.restored(blocks, tensors),
            lens,
            parts,
            doubt,
            tuple(record["target_keys"]),
            tuple(record["pool_keys"]),
            **kept,
        )


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """Predicts influences by a Gaussian process over pairs, kept in factors.

    Use it as the default, for pairwise and for pointwise influences: it holds row and column means as a special case, and
    learns from the labels themselves how much of them are effects of a target, of a candidate, and of what the two are
    like. A pair is as alike to another as its target and its candidate are:

        cov = row(i, i') + target(i, i') · candidate(j, j') + noise

    each a sum over blocks of features of radial functions, and a part of the row's own (`evidence.Weights`).

    *Cost*: 1 s of one core to choose some twenty weights; for L labels, 4/3 min(L, 4,000)³ multiply-adds to solve and to know
    how sure it is, and beyond 4,000 O(512 L) per step of conjugate gradients. No language-model call but for the features.
    *Reference*: Bonilla et al. (2007), Multi-task Gaussian Process Prediction; Rasmussen and Williams (2006), Gaussian
    Processes for Machine Learning, chapters 5 and 8.
    """

    fitted: ClassVar[type[FittedGaussian]] = FittedGaussian
    reads: ClassVar[Reads] = "all"
    factors: ClassVar[int] = 2 * LANDMARKS

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> FittedGaussian:
        """Fits it to labels; without a target the influence is pointwise."""
        refuse_other_rows(labels, target, pool)
        y = labels.y.astype(np.float64)
        offset, scale = float(y.mean()), float(y.std())
        helped = _nobody(pool) if target is None else target
        rows, i = np.unique(helped.same[labels.i], return_inverse=True)
        columns, j = np.unique(pool.same[labels.j], return_inverse=True)
        labelled, used = helped.take(rows), pool.take(columns)
        with one_thread():
            coordinates = Coordinates.of([pool] if target is None else [target, pool])
            of_rows, of_columns = coordinates.apply(labelled), coordinates.apply(used)
            standard = torch.from_numpy((y - offset) / (scale or 1.0))
            weights = Weights.start(len(of_columns))
            if scale > 0:
                rng = generator(seed, "estimator/evidence")
                weights = choose_weights(i, j, standard, of_rows, of_columns, rng)
            lens = Lens.of(weights, of_rows, of_columns, generator(seed, "estimator/landmarks"))
            system = System(
                torch.from_numpy(i), torch.from_numpy(j), *lens.rows(of_rows), lens.columns(of_columns), weights
            )
            factor = system.factor()
            solution = system.solve(standard, factor)
            if target is None and factor is not None and len(y) <= _FEW:
                solution = solution * system.believed(standard, solution, factor)
            parts = system.parts(solution)
            every = lens.rows(coordinates.apply(helped))[1]
            doubt = system.doubt(
                every.mean(dim=0),
                1 / len(helped),
                centre=lens.columns(coordinates.apply(pool.take(_evenly(len(pool))))).mean(dim=0),
                y=standard,
                factor=factor,
            )
        return FittedGaussian(
            coordinates, lens, parts, doubt, tuple(labelled.keys), tuple(used.keys), scale, offset,
            targets=len(helped), pointwise=target is None, labels=len(y),
        )  # fmt: skip


def _evenly(rows: int) -> Int[ndarray, " some"]:
    """At most 2,000 positions, evenly spread."""
    return np.linspace(0, rows - 1, min(rows, 2000)).astype(np.int64)


def _nobody(pool: Features) -> Features:
    """The one target of a pointwise influence: a row of zeros."""
    return Features({name: np.zeros((1, width), dtype=np.float32) for name, width in pool.widths.items()}, ("",))


def _found(keys: Sequence[str], labelled: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Positions of the rows that had labels, and where their labels are summed up."""
    place = {key: k for k, key in enumerate(labelled)}
    pairs = [(at, place[key]) for at, key in enumerate(keys) if key in place]
    at = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
    return at[:, 0], at[:, 1]
