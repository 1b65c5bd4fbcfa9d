"""What one forward over a row tells of it: where its hidden states lie, and how well its response was foreseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.lm.batches import batches, refuse_nonfinite
from nncift.lm.head import decoder
from nncift.lm.hidden import token_weights
from nncift.lm.model import LanguageModel
from nncift.lm.packing import within_memory
from nncift.lm.score import batch_log_probs, predicted
from nncift.lm.tokens import Query


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read, a row each.

    Attributes:
        mean_state: float32 [B, d], the mean over all tokens of the last hidden states behind the final norm.
        last_state: float32 [B, d], that of the last token.
        scored: int64 [B], response tokens that are predicted: all but a first one with nothing before it.
        loss: float32 [B], mean negative log-likelihood of these in nats; 0 where there is none.
        doubt: float32 [B] in [0, 1], root mean square over them of 1 - p, the probability missing; 0 where there is none.
    """

    mean_state: Float[ndarray, "B d"]
    last_state: Float[ndarray, "B d"]
    scored: Int[ndarray, " B"]
    loss: Float[ndarray, " B"]
    doubt: Float[ndarray, " B"]


@torch.inference_mode()
def read_rows(
    lm: LanguageModel, queries: Sequence[Query], *, on_progress: Callable[[int], None] = lambda count: None
) -> Readings:
    """Reads every row once, prompt and response.

    Args:
        lm: the language model.
        queries: [B] prompts and responses, at least one token together, at most `lm.max_length`; a response may be empty.
        on_progress: called with the number of rows just finished.

    Returns:
        In the order given; padding and company do not matter.

    Raises:
        ModelError: the model returned NaN or infinity, or ran out of memory.

    *Cost*: one forward per row; logits, in tiles, at the positions that predict a response token.
    """
    width = state_width(lm)
    found = Readings(
        np.zeros((len(queries), width), dtype=np.float32),
        np.zeros((len(queries), width), dtype=np.float32),
        np.zeros(len(queries), dtype=np.int64),
        np.zeros(len(queries), dtype=np.float32),
        np.zeros(len(queries), dtype=np.float32),
    )
    for batch in batches(lm, [((), (*query.ids, *query.response)) for query in queries]):
        asked = [queries[k] for k in batch.which]
        with within_memory(lm), _heard_states(lm) as heard:
            log_probs = batch_log_probs(lm, batch, asked)
            hidden = heard[0].float()
            mask = batch.mask.float().to(hidden.device)
            found.mean_state[batch.which] = _pooled(hidden, token_weights(mask, "mean"))
            found.last_state[batch.which] = _pooled(hidden, token_weights(mask, "last"))
        rows = predicted(asked, batch.starts)[0].numpy()
        for numbers in (found.mean_state[batch.which], found.last_state[batch.which], log_probs):
            refuse_nonfinite(lm, numbers)
        count = np.bincount(rows, minlength=len(batch.which))
        missing = np.maximum(0, -np.expm1(log_probs.astype(np.float64)))  # bfloat16 rounds some p to just above 1
        found.scored[batch.which] = count
        found.loss[batch.which] = _means(rows, -log_probs, count)
        found.doubt[batch.which] = np.sqrt(_means(rows, missing**2, count))
        on_progress(len(batch.which))
    return found


def state_width(lm: LanguageModel) -> int:
    """Length of a hidden state behind the final norm, `d`: what the output head reads."""
    if lm.head is not None:
        return lm.head.weight.shape[1]
    return lm.model.config.get_text_config().hidden_size


@contextmanager
def _heard_states(lm: LanguageModel) -> Iterator[list[Float[Tensor, "B T d"]]]:
    """The last hidden states of every forward within, whoever asked for it: with a head that cannot be tiled it is the whole
    model that goes forward, and gives its logits alone."""
    heard: list[Tensor] = []
    hook = decoder(lm.model).register_forward_hook(lambda trunk, given, output: heard.append(output.last_hidden_state))
    try:
        yield heard
    finally:
        hook.remove()


def _pooled(hidden: Float[Tensor, "B T d"], weights: Float[Tensor, "B T"]) -> Float[ndarray, "B d"]:
    return torch.einsum("bt,btd->bd", weights, hidden).cpu().numpy()


def _means(rows: Int[ndarray, " S"], values: Float[ndarray, " S"], count: Int[ndarray, " B"]) -> Float[ndarray, " B"]:
    """The mean of each row's values, 0 where it has none."""
    return np.bincount(rows, weights=values, minlength=len(count)) / np.maximum(1, count)
