"""One vector per sequence from the last hidden states of a language model: no logits, no gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.lm.batches import refuse_nonfinite
from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length, pad, within_memory

Pooling = Literal["weighted", "mean", "last"]


@torch.inference_mode()
def pooled_states(
    lm: LanguageModel,
    sequences: Sequence[tuple[int, ...]],
    pooling: Pooling,
    *,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Float[ndarray, "B d"]:
    """The hidden states of every sequence behind the trunk's final norm, summed over its tokens.

    Args:
        lm: the language model.
        sequences: [B] token ids, at least one each and at most `lm.max_length`.
        pooling: `weighted` gives the t-th of T tokens t / (1 + 2 + ... + T), `mean` 1 / T, `last` all to the last one.
        on_progress: called with the number of sequences just finished.

    Returns:
        float32 [B, d] in the order given; padding and company do not matter.

    Raises:
        ModelError: the model returned NaN or infinity, or ran out of memory.

    *Cost*: one forward per sequence, without the output head.
    """
    parts: dict[int, Float[ndarray, " d"]] = {}
    for batch in by_length([len(ids) for ids in sequences], lm.placement.batch_tokens):
        vectors = _forward(lm, [sequences[k] for k in batch], pooling)
        refuse_nonfinite(lm, vectors)
        parts |= zip(batch, vectors, strict=True)
        on_progress(len(batch))
    if not parts:
        return np.zeros((0, 0), dtype=np.float32)
    return np.array([parts[k] for k in range(len(sequences))], dtype=np.float32)


def token_weights(mask: Float[Tensor, "B T"], pooling: Pooling) -> Float[Tensor, "B T"]:
    """What each token counts for: 0 under padding, and 1 in all for every sequence. The mask is 1 for real tokens, which
    stand on the left."""
    position = mask.cumsum(1)
    if pooling == "last":
        return mask * (position == mask.sum(1, keepdim=True))
    weights = mask * position if pooling == "weighted" else mask
    return weights / weights.sum(1, keepdim=True)


def _forward(lm: LanguageModel, sequences: Sequence[tuple[int, ...]], pooling: Pooling) -> Float[ndarray, "B d"]:
    device = lm.model.device
    ids, mask = pad(sequences)
    with within_memory(lm):
        trunk = decoder(lm.model)
        hidden = trunk(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
        weights = token_weights(mask.float().to(device), pooling)
        return torch.einsum("bt,btd->bd", weights, hidden.float()).cpu().numpy()
