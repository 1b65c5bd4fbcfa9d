"""Answers in words: what a language model writes behind its prompts, the same whatever company a prompt has.

A row draws its own uniform numbers, by seed and prompt; so a sampled answer, too, is independent of batches, of the order of
the rows and of what was written before, and no global generator is touched.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.errors import ConfigError
from nncift.lm.batches import refuse_nonfinite
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length, pad, within_memory
from nncift.seeds import generator

log = logging.getLogger(__name__)

_COLDEST = 1e-6  # below, logits divided by the temperature leave float32; the likeliest token is then taken anyway


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
        max_new_tokens: the longest answer in tokens, 1 or more.
        temperature: what logits are divided by before a token is drawn, 0 (always the likeliest token) or 1e-6 and more.
        min_p: tokens less probable than this share of the likeliest one's probability are never drawn, in [0, 1].

    Raises:
        ConfigError: a value is out of its range.
    """

    max_new_tokens: int = 150
    temperature: float = 0.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}; it must be 1 or more.")
        if self.temperature != 0 and not _COLDEST <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be 0, or a finite number from 1e-6 on.")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p is {self.min_p}; it must lie between 0 and 1.")

    @classmethod
    def paper(cls) -> Decoding:
        """The paper's sampling: temperature 0.2, min-p 0.1, 150 tokens."""
        return cls(max_new_tokens=150, temperature=0.2, min_p=0.1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Draws the next token of every row of a batch: where its uniform number falls among the summed probabilities.

    Attributes:
        uniform: [B, S] in [0, 1), a number for each row and each token that it may write.
        prompt: how many tokens stand in front of the first one written.
    """

    uniform: Float[ndarray, "B S"]
    prompt: int

    def __call__(self, input_ids: Int[Tensor, "B T"], scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """0 at the token drawn and minus infinity elsewhere, so that taking the largest takes it."""
        wide = torch.float32 if scores.device.type == "mps" else torch.float64  # mps has no float64
        summed = torch.softmax(scores.to(wide), dim=-1).cumsum(-1)
        number = torch.from_numpy(self.uniform[:, input_ids.shape[1] - self.prompt]).to(summed)[:, None]
        chosen = torch.searchsorted(summed, number * summed[:, -1:], right=True).clamp(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


@torch.inference_mode()
def generate(
    lm: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    decoding: Decoding,
    *,
    seed: int,
    on_progress: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """What the model writes behind each prompt, up to its end token or `decoding.max_new_tokens`.

    Prompts are never cut. Where a prompt leaves less room than that in `lm.max_length`, the answer has what is left; answers
    that the full context ended are counted as truncated in the ledger, and told in one warning.

    Args:
        lm: the language model, with an adapter or without.
        prompts: [B] token ids, at least one each.
        decoding: how the next token is chosen.
        seed: of the draws; not used at temperature 0. Equal prompts get equal answers.
        on_progress: called with the number of prompts just finished.

    Returns:
        B texts in the order given, without special tokens and without blanks at their ends.

    Raises:
        ModelError: the model returned NaN or infinity, or the device is out of memory.

    *Cost*: one forward per prompt, and one of a single token for every further token written.
    """
    room = [max(0, min(decoding.max_new_tokens, lm.max_length - len(prompt))) for prompt in prompts]
    endings = _endings(lm)
    written: list[list[int]] = [[] for _ in prompts]
    for batch in _batches(lm, prompts, room, decoding.max_new_tokens):
        if room[batch[0]]:
            chosen = [prompts[k] for k in batch]
            for k, ids in zip(batch, _write(lm, chosen, room[batch[0]], decoding, seed, endings), strict=True):
                written[k] = ids
        on_progress(len(batch))
    cut = sum(
        len(ids) == most < decoding.max_new_tokens and not {*ids[-1:]} & endings
        for ids, most in zip(written, room, strict=True)
    )
    if cut:
        lm.meter.ledger.truncated += cut
        log.warning("%d of %d answers end where the context of %d tokens is full", cut, len(prompts), lm.max_length)
    return [_text(lm, ids, endings) for ids in written]


def _batches(
    lm: LanguageModel, prompts: Sequence[tuple[int, ...]], room: Sequence[int], most: int
) -> Iterator[list[int]]:
    """Positions of prompts of like length that have the same room, so that no row runs past the model's last position; those
    of a model that would see the padding have the same length."""
    groups: dict[int, list[int]] = {}
    for k, prompt in enumerate(prompts):
        alike = room[k] == most and lm.shares_prefixes
        groups.setdefault(0 if alike else len(prompt), []).append(k)
    for _, group in sorted(groups.items()):
        for batch in by_length([len(prompts[k]) + room[k] for k in group], lm.placement.batch_tokens):
            yield [group[k] for k in batch]


def _write(
    lm: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    most: int,
    decoding: Decoding,
    seed: int,
    endings: frozenset[int],
) -> list[list[int]]:
    """The tokens written behind each prompt, an end token included."""
    from transformers import GenerationConfig

    ids, mask = pad(prompts, side="left")
    padding = lm.tokenizer.pad_token_id
    own = GenerationConfig(
        max_new_tokens=most,
        do_sample=False,  # a token is drawn in the scores, and taking the largest takes it
        eos_token_id=sorted(endings) or None,
        pad_token_id=min(endings, default=0) if padding is None else padding,
    )
    with within_memory(lm, work="of prompts and answers"), lm.meter.writing(), _only(lm.model, own):
        found = lm.model.generate(
            input_ids=ids.to(lm.model.device),
            attention_mask=mask.to(lm.model.device),
            generation_config=own,
            logits_processor=_processors(lm, prompts, ids.shape[1], most, decoding, seed),
        )
        written = [_up_to_end(row, endings) for row in found[:, ids.shape[1] :].tolist()]
        lm.meter.wrote([len(row) for row in written])
    return written


def _processors(
    lm: LanguageModel, prompts: Sequence[tuple[int, ...]], longest: int, most: int, decoding: Decoding, seed: int
) -> list[Any]:
    """What the scores of the next token go through: they are counted and checked, and at a temperature a token is drawn."""
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper

    last_only = "logits_to_keep" in signature(lm.model.forward).parameters

    def check(input_ids: Tensor, scores: Tensor) -> Tensor:
        whole = input_ids.shape[1] == longest and not last_only
        lm.meter.head(len(scores) * (longest if whole else 1))
        refuse_nonfinite(lm, scores.amax(-1).cpu().numpy())
        return scores

    if not decoding.temperature:
        return [check]
    names = ["generate/" + ",".join(map(str, prompt)) for prompt in prompts]
    # in float32 the largest is 1 - 2⁻²⁴, which stays below 1 when it is multiplied
    uniform = np.stack([generator(seed, name).random(most, dtype=np.float32) for name in names])
    filters = [MinPLogitsWarper(decoding.min_p)] if decoding.min_p else []
    return [check, TemperatureLogitsWarper(decoding.temperature), *filters, Drawn(uniform, longest)]


@contextmanager
def _only(model: Any, config: Any) -> Iterator[None]:
    """A configuration in the place of the model's own, from which the library takes whatever another one leaves open."""
    own, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = own


def _endings(lm: LanguageModel) -> frozenset[int]:
    """Tokens that end an answer: the tokenizer's end of sequence, and what the model names, such as the end of a turn."""
    named = lm.model.generation_config.eos_token_id
    found = {lm.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return frozenset(int(token) for token in found if token is not None)


def _up_to_end(ids: list[int], endings: frozenset[int]) -> list[int]:
    """The tokens up to the first that ends an answer, that one included."""
    first = next((place for place, token in enumerate(ids) if token in endings), len(ids))
    return ids[: first + 1]


def _text(lm: LanguageModel, ids: list[int], endings: frozenset[int]) -> str:
    words = ids[:-1] if {*ids[-1:]} & endings else ids
    return lm.tokenizer.decode(words, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
