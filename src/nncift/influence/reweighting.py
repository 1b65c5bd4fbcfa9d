"""Trains an adapter and one weight a row together, so that rows which the model cannot fit or which lie far from the target
lose weight.

The objective of a batch of B rows with losses l_j is (Σ_j w_j l_j) · T(w)², T the transport cost from the weighted rows to
the target. Weights are w = B · softmax(z) over the batch: they start at 1, stay positive and have mean 1, so that neither
factor can be lowered by shrinking them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.errors import ModelError
from nncift.influence.transport import transport
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length
from nncift.lm.tokens import Query
from nncift.seeds import generator
from nncift.tuning.adam import make_adam
from nncift.tuning.checkpoint import read_tensors, restore_training, training_state, write_tensors
from nncift.tuning.lora import attach, detach
from nncift.tuning.losses import row_losses


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: passes over the rows.
        batch: rows of a step.
        rank: of the adapter.
        learning_rate: Adam's, of the adapter.
        weight_rate: step of the weights' gradient descent.
        blur: length below which transport does not tell places apart; its entropy is `blur` squared.
        seed: of the adapter's first weights and of the order of the rows.
    """

    epochs: int
    batch: int
    rank: int
    learning_rate: float
    weight_rate: float
    blur: float
    seed: int


@dataclass(frozen=True, slots=True)
class Objective:
    """The joint objective of one batch at given weights, as a function of the losses that are computed next.

    Attributes:
        weights: [B] w, of mean 1.
        distance: T(w).
        pull: [B] derivative of T with respect to w_j, times B; of mean 0 under w.
    """

    weights: Float[ndarray, " B"]
    distance: float
    pull: Float[ndarray, " B"]

    @classmethod
    def at(
        cls, z: Float[ndarray, " B"], pool: Float[ndarray, "B d"], target: Float[ndarray, "m d"], *, blur: float
    ) -> Objective:
        """At the unnormalised log-weights `z`, for unit vectors of both sides; moving costs half the squared distance."""
        shares = np.exp(z - z.max())
        shares /= shares.sum()
        cost = np.maximum(1.0 - pool.astype(np.float64) @ target.astype(np.float64).T, 0.0)
        found = transport(cost, shares, np.full(len(target), 1 / len(target)), epsilon=blur**2)
        return cls(len(z) * shares, max(found.cost, 0.0), found.gradient)

    def value(self, losses: Float[ndarray, " B"]) -> float:
        """(Σ_j w_j l_j) · T(w)²."""
        return float(self.weights @ losses) * self.distance**2

    def on_losses(self) -> Float[ndarray, " B"]:
        """Derivative of `value` with respect to every loss: what each row's own gradient is multiplied by."""
        return self.weights * self.distance**2

    def on_log_weights(self, losses: Float[ndarray, " B"]) -> Float[ndarray, " B"]:
        """Derivative of the logarithm of `value` with respect to z, times B, so that a row's step does not depend on how
        many rows share the batch: w_j · (l_j / mean loss - 1 + 2 · pull_j / T). A factor that is zero is left alone."""
        mean = float(self.weights @ losses) / len(losses)
        fit = losses / mean - 1.0 if mean > 0 else np.zeros_like(losses)
        move = 2.0 * self.pull / self.distance if self.distance > 0 else np.zeros_like(losses)
        return self.weights * (fit + move)


def learn_weights(
    lm: LanguageModel,
    queries: Sequence[Query],
    pool: Float[ndarray, "C d"],
    target: Float[ndarray, "m d"],
    *,
    schedule: Schedule,
    folder: Path,
    on_progress: Callable[[int], None],
) -> Float[ndarray, " C"]:
    """The weights after training, float64, of mean 1. The model is left as it was.

    Args:
        lm: a language model without an adapter.
        queries: [C] rows in canonical order, at least one.
        pool, target: unit vectors of the rows and of the target.
        schedule: how long and how fast.
        folder: keeps the last whole epoch, and in the end the weights; its name must tell all that they depend on.
        on_progress: called with the number of rows just trained on; with those of an earlier run at once.

    *Cost*: `epochs` forwards and backwards a row, and one transport problem a batch.
    """
    final, unfinished = folder / "weights.safetensors", folder / "epoch.safetensors"
    known = read_tensors(final)
    if known is None:
        training = _Training(lm, queries, pool, target, schedule)
        z = training.run(unfinished, on_progress)
        write_tensors(final, {"z": torch.from_numpy(z)})
        unfinished.unlink(missing_ok=True)
    else:
        z = known["z"].numpy()
        on_progress(schedule.epochs * len(queries))
    shares = np.exp(z - z.max())
    return shares * (len(z) / shares.sum())


@dataclass(frozen=True, slots=True)
class _Training:
    lm: LanguageModel
    queries: Sequence[Query]
    pool: Float[ndarray, "C d"]
    target: Float[ndarray, "m d"]
    schedule: Schedule

    def run(self, unfinished: Path, on_progress: Callable[[int], None]) -> Float[ndarray, " C"]:
        """The log-weights after the last epoch, each epoch kept in `unfinished` as it ends."""
        plan, z, first = self.schedule, np.zeros(len(self.queries)), 0
        adapter = attach(self.lm, rank=plan.rank, alpha=2.0 * plan.rank, seed=plan.seed)
        try:
            optimizer = make_adam(list(adapter.values()))
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate
            before = read_tensors(unfinished)
            if before is not None:
                restore_training(adapter, optimizer, before)
                z, first = before["z"].numpy().copy(), int(before["epoch"])
                on_progress(first * len(z))
            for epoch in range(first, plan.epochs):
                for rows in self._batches(epoch):
                    z[rows] -= plan.weight_rate * self._step(z[rows], rows, optimizer)
                    on_progress(len(rows))
                state = training_state(adapter, optimizer)
                write_tensors(unfinished, state | {"z": torch.from_numpy(z), "epoch": torch.tensor(epoch + 1)})
        finally:
            detach(self.lm)
        return z

    def _batches(self, epoch: int) -> list[Int[ndarray, " B"]]:
        """All rows in an order of this epoch's own, in batches that differ by one row at most."""
        order = generator(self.schedule.seed, f"lossval/{epoch}").permutation(len(self.queries))
        return np.array_split(order, -(-len(order) // self.schedule.batch))

    def _step(
        self, z: Float[ndarray, " B"], rows: Int[ndarray, " B"], optimizer: torch.optim.Optimizer
    ) -> Float[ndarray, " B"]:
        """One step of the adapter; returns the slope of the objective's logarithm with respect to `z`.

        The adapter does not move the features, so that the transport part is known before any loss and every row's
        gradient can be weighted as it is computed, however few rows go through the model at once.
        """
        objective = Objective.at(z, self.pool[rows], self.target, blur=self.schedule.blur)
        factors = torch.from_numpy(objective.on_losses() / len(rows)).float().to(self.lm.model.device)
        losses = np.empty(len(rows))
        queries = [self.queries[int(row)] for row in rows]
        optimizer.zero_grad()
        for some in by_length([len(query) for query in queries], self.lm.placement.batch_tokens):
            found = row_losses(self.lm, [queries[k] for k in some])
            (factors[some] * found).sum().backward()
            losses[some] = found.detach().cpu().double().numpy()
        if not np.isfinite(losses).all():
            raise ModelError(
                f"training {self.lm.name!r} for `lossval` gave a loss of NaN or infinity in {self.lm.placement.dtype}. "
                "Try a smaller `--option learning_rate`, or `--dtype float32`."
            )
        optimizer.step()
        return objective.on_log_weights(losses)
