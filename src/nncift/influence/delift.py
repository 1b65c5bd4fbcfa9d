"""DELIFT: how much better a language model predicts a target when it has seen one pool row as an example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.template import Template, choose_template
from nncift.errors import ConfigError
from nncift.influence.base import Asked, Calls, Context, Progress, Traits
from nncift.influence.pointwise import mean_loss
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Prefix, Query, tokenize_prefix, tokenize_query


@dataclass(frozen=True, slots=True)
class Delift:
    """Pairwise utility of one in-context example.

    Use it when the subset will serve as demonstrations, or to fine-tune towards a target and there is no budget for
    gradients. With p_t the probability of response token t given everything before it,

        d(context) = sqrt(mean_t (1 - p_t)²)  in [0, 1]
        y = d(target alone) - d(target behind the example)  in [-1, 1], higher is better.

    With `distance=nll` d is the mean negative log-likelihood of the response tokens in nats instead, and y, unbounded, is how
    much the example adds to the mean log-probability; a few tokens far off then count for more than many a little off.
    Token t is scored from the logits at t - 1, the same response tokens in both passes; no end-of-sequence token is scored.

    Args:
        kernel: `difference` is y; `exponential` is exp(y), as the method also offers: in [1/e, e] where y is bounded.
        distance: `euclidean` is d above; `nll` the mean negative log-likelihood.
        template: `auto` takes the model's chat template where it has one, else the paper's plain layout; `plain`, `chat`.

    *Cost*: m + L forwards of query and response for m target rows and L pairs, and one of each example used.
    *Reference*: Agarwal et al., DELIFT: Data Efficient Language model Instruction Fine Tuning, 2024, section 3.
    """

    traits: ClassVar[Traits] = Traits(
        name="delift",
        pairwise=True,
        objective="facility-location",
        needs_model=True,
        uses_target=True,
        servable=True,
    )

    kernel: Literal["difference", "exponential"] = "difference"
    distance: Literal["euclidean", "nll"] = "euclidean"
    template: Literal["auto", "plain", "chat"] = "auto"

    def calls(self, asked: Asked) -> Calls:
        """One forward per pair, and one per target without an example."""
        return Calls(asked.targets + asked.pairs)

    def start(self, context: Context) -> DeliftSession:
        """Chooses the template; nothing is tokenised yet."""
        template = choose_template(context.lm.tokenizer, self.template)
        measure = mean_loss if self.distance == "nll" else distance
        return DeliftSession(context, context.lm, template, self.kernel, measure)


class DeliftSession:
    """DELIFT at work: tokenises rows when they are first asked for."""

    def __init__(
        self, context: Context, lm: LanguageModel, template: Template, kernel: str, measure: Callable[[ndarray], float]
    ) -> None:
        self.context = context
        self.lm = lm
        self.template = template
        self.kernel = kernel
        self.measure = measure
        self.alone = tokenize_prefix(lm.tokenizer, template, None)
        self.prefixes: dict[int, Prefix] = {}
        self.queries: dict[int, Query] = {}
        self.cut: dict[str, str] = {}
        self.bare: int | None = None

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """The distance of every target without an example: `without`, float64 [T], beside its positions `targets`."""
        queries = [self._query(int(i)) for i in targets]
        return {"targets": targets, "without": self._distances([self.alone.ids] * len(queries), queries, on_progress)}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Utilities of pool rows `j` as examples for targets `i`."""
        queries = [self._query(int(row)) for row in i]
        prefixes = [self._prefix(int(row), query) for row, query in zip(j, queries, strict=True)]
        without = prepared["without"][np.searchsorted(prepared["targets"], i)]
        utility = without - self._distances(prefixes, queries, on_progress)
        return (np.exp(utility) if self.kernel == "exponential" else utility).astype(np.float32)

    def truncated(self) -> dict[str, str]:
        """Rows that lost text so far."""
        return dict(self.cut)

    def _distances(
        self, prefixes: Sequence[tuple[int, ...]], queries: Sequence[Query], on_progress: Progress
    ) -> Float[ndarray, " L"]:
        scored = score_responses(self.lm, prefixes, queries, on_progress=on_progress)
        return np.array([self.measure(log_probs) for log_probs in scored], dtype=np.float64)

    def _query(self, i: int) -> Query:
        if i not in self.queries:
            target = self.context.targets[i]
            room = self.lm.max_length - self._bare()
            self.queries[i] = tokenize_query(self.lm.tokenizer, self.template, target, limit=room)
            if self.queries[i].truncated:
                self._note(target.id, "prompt or response cut to the context limit, alike with and without examples")
        return self.queries[i]

    def _prefix(self, j: int, query: Query) -> tuple[int, ...]:
        if j not in self.prefixes:
            self.prefixes[j] = tokenize_prefix(self.lm.tokenizer, self.template, self.context.pool[j])
        prefix = self.prefixes[j]
        fitted = prefix.fit(self.lm.max_length - len(query))
        if len(fitted) < len(prefix.ids):
            self._note(self.context.pool[j].id, "example text cut from its left to make room for some targets")
        return fitted

    def _bare(self) -> int:
        """Tokens of the longer instruction alone: what every pass has in front of the query."""
        if self.bare is None:
            some = tokenize_prefix(self.lm.tokenizer, self.template, self.context.pool[0])
            self.bare = max(len(self.alone.ids), some.head + some.tail) + 2
            if self.bare >= self.lm.max_length:
                raise ConfigError(
                    f"--max-length {self.lm.max_length} leaves no room behind the instruction ({self.bare} tokens). Raise it."
                )
        return self.bare

    def _note(self, row: str, what: str) -> None:
        if row not in self.cut:
            self.context.ledger.truncated += 1
        self.cut[row] = what


def distance(log_probs: Float[ndarray, " R"]) -> float:
    """Length-normalised Euclidean distance between the probabilities of the response tokens and certainty, in [0, 1]."""
    return float(np.sqrt(np.mean((1.0 - np.exp(np.asarray(log_probs, dtype=np.float64))) ** 2)))
