"""In-context prompts: the rows nearest to a query in front of it, as many as fit, and the query always whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.demonstrations import Demonstrations
from nncift.data.rows import Example
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, bos_ids, text_ids

log = logging.getLogger(__name__)

Order = Literal["nearest-first", "nearest-last"]

_TILE = 1 << 22  # cosines alive at once, 32 MiB


@dataclass(frozen=True, slots=True)
class IclPrompt:
    """A query behind its demonstrations, in tokens.

    Attributes:
        ids: all of the prompt, at least one token; the query is never cut.
        kept: how many demonstrations are in it.
        fits: False where even the query alone leaves less room than was asked for; such a row is to be left out and counted.
        plainly: whether a chat model gets the demonstrations as plain text (`nncift.data.demonstrations.Worded`).
    """

    ids: tuple[int, ...]
    kept: int
    fits: bool
    plainly: bool


@dataclass(frozen=True, slots=True)
class IclQuery:
    """A row as it is asked in context: `prompt.ids` is what `generate` takes, `query` what `score_responses` takes behind an
    empty prefix.

    Attributes:
        prompt: the query behind its demonstrations.
        response: the response's tokens, all of them.
    """

    prompt: IclPrompt
    response: tuple[int, ...]

    @property
    def usable(self) -> bool:
        """Whether prompt and room fit the context, and the response has a token under this tokenizer."""
        return self.prompt.fits and bool(self.response)

    @property
    def query(self) -> Query:
        """Prompt and response, to be scored."""
        return Query(self.prompt.ids, self.response, False)


def nearest(queries: Float[ndarray, "q d"], subset: Float[ndarray, "s d"], k: int) -> Int[ndarray, "q k"]:
    """The rows of a subset that are most alike to each query.

    Args:
        queries: [q, d] unit vectors of the queries' prompts.
        subset: [s, d] unit vectors of the rows, sorted by id.
        k: how many, 0 or more.

    Returns:
        int64 [q, min(k, s)], positions in the subset by falling cosine; of equal ones the lowest first.
    """
    # equal rows are compared once: a matrix product may round the same numbers differently in different columns
    codes: dict[bytes, int] = {}
    which = np.array([codes.setdefault(row.tobytes(), len(codes)) for row in subset], dtype=np.int64)
    distinct = subset[np.unique(which, return_index=True)[1]].astype(np.float64).T
    found = np.empty((len(queries), min(k, len(subset))), dtype=np.int64)
    step = max(1, _TILE // max(1, len(subset)))
    for start in range(0, len(queries), step):
        cosines = queries[start : start + step].astype(np.float64) @ distinct
        order = np.argsort(-cosines[:, which], axis=1, kind="stable")
        found[start : start + step] = order[:, : found.shape[1]]
    return found


def icl_prompt(
    tokenizer: Any,
    wording: Demonstrations,
    demonstrations: Sequence[Example],
    query: Example,
    *,
    limit: int,
    room: int,
    order: Order = "nearest-first",
) -> IclPrompt:
    """The longest prompt that leaves room for an answer: whole demonstrations are dropped, the farthest first.

    Args:
        tokenizer: the language model's.
        wording: from `choose_demonstrations`.
        demonstrations: the rows to show, nearest first; none gives the zero-shot prompt.
        query: the row that is asked; its response is not used.
        limit: the context in tokens.
        room: how many of them the response or the answer needs.
        order: where the nearest stands: first, or last and so beside the query.
    """
    bos = () if wording.special else bos_ids(tokenizer)

    def with_nearest(kept: int) -> IclPrompt:
        shown = demonstrations[:kept] if order == "nearest-first" else demonstrations[:kept][::-1]
        worded = wording.word(shown, query)
        ids = (*bos, *text_ids(tokenizer, worded.text, special=wording.special))
        return IclPrompt(ids, kept, len(ids) + room <= limit, worded.plainly)

    prompts = (with_nearest(kept) for kept in range(len(demonstrations), 0, -1))
    return next((prompt for prompt in prompts if prompt.fits), None) or with_nearest(0)


def icl_queries(
    lm: LanguageModel,
    wording: Demonstrations,
    demonstrations: Sequence[Sequence[Example]],
    rows: Sequence[Example],
    *,
    limit: int,
    new_tokens: int = 0,
    order: Order = "nearest-first",
) -> list[IclQuery]:
    """Every row as it is asked in context; the loss of its response and what is generated have one and the same prompt.

    Whether a row is usable depends on the row, the wording and the limits alone, never on its demonstrations: all subsets
    are judged on the same rows.

    Args:
        lm: the language model.
        wording: from `choose_demonstrations`.
        demonstrations: [B] the rows to show in front of each, nearest first.
        rows: [B] the rows that are asked.
        limit: the context in tokens, `lm.max_length` or less.
        new_tokens: how many tokens will be generated; room is kept for these and for the response, whichever needs more.
        order: where the nearest demonstration stands.
    """
    found = []
    for shown, row in zip(demonstrations, rows, strict=True):
        response = tuple(text_ids(lm.tokenizer, row.response, special=False))
        room = max(len(response), new_tokens)
        prompt = icl_prompt(lm.tokenizer, wording, shown, row, limit=limit, room=room, order=order)
        found.append(IclQuery(prompt, response))
    _tell(found, [len(shown) for shown in demonstrations], limit)
    return found


def _tell(found: Sequence[IclQuery], shown: Sequence[int], limit: int) -> None:
    """One line for each thing that is not as it was asked for."""
    dropped = [count - query.prompt.kept for count, query in zip(shown, found, strict=True) if query.usable]
    unusable = len(found) - len(dropped)
    plainly = sum(query.prompt.plainly for query in found if query.usable)
    if unusable:
        log.warning(
            "%d of %d rows are left out: prompt and room do not fit %d tokens, or the response has no token",
            *(unusable, len(found), limit),
        )
    if any(dropped):
        log.warning(
            "%d demonstrations are dropped, the farthest first, so that %d of %d prompts fit %d tokens",
            *(sum(dropped), np.count_nonzero(dropped), len(dropped), limit),
        )
    if plainly:
        log.warning(
            "%d of %d prompts are plain text in one user message: the chat template does not take their turns",
            *(plainly, len(dropped)),
        )
