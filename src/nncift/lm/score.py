"""Scores many responses behind few prefixes: each prefix goes through the model once, its key-value cache serves them all.

Naively a pair costs a forward over prefix + query + response with logits everywhere. Here the prefix is shared by every
query behind it, logits exist only where a response token is predicted, and batches are sorted by length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.lm.batches import Batch, batches, forward, refuse_nonfinite
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, join

log = logging.getLogger(__name__)


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
        ModelError: the model returned NaN or infinity, or its server does not answer.

    *Cost*: one forward per pair over its query and response, and one per distinct prefix; behind a server one request a pair.
    """
    joined = [join(prefix, query) for prefix, query in zip(prefixes, queries, strict=True)]
    if lm.server is not None:
        whole = [((*prefix, *query.ids, *query.response), len(prefix) + len(query.ids)) for prefix, query in joined]
        return lm.server.score(whole, lm.meter.ledger, on_progress=on_progress)
    result: list[Any] = [None] * len(joined)
    for batch in batches(lm, [(prefix, (*query.ids, *query.response)) for prefix, query in joined]):
        scored = [joined[k][1] for k in batch.which]
        values = batch_log_probs(lm, batch, scored)
        refuse_nonfinite(lm, values)
        ends = np.cumsum([len(query.response) for query in scored])[:-1]
        for k, part in zip(batch.which, np.split(values, ends), strict=True):
            result[k] = part
        on_progress(len(batch.which))
    return result


def batch_log_probs(lm: LanguageModel, batch: Batch, queries: Sequence[Query]) -> Float[ndarray, " T"]:
    """One forward over a batch, whose queries are given row by row: log-probabilities of the tokens that `predicted` names."""
    rows, columns, tokens = predicted(queries, batch.starts)
    tokens = tokens.to(lm.model.device)
    if lm.head is None:
        lm.meter.head(batch.ids.numel())
        logits = forward(lm, batch, trunk=False).logits
        chosen = torch.log_softmax(logits[rows, columns].float(), dim=-1)
        values = chosen.gather(1, tokens[:, None]).squeeze(1)
    else:
        hidden = forward(lm, batch).last_hidden_state[rows, columns]
        lm.meter.head(len(tokens))
        values = lm.head.log_probs(hidden, tokens)
    return values.float().cpu().numpy()


def predicted(queries: Sequence[Query], starts: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of the hidden state that predicts each response token, one position before it, and the token.

    Args:
        queries: one for each row of a batch.
        starts: the column where each query begins; behind a cached prefix 0, and the query then has a prompt. A first token
            with nothing before it is predicted by no position and left out.
    """
    rows, columns, tokens = [], [], []
    for row, (query, start) in enumerate(zip(queries, starts, strict=True)):
        first = start + len(query.ids)
        response = query.response if first else query.response[1:]
        end = first + len(query.response) - 1
        rows += [row] * len(response)
        columns += range(end - len(response), end)
        tokens += response
    found = (torch.tensor(index, dtype=torch.long) for index in (rows, columns, tokens))
    return next(found), next(found), next(found)


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
