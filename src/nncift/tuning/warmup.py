"""Warm-up training: a few epochs of an adapter on a few rows, with everything that a gradient at its end needs kept.

After every epoch the adapter, Adam's moments, the step and the epoch's average learning rate are written by name. A killed
training goes on from the last whole epoch and writes the bytes that it would have written.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import torch

from nncift.errors import ModelError
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length, within_memory
from nncift.lm.tokens import Query
from nncift.seeds import generator
from nncift.tuning.adam import make_adam
from nncift.tuning.checkpoint import Checkpoint, find_checkpoint, keep_checkpoint, restore_training
from nncift.tuning.lora import attach
from nncift.tuning.losses import row_losses

log = logging.getLogger(__name__)

_WARM = 0.03  # of all steps: the share over which the learning rate rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How an adapter is trained.

    Attributes:
        epochs: passes over the rows, each ended by a checkpoint.
        rank: of the adapter.
        alpha: the adapter's update is scaled by alpha / rank.
        learning_rate: the highest; it rises over the first 3 % of the steps and falls linearly to zero at the end.
        batch: rows a step; micro-batches of at most the model's `batch_tokens` add up to it.
    """

    epochs: int
    rank: int
    alpha: float
    learning_rate: float
    batch: int


def train_adapter(
    lm: LanguageModel,
    rows: Mapping[str, Query],
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_progress: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, torch.nn.Parameter], list[Checkpoint]]:
    """Trains a fresh adapter, or goes on where a killed training stopped, and leaves the model with it attached.

    Args:
        lm: a language model without an adapter.
        rows: by id, with at least one scored token each; their order does not matter.
        recipe: how to train.
        seed: of the initial adapter and of the order of the rows.
        folder: of this training alone: named by everything that it depends on (`training_key`).
        on_progress: told how many more rows were trained on, those of epochs found in the folder included.

    Returns:
        The adapter as `attach` names it, at whatever weights it had last, and one checkpoint an epoch.

    Raises:
        ModelError: a loss is NaN or infinite.

    *Cost*: epochs · rows forwards and as many backwards.
    """
    weights = attach(lm, rank=recipe.rank, alpha=recipe.alpha, seed=seed)
    done = _found(folder, recipe.epochs)
    on_progress(len(done) * len(rows))
    optimizer = make_adam(list(weights.values()))
    if 0 < len(done) < recipe.epochs:
        log.info("warm-up training goes on after epoch %d", len(done))
        restore_training(weights, optimizer, done[-1].state())
    for epoch in range(len(done), recipe.epochs):
        rate = _epoch(lm, weights, optimizer, rows, recipe, epoch, seed=seed, on_progress=on_progress)
        step = (epoch + 1) * _steps(len(rows), recipe)
        done.append(keep_checkpoint(_path(folder, epoch), weights, optimizer, step=step, learning_rate=rate))
    return weights, done


def training_key(lm: LanguageModel, rows: Mapping[str, Query], recipe: Recipe, *, seed: int) -> str:
    """Hash of all that the bytes of a training depend on."""
    digest = sha256(f"training 1 {model_key(lm)} {json.dumps(asdict(recipe))} {seed}\n".encode())
    for row in sorted(rows):
        digest.update(f"{len(row)} {row} {rows[row].ids} {rows[row].response}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def model_key(lm: LanguageModel) -> str:
    """All of a loaded model that its numbers depend on: weights, format, kind of device, batches, quantisation, head."""
    place = lm.placement
    quantized = getattr(lm.model.config, "quantization_config", None)
    device = place.device.partition(":")[0]
    return f"{lm.fingerprint} {place.dtype} {device} {place.batch_tokens} {quantized} {lm.head is None}"


def learning_rate_at(step: int, total: int, recipe: Recipe) -> float:
    """Learning rate of a step, counted from 0: up over the first 3 %, then down to zero behind the last."""
    warm = math.ceil(_WARM * total)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * (total - step) / (total - warm)


def _steps(rows: int, recipe: Recipe) -> int:
    return math.ceil(rows / recipe.batch)


def _epoch(
    lm: LanguageModel,
    weights: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    rows: Mapping[str, Query],
    recipe: Recipe,
    epoch: int,
    *,
    seed: int,
    on_progress: Callable[[int], None],
) -> float:
    """Trains one epoch; its average learning rate."""
    ids = sorted(rows)
    order = [ids[k] for k in generator(seed, f"warm-up/order/{epoch}").permutation(len(ids))]
    steps = _steps(len(rows), recipe)
    rates = []
    for number in range(steps):
        batch = [rows[row] for row in order[number * recipe.batch : (number + 1) * recipe.batch]]
        for micro in by_length([len(query) for query in batch], lm.placement.batch_tokens):
            loss = row_losses(lm, [batch[k] for k in micro]).sum() / len(batch)
            if not torch.isfinite(loss):
                raise ModelError(
                    f"warm-up training of {lm.name!r} met a loss of NaN or infinity in {lm.placement.dtype}. "
                    "Try `--dtype float32` or a lower `--option learning_rate=...`."
                )
            with within_memory(lm, work="in training"):
                loss.backward()
        rates.append(learning_rate_at(epoch * steps + number, recipe.epochs * steps, recipe))
        for group in optimizer.param_groups:
            group["lr"] = rates[-1]
        optimizer.step()
        optimizer.zero_grad()
        on_progress(len(batch))
    return math.fsum(rates) / steps


def _found(folder: Path, epochs: int) -> list[Checkpoint]:
    """The sound checkpoints of an earlier, perhaps killed, training, up to the first that is not there or damaged."""
    found: list[Checkpoint] = []
    for epoch in range(epochs):
        checkpoint = find_checkpoint(_path(folder, epoch))
        if checkpoint is None:
            break
        found.append(checkpoint)
    return found


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}.safetensors"
