"""SelectIT: a language model grades a row, and is believed as far as it is sure and of one mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.influence.base import Asked, Calls, Context, Progress, Traits
from nncift.influence.pointwise import Cuts, RowSession
from nncift.influence.rating import PROMPTS, Rating, ask_for_rating
from nncift.lm.choices import score_choices
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import text_ids


@dataclass(frozen=True, slots=True)
class SelectIT:
    """Pointwise quality of a row in the eyes of one or several language models.

    Use it where there is no target and the models are able to grade: small base models are not. With P the probabilities of
    the K grades behind a rating prompt, given that one of them follows, and g the likeliest (ties: the lowest),

        token     S_q = g / (K - 1) · Σ_i |P_i - P_g|                in [0, K]
        sentence  S   = mean_q S_q / (1 + alpha · std_q S_q)         over Q prompts, population std
        model     y   = Σ_m θ_m S_m / Σ_m θ_m                        over models with θ_m weights, higher is better.

    Too long rows: instruction and response may each fill half of the room that the rating prompts leave, and more where the
    other needs less; the instruction loses its left end, the response its right end, alike for all prompts. A response
    without a token gets minus infinity.

    Args:
        grades: K, 2 to 9.
        prompts: Q, 1 to 9: how many of the rating prompts are asked.
        alpha: at least 0; how much disagreement between the prompts counts against a row.
        legacy_double_softmax: takes a softmax of P again before S_q, as the published code does; scores shrink about fourfold.
        template: `auto` takes the model's chat template where it has one, and lets its turn begin with "The answer is:";
            `plain` is bare text; `chat`.

    *Cost*: Q forwards per row and model, K rows of the output head at one position each.
    *Reference*: Liu et al., SelectIT: Selective Instruction Tuning for LLMs via Uncertainty-Aware Self-Reflection, 2024,
    section 3.
    """

    traits: ClassVar[Traits] = Traits(
        name="selectit", pairwise=False, objective="top-mean", needs_model=True, several_models=True
    )

    grades: int = 5
    prompts: int = 5
    alpha: float = 0.2
    legacy_double_softmax: bool = False
    template: Literal["auto", "plain", "chat"] = "auto"

    def __post_init__(self) -> None:
        """Raises:
        ConfigError: an option is out of its range.
        """
        for name, value, low, high in (("grades", self.grades, 2, 9), ("prompts", self.prompts, 1, len(PROMPTS))):
            if not low <= value <= high:
                raise ConfigError(f"--option {name} is {value}; expected a whole number from {low} to {high}.")
        if not 0 <= self.alpha < np.inf:
            raise ConfigError(f"--option alpha is {self.alpha}; expected a number of at least 0.")

    def calls(self, asked: Asked) -> Calls:
        """Forwards of one model, one per row and prompt; with several models each makes as many."""
        return Calls(asked.candidates * self.prompts)

    def unscorable(self, context: Context) -> list[int]:
        """Rows whose response has no token for one of the models."""
        tokenizers = [lm.tokenizer for lm in context.lms]
        responses = (row.response for row in context.pool)
        return [k for k, text in enumerate(responses) if not all(text_ids(t, text, special=False) for t in tokenizers)]

    def start(self, context: Context) -> RowSession:
        """Words the question for every model and finds its grades' tokens."""
        if not context.lms:
            raise ConfigError("the influence `selectit` needs at least one language model: add --model.")
        asked = [
            (lm, ask_for_rating(lm, PROMPTS[: self.prompts], grades=self.grades, template=self.template))
            for lm in context.lms
        ]
        weights = np.array([lm.weights for lm in context.lms], dtype=np.float64)

        def score(rows: Sequence[Example], cuts: Cuts, on_call: Progress) -> Float[ndarray, " R"]:
            return model_scores(np.stack([self._sentences(*one, rows, cuts, on_call) for one in asked]), weights)

        return RowSession(context, score, calls=self.prompts * len(asked))

    def _sentences(
        self, lm: LanguageModel, rating: Rating, rows: Sequence[Example], cuts: Cuts, on_call: Progress
    ) -> Float[ndarray, " R"]:
        """What one model thinks of each row."""
        scores = np.full(len(rows), -np.inf)
        texts = {}
        for k, row in enumerate(rows):
            words = rating.words(lm, row)
            if words is None:
                continue
            texts[k], cut = words
            if cut:
                cuts.note(row, "instruction or response cut to make room for the rating prompt")
        prefixes = [prefix for _ in texts for prefix in rating.prefixes]
        queries = [text for text in texts.values() for _ in rating.prefixes]
        logits = score_choices(lm, prefixes, queries, rating.grades, on_progress=on_call)
        tokens = token_scores(logits.reshape(len(texts), self.prompts, self.grades), legacy=self.legacy_double_softmax)
        scores[[*texts]] = sentence_scores(tokens, alpha=self.alpha)
        return scores


def token_scores(logits: Float[ndarray, "... K"], *, legacy: bool = False) -> Float[ndarray, "..."]:
    """The likeliest grade, weighed by how far the others are behind it: from the logits of the K grades, in [0, K]."""
    p = _softmax(logits.astype(np.float64))
    if legacy:
        p = _softmax(p)
    grade = np.argmax(logits, axis=-1)
    highest = np.take_along_axis(p, grade[..., None], axis=-1)
    return (grade + 1) * np.abs(p - highest).sum(axis=-1) / (p.shape[-1] - 1)


def sentence_scores(tokens: Float[ndarray, "... Q"], *, alpha: float) -> Float[ndarray, "..."]:
    """The mean over prompts, divided by one plus `alpha` times their population standard deviation."""
    return tokens.mean(axis=-1) / (1 + alpha * tokens.std(axis=-1))


def model_scores(sentences: Float[ndarray, "M R"], weights: Float[ndarray, " M"]) -> Float[ndarray, " R"]:
    """The mean over models, each by its share of all weights."""
    return (sentences * (weights / weights.sum())[:, None]).sum(axis=0)


def _softmax(logits: Float[ndarray, "... K"]) -> Float[ndarray, "... K"]:
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)
