"""Perplexity: how surprised the model is by a row's response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.rows import Example
from nncift.data.wording import choose_wording
from nncift.influence.base import Asked, Calls, Context, Progress, Traits
from nncift.influence.pointwise import Cuts, RowSession, behind_first, mean_loss
from nncift.lm.score import score_responses
from nncift.lm.tokens import tokenize_row, untrainable


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Pointwise mean negative log-likelihood of the response behind its prompt.

    Use it as the baseline that other scores of one model pass per row have to beat; in published comparisons the middle of
    the range does better than its top, and neither is reliably above random. In nats per response token,

        NLL = -mean_t log p(response_t | prompt, response_<t),  y = NLL, or -NLL for the band `low`.

    The response alone is scored, the prompt never is. Where nothing stands in front of a response, neither a prompt nor a
    beginning-of-sequence token, its first token is given; a response with no token to score gets minus infinity.

    Args:
        band: `mid` takes the rows nearest the median, `top` the most surprising, `low` the least surprising.
        wording: `auto` takes the model's chat template where it has one, else the plain prompt; `plain`, `chat`.

    *Cost*: one forward per row.
    *Reference*: Marion et al., When Less is More, 2023; Ivison et al., Large-Scale Data Selection for Instruction Tuning,
    2025 (arXiv 2503.01807), where the middle beats the top.
    """

    band: Literal["low", "mid", "top"] = "mid"
    wording: Literal["auto", "plain", "chat"] = "auto"

    @property
    def traits(self) -> Traits:
        """The rule of selection depends on the band."""
        objective = "middle" if self.band == "mid" else "top-mean"
        return Traits(
            name="perplexity",
            pairwise=False,
            objective=objective,
            needs_model=True,
            servable=True,
            harder=self.band != "low",
        )

    def calls(self, asked: Asked) -> Calls:
        """One forward per row."""
        return Calls(asked.candidates)

    def unscorable(self, context: Context) -> list[int]:
        """Rows without a response token to score."""
        return untrainable(context.lm, choose_wording(context.lm.tokenizer, self.wording), context.pool)

    def start(self, context: Context) -> RowSession:
        """Chooses the wording."""
        lm = context.lm
        wording = choose_wording(lm.tokenizer, self.wording)
        sign = -1.0 if self.band == "low" else 1.0

        def score(rows: Sequence[Example], cuts: Cuts, on_call: Progress) -> Float[ndarray, " R"]:
            values = np.full(len(rows), -np.inf)
            queries = {}
            for k, row in enumerate(rows):
                query = tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length)
                if query is not None and not query.ids:
                    query = behind_first(query)
                if query is None or not query.response:
                    continue
                if query.truncated:
                    cuts.note(row, "prompt or response cut to the context limit")
                queries[k] = query
            scored = score_responses(lm, [()] * len(queries), [*queries.values()], on_progress=on_call)
            values[[*queries]] = [sign * mean_loss(log_probs) for log_probs in scored]
            return values

        return RowSession(context, score, calls=1)
