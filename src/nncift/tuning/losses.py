"""What a language model is trained to lower: the mean negative log-likelihood of each row's response, one number a row.

A row's own mean, so that a long response counts no more than a short one and a row's loss does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from nncift.errors import ModelError
from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query

_STRETCH = 1.2  # longest over shortest row of a batch: padding fell from 44 % to 12 % of the tokens of 48 Alpaca rows


def row_losses(lm: LanguageModel, queries: Sequence[Query]) -> Float[Tensor, " B"]:
    """Mean negative log-likelihood of the response tokens of every row, float32, with a gradient where the model wants one.

    The rows go through the trunk once, padded on the right; logits exist only where a response token is predicted.
    A first token with nothing before it (an empty prompt, no beginning-of-sequence token) is not scored, because no
    position predicts it; a row of that one token has loss 0 and no gradient.

    Args:
        lm: the language model.
        queries: [B] prompts and responses; at most `lm.placement.batch_tokens` padded tokens (`token_batches`).

    Raises:
        ModelError: the device is out of memory.

    *Cost*: B forwards, and B backwards when the result is differentiated; B · d numbers of hidden states a token.
    """
    device = lm.model.device
    ids, mask = _padded(queries)
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "use_cache": False}
    rows, columns, tokens = (index.to(device) for index in _scored(queries))
    try:
        if lm.head is None:
            logits = lm.model(**inputs).logits[rows, columns].float()
            lm.meter.head(ids.numel(), training=logits.requires_grad)
            values = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None]).squeeze(1)
        else:
            hidden = decoder(lm.model)(**inputs).last_hidden_state[rows, columns]
            lm.meter.head(len(tokens), training=hidden.requires_grad)
            log_probs = lm.head.log_probs_for_training if hidden.requires_grad else lm.head.log_probs
            values = log_probs(hidden, tokens)
    except torch.OutOfMemoryError as error:
        budget = lm.placement.batch_tokens
        raise ModelError(
            f"{lm.placement.device} is out of memory with {budget:,} tokens in training. Try --batch-tokens {budget // 4}."
        ) from error
    # a table and not `index_add`, whose sums come in any order on a GPU
    table = torch.zeros(ids.shape, device=device).index_put((rows, columns), -values)
    counts = torch.tensor([max(1, scored_tokens(query)) for query in queries], device=device)
    return table.sum(1) / counts


def token_batches(queries: Sequence[Query], budget: int) -> Iterator[list[int]]:
    """Positions of the rows, sorted by length, in batches of at most `budget` padded tokens, and fewer where a longer row
    would pad a batch that is large enough already; a row longer than the budget goes alone."""
    batch: list[int] = []
    for k in sorted(range(len(queries)), key=lambda k: (len(queries[k]), k)):
        padded = (len(batch) + 1) * len(queries[k])
        wasteful = bool(batch) and padded > budget // 4 and len(queries[k]) > _STRETCH * len(queries[batch[0]])
        if batch and (padded > budget or wasteful):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def scored_tokens(query: Query) -> int:
    """How many tokens of a row are scored: the response, without a token that has nothing before it."""
    return len(query.response) - (not query.ids)


def _padded(queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
    longest = max(len(query) for query in queries)
    ids = torch.zeros((len(queries), longest), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, query in enumerate(queries):
        ids[row, : len(query)] = torch.tensor((*query.ids, *query.response))
        mask[row, : len(query)] = 1
    return ids, mask


def _scored(queries: Sequence[Query]) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of the hidden state that predicts each scored token (one position before it), and the token."""
    rows, columns, tokens = [], [], []
    for row, query in enumerate(queries):
        count = scored_tokens(query)
        end = len(query) - 1
        rows += [row] * count
        columns += range(end - count, end)
        tokens += query.response[len(query.response) - count :]
    rows, columns, tokens = (torch.tensor(index, dtype=torch.long) for index in (rows, columns, tokens))
    return rows, columns, tokens
