"""One vector per sequence from the last hidden states of a language model: no logits, no gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.errors import ModelError
from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel

Pooling = Literal["weighted", "mean", "last"]

_STRETCH = 1.2  # longest over shortest sequence of a batch that is large enough without the longer ones


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
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"the language model {lm.name!r} returned NaN or infinity in {lm.placement.dtype}. Try `--dtype float32`."
            )
        parts |= zip(batch, vectors, strict=True)
        on_progress(len(batch))
    if not parts:
        return np.zeros((0, 0), dtype=np.float32)
    return np.array([parts[k] for k in range(len(sequences))], dtype=np.float32)


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions sorted by length, in batches of at most `budget` tokens with padding (one sequence may exceed it)."""
    batch: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: (lengths[k], k)):
        padded = (len(batch) + 1) * lengths[k]
        wasteful = bool(batch) and padded > budget // 4 and lengths[k] > _STRETCH * lengths[batch[0]]
        if batch and (padded > budget or wasteful):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


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
    ids = torch.zeros((len(sequences), max(len(sequence) for sequence in sequences)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    try:
        trunk = decoder(lm.model)
        hidden = trunk(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).last_hidden_state
        weights = token_weights(mask.float().to(device), pooling)
        return torch.einsum("bt,btd->bd", weights, hidden.float()).cpu().numpy()
    except torch.OutOfMemoryError as error:
        tokens = lm.placement.batch_tokens
        raise ModelError(
            f"{lm.placement.device} is out of memory with {tokens:,} tokens a forward. Try --batch-tokens {tokens // 4}."
        ) from error
