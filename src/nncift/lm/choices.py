"""Which of a few tokens comes next: logits of some words at the last position only, instead of a row of the whole vocabulary
at every position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.lm.batches import batches, forward, refuse_nonfinite
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import text_ids


@torch.inference_mode()
def score_choices(
    lm: LanguageModel,
    prefixes: Sequence[tuple[int, ...]],
    queries: Sequence[tuple[int, ...]],
    choices: Sequence[int],
    *,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Float[ndarray, "B K"]:
    """Logits of some tokens as the one that follows each sequence.

    A softmax over them gives their probabilities given that one of them follows: the rest of the vocabulary cancels.

    Args:
        lm: the language model.
        prefixes: [B] token ids in front of each query; equal prefixes are encoded once.
        queries: [B] token ids behind them, at least one each.
        choices: [K] token ids.
        on_progress: called with the number of sequences just finished.

    Returns:
        float32 [B, K], in the order given.

    Raises:
        ModelError: the model returned NaN or infinity.

    *Cost*: one forward per query, and one per distinct prefix; K rows of the output head at B positions.
    """
    result = np.empty((len(queries), len(choices)), dtype=np.float32)
    words = torch.tensor(choices, device=lm.model.device)
    for batch in batches(lm, list(zip(prefixes, queries, strict=True))):
        rows = torch.arange(len(batch.which))
        last = torch.tensor([start + len(queries[k]) - 1 for k, start in zip(batch.which, batch.starts, strict=True)])
        if lm.head is None:
            lm.meter.head(batch.ids.numel())
            logits = forward(lm, batch, trunk=False).logits[rows, last][:, words].float()
        else:
            hidden = forward(lm, batch).last_hidden_state[rows, last]
            lm.meter.head(len(rows))
            logits = lm.head.logits(hidden, words)
        result[batch.which] = logits.cpu().numpy()
        on_progress(len(batch.which))
    refuse_nonfinite(lm, result)
    return result


def choice_tokens(
    tokenizer: Any, before: str, texts: Sequence[str], *, special: bool, flag: str = "--model"
) -> tuple[int, ...]:
    """The token that stands for each text right behind `before`.

    Found in context, because a tokenizer may write the same digit in different ways: `before` is tokenised with and without
    the text, and exactly one token must be new. The text behind a space is tried first, which is how prose goes on behind a
    colon; then the bare text. All texts are taken the same way.

    Args:
        tokenizer: the language model's.
        before: what the model reads last.
        texts: the choices, such as `1` to `5`.
        special: whether `before` holds the model's special tokens.
        flag: what names the model.

    Raises:
        ConfigError: some text is more than one token either way, or two texts share theirs.
    """
    head = text_ids(tokenizer, before, special=special)
    for space in (" ", ""):
        found = [text_ids(tokenizer, f"{before}{space}{text}", special=special) for text in texts]
        new = [ids[-1] for ids in found if len(ids) == len(head) + 1 and ids[:-1] == head]
        if len(set(new)) == len(texts):
            return tuple(new)
    raise ConfigError(
        f"the tokenizer does not write {texts[0]!r} to {texts[-1]!r} as one token each behind {before[-24:]!r}, so that "
        f"their probabilities cannot be read. Use another {flag}."
    )
