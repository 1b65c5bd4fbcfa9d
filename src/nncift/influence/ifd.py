"""Instruction-following difficulty: how much of a response the instruction does not give away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.rows import Example
from nncift.data.wording import Wording, choose_wording
from nncift.influence.base import Asked, Calls, Context, Progress, Traits
from nncift.influence.pointwise import Cuts, RowSession, behind_first, mean_loss
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query, bos_ids, tokenize_row

Form = Literal["loss", "perplexity"]


@dataclass(frozen=True, slots=True)
class InstructionFollowingDifficulty:
    """Pointwise: the loss of an answer behind its instruction over its loss without.

    Use it as a cheap measure of difficulty where there is no target. With CE the mean cross-entropy over the same answer
    tokens A in both passes, in nats,

        ratio = CE(A | Q) / CE(A),  y = ratio where ratio <= 1, else 1 - ratio; higher is better.

    The method takes the highest ratios and drops those above 1, where the instruction Q does not help the answer: here they
    are negative, below every other row and the worst one lowest. Alone, the answer stands behind the beginning-of-sequence
    token only; where the tokenizer puts none in front, its first token is left out of both means. Minus infinity: no token
    is left to score, or only CE(A) is zero; where both are, the ratio is 1.

    Args:
        form: `loss` is the ratio above; `perplexity` is exp(CE(A | Q)) / exp(CE(A)), as Superfiltering takes it.
        wording: `auto` takes the model's chat template where it has one, else the plain prompt; `plain`, `chat`.

    *Cost*: two forwards per row.
    *Reference*: Li et al., From Quantity to Quality, 2024 (arXiv 2308.12032); Li et al., Superfiltering, 2024 (arXiv
    2402.00530).
    """

    traits: ClassVar[Traits] = Traits(name="ifd", pairwise=False, objective="top-mean", needs_model=True, servable=True)

    form: Form = "loss"
    wording: Literal["auto", "plain", "chat"] = "auto"

    def calls(self, asked: Asked) -> Calls:
        """Two forwards per row."""
        return Calls(2 * asked.candidates)

    def unscorable(self, context: Context) -> list[int]:
        """Rows without an answer token to score in both passes."""
        lm, wording = context.lm, choose_wording(context.lm.tokenizer, self.wording)
        return [k for k, row in enumerate(context.pool) if _both(lm, wording, row) is None]

    def start(self, context: Context) -> RowSession:
        """Chooses the wording."""
        lm = context.lm
        wording = choose_wording(lm.tokenizer, self.wording)

        def score(rows: Sequence[Example], cuts: Cuts, on_call: Progress) -> Float[ndarray, " R"]:
            values = np.full(len(rows), -np.inf)
            passes = {}
            for k, row in enumerate(rows):
                both = _both(lm, wording, row)
                if both is None:
                    continue
                if both[0].truncated:
                    cuts.note(row, "prompt or response cut to the context limit, the response alike with and without")
                passes[k] = both
            queries = [query for both in passes.values() for query in both]
            scored = score_responses(lm, [()] * len(queries), queries, on_progress=on_call)
            losses = np.array([mean_loss(log_probs) for log_probs in scored]).reshape(-1, 2)
            values[[*passes]] = [difficulty(behind, alone, form=self.form) for behind, alone in losses.tolist()]
            return values

        return RowSession(context, score, calls=2)


def difficulty(behind: float, alone: float, *, form: Form = "loss") -> float:
    """The score of a row from its two losses in nats: CE(A | Q) and CE(A)."""
    if form == "perplexity":
        ratio = float(np.exp(min(behind - alone, 80.0)))  # what float32 can hold
    elif alone == 0.0:
        ratio = 1.0 if behind == 0.0 else np.inf
    else:
        ratio = behind / alone
    return ratio if ratio <= 1 else 1 - ratio


def _both(lm: LanguageModel, wording: Wording, row: Example) -> tuple[Query, Query] | None:
    """The answer behind its instruction and alone, with the same tokens scored; None where there is none to score."""
    behind = tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length)
    if behind is None:
        return None
    alone = Query(bos_ids(lm.tokenizer), behind.response, behind.truncated)
    if not alone.ids:
        behind, alone = behind_first(behind), behind_first(alone)
    return (behind, alone) if alone.response else None
