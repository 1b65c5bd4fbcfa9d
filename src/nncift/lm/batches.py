"""Cuts sequences into batches for a forward pass: prefixes that several share go through the model once and are kept as
key-value caches, the rest is sorted by length.

Prefixes are padded on the left and what stands behind them on the right, so that real tokens stand side by side and sliding
windows stay exact.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from nncift.errors import ModelError
from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length, pad, within_memory

_CACHE_BYTES = 1 << 30  # of gathered keys and values; an 8B model with 500-token prefixes then scores 16 rows at once

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a prefix, and of what stands behind it (at least one)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes through the model at once.

    Attributes:
        which: positions of its pairs in the list that was batched.
        ids: int64 [B, T], padded on the right.
        mask: int64 [B, P + T], the cached prefixes in front.
        positions: int64 [B, T], the place of each token in its whole sequence.
        starts: column of `ids` where each pair's second part begins.
        cache: keys and values of the prefixes, row by row, or None where they stand in `ids`.
    """

    which: list[int]
    ids: Int[Tensor, "B T"]
    mask: Int[Tensor, "B S"]
    positions: Int[Tensor, "B T"]
    starts: list[int]
    cache: Any


def batches(lm: LanguageModel, pairs: Sequence[Pair]) -> Iterator[Batch]:
    """All pairs in batches that `lm.placement.batch_tokens` bounds; each distinct prefix is encoded once where it can be
    shared. To be walked in inference mode."""
    for group in _groups(pairs, lm.placement.batch_tokens):
        distinct = sorted({pairs[k][0] for k in group}, key=lambda ids: (len(ids), ids))
        cache = _encode(lm, distinct)
        row_of = {ids: row for row, ids in enumerate(distinct)}
        group = sorted(group)
        lengths = [len(pairs[k][1]) for k in group]
        for which in by_length(lengths, lm.placement.batch_tokens, most=_rows_that_fit(cache)):
            yield _batch([group[k] for k in which], pairs, cache, row_of)


def forward(lm: LanguageModel, batch: Batch, *, trunk: bool = True) -> Any:
    """What the trunk gives for a batch, or with `trunk=False` the whole model.

    Raises:
        ModelError: the device is out of memory.
    """
    return _forward(lm, batch.ids, batch.mask, batch.positions, batch.cache, trunk=trunk)


def refuse_nonfinite(lm: LanguageModel, values: ndarray) -> None:
    """Raises:
    ModelError: the model returned NaN or infinity.
    """
    if not np.isfinite(values).all():
        mend = "Its weights are damaged" if lm.placement.dtype == "float32" else "Try `--dtype float32`"
        raise ModelError(f"the language model {lm.name!r} returned NaN or infinity in {lm.placement.dtype}. {mend}.")


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


def _batch(which: list[int], pairs: Sequence[Pair], cache: Any, row_of: dict[tuple[int, ...], int]) -> Batch:
    """The cache rows of the pairs' prefixes in front, the rest padded on the right."""
    chosen = [pairs[k] for k in which]
    if cache is None:
        starts = [len(prefix) for prefix, _ in chosen]
        sequences = [(*prefix, *rest) for prefix, rest in chosen]
        behind, lengths = 0, [0] * len(chosen)
    else:
        starts = [0] * len(chosen)
        sequences = [rest for _, rest in chosen]
        lengths = [len(prefix) for prefix, _ in chosen]
        behind = max(len(prefix) for prefix in row_of)
    ids, mask = pad(sequences)
    before = torch.tensor(lengths)[:, None]
    mask = torch.cat([(torch.arange(behind) >= behind - before).long(), mask], dim=1)
    positions = torch.arange(ids.shape[1]) + before
    picked = None if cache is None else _select(cache, [row_of[prefix] for prefix, _ in chosen])
    return Batch(which, ids, mask, positions, starts, picked)


def _encode(lm: LanguageModel, prefixes: Sequence[tuple[int, ...]]) -> Any:
    """The key-value cache of left-padded prefixes, or None where the model cannot share one."""
    if not any(prefixes) or not lm.shares_prefixes:
        return None
    from transformers import DynamicCache

    ids, mask = pad(prefixes, side="left")
    cache = DynamicCache(config=lm.model.config)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    _forward(lm, ids, mask, positions, cache)
    return cache


def _forward(lm: LanguageModel, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any, *, trunk: bool = True) -> Any:
    device = lm.model.device
    inputs: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if "position_ids" in inspect.signature(lm.model.forward).parameters:
        inputs["position_ids"] = positions.to(device)
    module = decoder(lm.model) if trunk else lm.model
    with within_memory(lm):
        return module(**inputs, past_key_values=cache, use_cache=cache is not None)


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
