"""Teaches the network from exact influences: standardised labels, Adam, an early stop that means what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.data.labels import Labels
from nncift.errors import ConfigError, ModelError
from nncift.estimator.fitted import FittedEstimator
from nncift.estimator.network import Hidden, InfluenceNetwork, Network, PointwiseNetwork
from nncift.estimator.threads import one_thread
from nncift.seeds import derive

logger = logging.getLogger(__name__)

Stop = Literal["tolerance", "patience", "epochs"]
_FEWEST_VALIDATION = 8  # with fewer held-out labels the best epoch would be a matter of luck


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the network is trained.

    The published schedule (`TrainingConfig.paper()`: Adam 1e-4, 20 passes) stops long before it has learnt what few
    labels can teach, so the defaults take larger steps, and as many passes as held-out labels ask for. What either is
    worth on real labels, beside row + column means: `nncift fidelity --estimator network` and `paper`. The defaults were
    chosen on the matrix of DELIFT labels of a 270M model.

    Attributes:
        hidden: units of each hidden layer, at least 1 each; none makes the network linear.
        lr: step size of Adam, above 0.
        epochs: most passes over the labels, at least 1.
        batch_size: labels in a step, at least 1.
        patience: passes without a better validation loss before it stops, at least 1.
        tolerance: it stops once the mean squared error of a pass is at most this, in variances of the labels; 0 or
            more.
        validation: share of the labels that choose the number of passes, in [0, 1); 0 takes the training loss instead.
    """

    hidden: Hidden = (100,)
    lr: float = 1e-3
    epochs: int = 100
    batch_size: int = 64
    patience: int = 10
    tolerance: float = 1e-3
    validation: float = 0.1

    @classmethod
    def paper(cls) -> TrainingConfig:
        """The published schedule: 20 passes of Adam 1e-4, stopped by the training loss alone."""
        return cls(lr=1e-4, epochs=20, patience=20, validation=0.0)

    def __post_init__(self) -> None:
        if not all(isinstance(units, int) and not isinstance(units, bool) and units >= 1 for units in self.hidden):
            raise ConfigError(f"training.hidden is {self.hidden!r}; it must be whole numbers of at least 1.")
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"training.{name} is {value!r}; it must be a whole number of at least 1.")
        if not (np.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"training.lr is {self.lr!r}; it must be a number above 0, such as 1e-3.")
        if not (np.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ConfigError(f"training.tolerance is {self.tolerance!r}; it must be 0 or above, such as 1e-3.")
        if not 0 <= self.validation < 1:
            raise ConfigError(f"training.validation is {self.validation!r}; it must be in [0, 1), such as 0.1.")


class EarlyStopping:
    """Decides after each pass whether to go on, and remembers the best one."""

    def __init__(self, tolerance: float, patience: int) -> None:
        self.tolerance = tolerance
        self.patience = patience
        self.epoch = 0
        self.best_epoch = 0
        self._best = float("inf")

    def finish_epoch(self, *, loss_sum: float, samples: int, validation: float | None) -> Stop | None:
        """Why to stop now, or None to go on.

        Args:
            loss_sum: squared errors of the pass, summed over its samples (not over its batches).
            samples: how many samples the pass had.
            validation: mean squared error on the validation labels; None where there are none.
        """
        self.epoch += 1
        loss = loss_sum / samples
        judged = loss if validation is None else validation
        if not np.isfinite(judged):
            raise ModelError(f"training diverged in epoch {self.epoch}: its loss is {judged}. Lower training.lr.")
        if judged < self._best:
            self._best, self.best_epoch = judged, self.epoch
        if loss <= self.tolerance:
            return "tolerance"
        return "patience" if self.epoch - self.best_epoch >= self.patience else None


@dataclass(frozen=True, slots=True)
class _Task:
    """Labels and the embeddings of the rows that occur in them, as tensors; `i` is None for a pointwise influence."""

    i: Int[Tensor, "L"] | None
    j: Int[Tensor, "L"]
    y: Float[Tensor, "L"]
    e_target: Float[Tensor, "m d"] | None
    e_pool: Float[Tensor, "n d"]

    def predict(self, network: Network, which: Tensor) -> Tensor:
        e_pool = self.e_pool[self.j[which]]
        if isinstance(network, PointwiseNetwork) or self.i is None or self.e_target is None:
            return network(e_pool)
        return network(e_pool, self.e_target[self.i[which]])


def fit(
    labels: Labels,
    e_target: Float[ndarray, "m d"] | None,
    e_pool: Float[ndarray, "n d"],
    *,
    config: TrainingConfig,
    seed: int,
    refit: bool = True,
) -> FittedEstimator:
    """Fits the network to exact influences.

    A share of the labels chooses the number of passes; then, with `refit`, a fresh network from the same seed is
    trained on all labels for that many, because labels are what this method has few of. Whoever wants to know how
    good it is measures that on labels that were not handed in here (`fidelity.measure`).

    Args:
        labels: at least two exact influences.
        e_target: float [m, d] embeddings of the target; None for a pointwise influence.
        e_pool: float [n, d] embeddings of the pool.
        config: how to train.
        seed: draws initial weights, validation split and shuffles; the global random state is neither read nor changed.
        refit: train again on all labels.

    Raises:
        ModelError: the loss stopped being a number.

    *Cost*: no language-model call. About 1 s of one core for 1,000 batches at d = 384, twice with `refit`, and the
    embeddings of the labelled rows in memory.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4.
    """
    task = _task(labels, e_target, e_pool)
    train, validation = _split(labels, config.validation, seed)
    with one_thread():
        scale, offset = _scale(labels.y[train.numpy()])
        network, epochs, stopped = _train(
            _standardised(task, scale, offset), train, validation, config=config, seed=seed
        )
        if refit and len(validation):
            scale, offset = _scale(labels.y)
            everything = torch.arange(len(labels))
            network = _train_for(_standardised(task, scale, offset), everything, epochs, config=config, seed=seed)
    return FittedEstimator(
        network=network.requires_grad_(False),
        scale=scale,
        offset=offset,
        epochs=epochs,
        stopped=stopped,
        labels=len(labels) if refit else len(train),
        seed=seed,
    )


def _train(
    task: _Task, train: Tensor, validation: Tensor, *, config: TrainingConfig, seed: int
) -> tuple[Network, int, Stop]:
    """The network of the best pass, that pass, and why training ended."""
    stopping = EarlyStopping(config.tolerance, config.patience)
    network, passes = _passes(task, train, config, seed)
    best: dict[str, Tensor] = {}
    stopped: Stop | None = None
    for loss_sum in passes:
        judged = _mean_loss(task, network, validation) if len(validation) else None
        stopped = stopping.finish_epoch(loss_sum=loss_sum, samples=len(train), validation=judged)
        if stopping.best_epoch == stopping.epoch:
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if stopped:
            break
    network.load_state_dict(best)
    logger.info("the best of %d epochs was %d", stopping.epoch, stopping.best_epoch)
    return network, stopping.best_epoch, stopped or "epochs"


def _train_for(task: _Task, train: Tensor, epochs: int, *, config: TrainingConfig, seed: int) -> Network:
    """A network after a given number of passes."""
    network, passes = _passes(task, train, config, seed)
    for _ in range(epochs):
        if not np.isfinite(next(passes)):
            raise ModelError("training diverged on all labels: its loss is not a number. Lower training.lr.")
    return network


def _passes(task: _Task, train: Tensor, config: TrainingConfig, seed: int) -> tuple[Network, Iterator[float]]:
    """A fresh network, and an iterator whose every step is one pass that returns the sum of the squared errors."""
    generator = torch.Generator().manual_seed(derive(seed, "estimator/weights"))
    dimension = task.e_pool.shape[1]
    cls = PointwiseNetwork if task.e_target is None else InfluenceNetwork
    network = cls(dimension, config.hidden, generator=generator)
    return network, _run_passes(task, network, train, config, seed)


def _run_passes(task: _Task, network: Network, train: Tensor, config: TrainingConfig, seed: int) -> Iterator[float]:
    shuffle = torch.Generator().manual_seed(derive(seed, "estimator/shuffle"))
    optimiser = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    for _ in range(config.epochs):
        loss_sum = 0.0
        for batch in train[torch.randperm(len(train), generator=shuffle)].split(config.batch_size):
            errors = (task.predict(network, batch) - task.y[batch]).square().sum()
            optimiser.zero_grad()
            (errors / len(batch)).backward()
            optimiser.step()
            loss_sum += errors.item()
        yield loss_sum


def _mean_loss(task: _Task, network: Network, which: Tensor) -> float:
    with torch.inference_mode():
        total = sum(
            (task.predict(network, batch) - task.y[batch]).square().sum(dtype=torch.float64).item()
            for batch in which.split(4096)
        )
    return total / len(which)


def _split(labels: Labels, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the training and of the validation labels; no validation where it would be too small.

    Where most of the pairs to predict have a candidate (or target) without label, whole candidates (or targets) are set
    aside: single labels would choose too many passes (a block on a real DELIFT matrix: R² .05 instead of .08; ten
        labels
    for each of 30 % of the candidates: .16 instead of .24).
    """
    generator = torch.Generator().manual_seed(derive(seed, "estimator/validation"))
    held = np.zeros(len(labels), dtype=bool)
    unlabelled = labels.shape[0] * labels.shape[1] - len(labels)
    for positions, size, across in ((labels.j, *labels.shape[::-1]), (labels.i, *labels.shape)):
        items = np.unique(positions)
        if len(items) > 1 and (size - len(items)) * across > unlabelled / 2:
            held |= np.isin(positions, items[_draw(len(items), max(1, round(share * len(items))), generator)])
    if not held.any():
        held[_draw(len(labels), round(share * len(labels)), generator)] = True
    if share == 0 or min(held.sum(), (~held).sum()) < _FEWEST_VALIDATION:
        held[:] = False
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def _draw(size: int, count: int, generator: torch.Generator) -> Int[ndarray, "c"]:
    return torch.randperm(size, generator=generator)[:count].numpy()


def _scale(y: Float[ndarray, "L"]) -> tuple[float, float]:
    """Standard deviation and mean of the labels, in float64; 0 where they are all alike, which silences the network."""
    values = y.astype(np.float64)
    if np.ptp(values) == 0:
        logger.warning("all %d labels are %g: the estimator can only learn that number", len(values), values[0])
        return 0.0, float(values[0])
    return float(values.std()), float(values.mean())


def _task(labels: Labels, e_target: Float[ndarray, "m d"] | None, e_pool: Float[ndarray, "n d"]) -> _Task:
    columns, j = np.unique(labels.j, return_inverse=True)
    pool = torch.from_numpy(np.asarray(e_pool[columns], dtype=np.float32))
    y = torch.from_numpy(labels.y.astype(np.float64))
    if e_target is None:
        return _Task(None, torch.from_numpy(j), y, None, pool)
    rows, i = np.unique(labels.i, return_inverse=True)
    target = torch.from_numpy(np.asarray(e_target[rows], dtype=np.float32))
    return _Task(torch.from_numpy(i), torch.from_numpy(j), y, target, pool)


def _standardised(task: _Task, scale: float, offset: float) -> _Task:
    return replace(task, y=((task.y - offset) / (scale or 1.0)).float())
