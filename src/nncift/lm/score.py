"""Scores many responses behind few prefixes: each prefix goes through the model once, its key-value cache serves them all.

Naively a pair costs a forward over prefix + query + response with logits everywhere. Here the prefix is shared by every
query behind it, logits exist only where a response token is predicted, and batches are sorted by length. Prefixes are
padded on the left and queries on the right, so that real tokens stand side by side and sliding windows stay exact.
"""

from __future__ import annotations

import copy
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.errors import ModelError
from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, join

log = logging.getLogger(__name__)

_STRETCH = 1.2  # longest over shortest pair of a batch; padding fell from 20 % to 11 % of the tokens of Alpaca pairs

_CACHE_BYTES = 1 << 30  # of gathered keys and values; an 8B model with 500-token prefixes then scores 16 rows at once

Pair = tuple[tuple[int, ...], Query]


@torch.inference_mode()
def score_responses(
    lm: LanguageModel,
    prefixes: Sequence[tuple[int, ...]],
    queries: Sequence[Query],
    *,
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[Float[ndarray, " R"]]:
    """Log-probability of every response token of every (prefix, query) pair.

    Args:
        lm: the language model.
        prefixes: [B] token ids in front of each query; equal prefixes are encoded once.
        queries: [B] prompts and responses.
        on_progress: called with the number of pairs just finished.

    Returns:
        B float32 arrays, one natural-log probability for each response token, in the order given.

    Raises:
        ModelError: the model returned NaN or infinity.

    *Cost*: one forward per pair over its query and response, and one per distinct prefix.
    """
    pairs = [join(prefix, query) for prefix, query in zip(prefixes, queries, strict=True)]
    result: list[Any] = [None] * len(pairs)
    for group in _groups(pairs, lm.placement.batch_tokens):
        distinct = sorted({pairs[k][0] for k in group}, key=lambda ids: (len(ids), ids))
        cache = _encode(lm, distinct)
        row_of = {ids: row for row, ids in enumerate(distinct)}
        for batch in _batches(group, pairs, lm.placement.batch_tokens, most=_rows_that_fit(cache)):
            chosen = [pairs[k] for k in batch]
            for k, values in zip(batch, _score(lm, cache, row_of, chosen), strict=True):
                result[k] = values
            on_progress(len(batch))
    return result


def _groups(pairs: Sequence[Pair], budget: int) -> Iterator[list[int]]:
    """Pairs whose prefixes, sorted by length, fit into one forward together."""
    order = sorted(range(len(pairs)), key=lambda k: (len(pairs[k][0]), pairs[k][0], k))
    group: list[int] = []
    distinct = 0
    for position, k in enumerate(order):
        prefix = pairs[k][0]
        new = position == 0 or prefix != pairs[order[position - 1]][0]
        if group and new and (distinct + 1) * len(prefix) > budget:
            yield group
            group, distinct = [], 0
        distinct += new
        group.append(k)
    if group:
        yield group


def _batches(group: Sequence[int], pairs: Sequence[Pair], budget: int, *, most: int) -> Iterator[list[int]]:
    """Pairs of one group sorted by the length of query and response: at most `budget` padded tokens and `most` rows a
    batch, and fewer where a longer pair would pad a batch that is large enough already."""
    batch: list[int] = []
    for k in sorted(group, key=lambda k: (len(pairs[k][1]), k)):
        length = len(pairs[k][1])
        padded = (len(batch) + 1) * length
        wasteful = bool(batch) and padded > budget // 4 and length > _STRETCH * len(pairs[batch[0]][1])
        if batch and (padded > budget or wasteful or len(batch) >= most):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def _encode(lm: LanguageModel, prefixes: Sequence[tuple[int, ...]]) -> Any:
    """The key-value cache of left-padded prefixes, or None where the model cannot share one."""
    longest = max(len(ids) for ids in prefixes)
    if longest == 0 or not lm.shares_prefixes:
        return None
    from transformers import DynamicCache

    ids = torch.zeros((len(prefixes), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prefix in enumerate(prefixes):
        ids[row, longest - len(prefix) :] = torch.tensor(prefix)
        mask[row, longest - len(prefix) :] = 1
    cache = DynamicCache(config=lm.model.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    _forward(lm, ids, mask, positions, cache)
    return cache


def _score(
    lm: LanguageModel, cache: Any, row_of: dict[tuple[int, ...], int], pairs: Sequence[Pair]
) -> list[Float[ndarray, " R"]]:
    """One batch: the cache rows of its prefixes in front, its queries and responses padded on the right."""
    if cache is None:
        starts = [len(prefix) for prefix, _ in pairs]
        sequences = [(*prefix, *query.ids, *query.response) for prefix, query in pairs]
        behind, lengths = 0, [0] * len(pairs)
    else:
        starts = [0] * len(pairs)
        sequences = [(*query.ids, *query.response) for _, query in pairs]
        lengths = [len(prefix) for prefix, _ in pairs]
        behind = max(len(prefix) for prefix in row_of)
    longest = max(len(sequence) for sequence in sequences)
    ids = torch.zeros((len(pairs), longest), dtype=torch.long)
    mask = torch.zeros((len(pairs), behind + longest), dtype=torch.long)
    positions = torch.arange(longest).repeat(len(pairs), 1)
    for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, behind - length : behind + len(sequence)] = 1
        positions[row] += length
    picked = None if cache is None else _select(cache, [row_of[prefix] for prefix, _ in pairs])
    rows, columns, tokens = _scored(pairs, starts)
    values = _token_log_probs(lm, ids, mask, positions, picked, rows, columns, tokens)
    if not np.isfinite(values).all():
        raise ModelError(
            f"the language model {lm.name!r} returned NaN or infinity in {lm.placement.dtype}. Try `--dtype float32`."
        )
    return np.split(values, np.cumsum([len(query.response) for _, query in pairs])[:-1])


def _scored(pairs: Sequence[Pair], starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of the hidden state that predicts each response token (one position before it), and the token."""
    rows, columns, tokens = [], [], []
    for row, ((_, query), start) in enumerate(zip(pairs, starts, strict=True)):
        first = start + len(query.ids) - 1
        rows += [row] * len(query.response)
        columns += range(first, first + len(query.response))
        tokens += query.response
    return torch.tensor(rows), torch.tensor(columns), torch.tensor(tokens)


def _token_log_probs(
    lm: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: Any,
    rows: Tensor,
    columns: Tensor,
    tokens: Tensor,
) -> Float[ndarray, " T"]:
    device = lm.model.device
    if lm.head is None:
        lm.meter.head(ids.numel())
        logits = _forward(lm, ids, mask, positions, cache, trunk=False).logits
        chosen = torch.log_softmax(logits[rows, columns].float(), dim=-1)
        values = chosen.gather(1, tokens.to(device)[:, None]).squeeze(1)
    else:
        hidden = _forward(lm, ids, mask, positions, cache).last_hidden_state[rows, columns]
        lm.meter.head(len(tokens))
        values = lm.head.log_probs(hidden, tokens.to(device))
    return values.float().cpu().numpy()


def _forward(lm: LanguageModel, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, *, trunk: bool = True) -> Any:
    device = lm.model.device
    inputs: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if "position_ids" in inspect.signature(lm.model.forward).parameters:
        inputs["position_ids"] = positions.to(device)
    module = decoder(lm.model) if trunk else lm.model
    try:
        return module(**inputs, past_key_values=cache, use_cache=cache is not None)
    except torch.OutOfMemoryError as error:
        tokens = lm.placement.batch_tokens
        raise ModelError(
            f"{lm.placement.device} is out of memory with {tokens:,} tokens a forward. Try --batch-tokens {tokens // 4}."
        ) from error


def shares_prefixes(lm: LanguageModel) -> bool:
    """Proves on a probe that cached, left-padded prefixes give what whole sequences give.

    Recurrent states would have seen the padding, and some positional schemes count it; such models are scored whole.
    """
    words = [5, 7, 9, 11, 6, 8]
    words = [word % len(lm.tokenizer) for word in words]
    prefixes = [tuple(words[:2]), tuple(words), tuple(words[1:5])]
    queries = [Query(tuple(words[2:4]), tuple(words[:3]), False) for _ in prefixes]
    whole = score_responses(lm, prefixes, queries)
    try:
        shared = score_responses(replace(lm, shares_prefixes=True), prefixes, queries)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        log.warning("prefixes are not shared with %s (%s); scoring is slower", type(lm.model).__name__, error)
        return False
    # rounding moved these improbable tokens by up to 0.5 nats in bfloat16; seen padding moves them by several
    atol, rtol = (1e-3, 1e-5) if lm.placement.dtype == "float32" else (0.3, 0.03)
    if np.allclose(np.concatenate(whole), np.concatenate(shared), atol=atol, rtol=rtol):
        return True
    log.warning(
        "prefixes are not shared with %s: its cache does not stand padding; scoring is slower", type(lm.model).__name__
    )
    return False


def _rows_that_fit(cache: Any) -> int:
    """How many copies of a prefix's keys and values may be alive at once: one for every row of a batch."""
    if cache is None:
        return sys.maxsize
    a_row = sum(2 * layer.keys[0].numel() * layer.keys.element_size() for layer in cache.layers)
    return max(1, _CACHE_BYTES // a_row)


def _select(cache: Any, rows: Sequence[int]) -> Any:
    """A cache with the given rows; the original keeps its own, so that it serves the next batch."""
    picked = copy.copy(cache)
    picked.layers = [copy.copy(layer) for layer in cache.layers]
    picked.batch_select_indices(torch.tensor(rows, device=picked.layers[0].keys.device))
    return picked
