"""What a language model is trained to lower: the mean negative log-likelihood of each row's response, one number a row.

A row's own mean, so that a long response counts no more than a short one and a row's loss does not depend on its company.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nncift.lm.head import decoder
from nncift.lm.model import LanguageModel
from nncift.lm.packing import pad, within_memory
from nncift.lm.score import predicted
from nncift.lm.tokens import Query


def row_losses(lm: LanguageModel, queries: Sequence[Query]) -> Float[Tensor, " B"]:
    """Mean negative log-likelihood of the response tokens of every row, float32, with a gradient where the model wants one.

    The rows go through the trunk once, padded on the right; logits exist only where a response token is predicted.
    A first token with nothing before it (an empty prompt, no beginning-of-sequence token) is not scored, because no
    position predicts it; a row of that one token has loss 0 and no gradient.

    Args:
        lm: the language model.
        queries: [B] prompts and responses; at most `lm.placement.batch_tokens` padded tokens (`nncift.lm.packing.by_length`).

    Raises:
        ModelError: the device is out of memory.

    *Cost*: B forwards, and B backwards when the result is differentiated; B · d numbers of hidden states a token.
    """
    ids, mask = pad([(*query.ids, *query.response) for query in queries])
    where = predicted(queries, [0] * len(queries))
    with within_memory(lm, work="in training"):
        values = token_log_probs(lm, ids, mask, where)
    # a table and not `index_add`, whose sums come in any order on a GPU
    rows, columns = (index.to(values.device) for index in where[:2])
    table = torch.zeros(ids.shape, device=values.device).index_put((rows, columns), -values)
    counts = torch.tensor([max(1, scored_tokens(query)) for query in queries], device=values.device)
    return table.sum(1) / counts


def token_log_probs(
    lm: LanguageModel, ids: Int[Tensor, "B T"], mask: Int[Tensor, "B T"], where: tuple[Tensor, Tensor, Tensor]
) -> Float[Tensor, " R"]:
    """Log-probabilities of some tokens of a batch, with a gradient where the model wants one.

    Args:
        lm: the language model.
        ids: [B, T] padded token ids.
        mask: [B, T], 1 for real tokens.
        where: row and column of the position that predicts each token, and the token (`nncift.lm.score.predicted`).

    Raises:
        torch.OutOfMemoryError: what helps depends on who trains, and the caller says it.

    *Cost*: B forwards; logits exist only where a token is predicted.
    """
    device = lm.model.device
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "use_cache": False}
    rows, columns, tokens = (index.to(device) for index in where)
    if lm.head is None:
        logits = lm.model(**inputs).logits[rows, columns].float()
        taught = any(weight.requires_grad for weight in lm.model.get_output_embeddings().parameters())
        lm.meter.head(ids.numel(), products=1 + logits.requires_grad * (1 + taught))
        return torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None]).squeeze(1)
    hidden = decoder(lm.model)(**inputs).last_hidden_state[rows, columns]
    lm.meter.head(len(tokens), products=1 + hidden.requires_grad)
    log_probs = lm.head.log_probs_for_training if hidden.requires_grad else lm.head.log_probs
    return log_probs(hidden, tokens)


def scored_tokens(query: Query) -> int:
    """How many tokens of a row are scored: the response, without a token that has nothing before it."""
    return len(query.response) - (not query.ids)
