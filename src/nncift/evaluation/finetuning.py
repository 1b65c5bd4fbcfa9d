"""Fine-tunes a language model on a subset with a low-rank adapter, and gives the model back as it was.

The training loop is the trainer of `transformers`; only the loss is our own, because it needs logits at response tokens
alone: with a vocabulary of 262,144 words the logits of all positions cost more than the rest of the model.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nncift.errors import ConfigError, ModelError
from nncift.lm.model import LanguageModel
from nncift.lm.packing import pad, within_memory
from nncift.lm.tokens import Query
from nncift.tuning.lora import attach, detach
from nncift.tuning.losses import token_log_probs

_UNSCORED = -100  # the label of tokens that are not trained on, by the convention of the field
_LARGE = 10**9  # weights from which activations are computed again in the backward pass instead of kept


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """How a model is fine-tuned. The defaults are those of the NN-CIFT paper.

    Attributes:
        rank, alpha, dropout: of the adapters, which sit on all linear layers.
        learning_rate: the highest; it falls linearly to zero.
        epochs: passes over the subset.
        batch: rows a step.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    learning_rate: float = 2e-4
    epochs: int = 3
    batch: int = 4


@contextmanager
def fine_tuned(
    lm: LanguageModel,
    rows: Sequence[Query],
    recipe: FineTuning,
    *,
    seed: int,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Iterator[None]:
    """The model fine-tuned on the rows, for the length of the block; behind it the model is as it was.

    Args:
        lm: a language model without an adapter, of full or four-bit weights.
        rows: what to learn (`nncift.lm.tokens.tokenize_lesson`), sorted by id, so that the order of a file plays no part.
        recipe: how.
        seed: of the adapter's initial weights, the order of the rows and dropout.
        on_progress: told how many more rows were trained on.

    Raises:
        ModelError: the loss became NaN or infinite, or the device is out of memory.
        ConfigError: the device is a second GPU, which the trainer cannot be told.

    *Cost*: epochs · rows forwards and as many backwards; activations of models above a thousand million weights are
    computed twice.
    """
    refuse_other_devices(lm)
    attach(lm, rank=recipe.rank, alpha=recipe.alpha, seed=seed, where="all-linear", dropout=recipe.dropout)
    try:
        with _generators_kept(), _marks_removed(lm.model), _checkpointing(lm), _within_memory(lm, recipe):
            _train(lm, rows, recipe, seed=seed, on_progress=on_progress)
        lm.model.eval()
        yield
    finally:
        lm.model.eval()
        detach(lm)


def collate(rows: Sequence[Query]) -> dict[str, Int[Tensor, "B T"]]:
    """A batch as trainers know it: `input_ids`, the `attention_mask` that is 0 on padding, and `labels` that are -100 on
    prompts and padding."""
    ids, mask = pad([(*row.ids, *row.response) for row in rows])
    labels = torch.full_like(ids, _UNSCORED)
    for number, row in enumerate(rows):
        labels[number, len(row.ids) : len(row)] = torch.tensor(row.response)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def response_loss(lm: LanguageModel, batch: dict[str, Int[Tensor, "B T"]]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of all response tokens of a batch, each predicted from the token before it."""
    labels = batch["labels"][:, 1:]
    rows, columns = (labels != _UNSCORED).nonzero(as_tuple=True)
    where = (rows, columns, labels[rows, columns])
    return -token_log_probs(lm, batch["input_ids"], batch["attention_mask"], where).sum() / max(1, len(rows))


def refuse_other_devices(lm: LanguageModel) -> None:
    """Raises:
    ConfigError: the trainer would move the model from the GPU where the user put it.
    """
    device = lm.placement.device
    number = device.partition(":")[2]
    if number not in ("", "0"):
        raise ConfigError(
            f"fine-tuning runs on the first visible GPU: set CUDA_VISIBLE_DEVICES={number}, not {device}."
        )


def _train(
    lm: LanguageModel, rows: Sequence[Query], recipe: FineTuning, *, seed: int, on_progress: Callable[[int], None]
) -> None:
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    class ResponseTrainer(Trainer):
        """The trainer of `transformers` with the loss of responses alone."""

        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            loss = response_loss(lm, inputs)
            if not torch.isfinite(loss):
                raise ModelError(
                    f"fine-tuning {lm.name!r} met a loss of NaN or infinity in {lm.placement.dtype}. "
                    "Try --dtype float32 or a lower --learning-rate."
                )
            on_progress(len(inputs["input_ids"]))
            return loss

    with tempfile.TemporaryDirectory() as unused, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            output_dir=unused,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch,
            learning_rate=recipe.learning_rate,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=lm.placement.device == "cpu",
            dataloader_pin_memory=False,
        )
        arguments._n_gpu = min(1, arguments.n_gpu)  # several would each take a whole batch
        trainer = ResponseTrainer(lm.model, arguments, data_collator=collate, train_dataset=list(rows))  # pyright: ignore
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def _within_memory(lm: LanguageModel, recipe: FineTuning) -> AbstractContextManager[None]:
    fewer = f"--batch {recipe.batch // 2}, " if recipe.batch > 1 else ""
    smaller = "" if lm.quantize else " or --quantize 4bit"
    mend = f"Try {fewer}a smaller --max-length{smaller}."
    return within_memory(lm, work=f"in training with {recipe.batch} rows a step", mend=mend)


@contextmanager
def _checkpointing(lm: LanguageModel) -> Iterator[None]:
    """Computes the activations of large models again in the backward pass instead of keeping them."""
    if lm.weights < _LARGE or not lm.model.supports_gradient_checkpointing:
        yield
        return
    new = hasattr(lm.model, "activation_checkpointing_enable")  # its name since transformers 5.23
    enable, disable = (
        getattr(lm.model, f"{'activation' if new else 'gradient'}_checkpointing_{verb}")
        for verb in ("enable", "disable")
    )
    enable({"use_reentrant": False})
    try:
        yield
    finally:
        disable()


@contextmanager
def _marks_removed(model: Any) -> Iterator[None]:
    """The trainer leaves marks on a model and turns its cache off; afterwards both are as they were."""
    attributes, uses_cache = set(vars(model)), model.config.use_cache
    try:
        yield
    finally:
        for name in set(vars(model)) - attributes:
            delattr(model, name)
        model.config.use_cache = uses_cache


@contextmanager
def _generators_kept() -> Iterator[None]:
    """The trainer seeds every generator of the process; afterwards they go on where they were."""
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002  # not ours: the trainer's
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)  # noqa: NPY002
