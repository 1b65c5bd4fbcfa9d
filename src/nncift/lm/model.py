"""A causal language model, ready to score: what the loader makes and every other file of this room takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nncift.lm.device import Placement
from nncift.lm.head import OutputHead
from nncift.lm.meter import Meter


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model.

    Attributes:
        name: what the user asked for.
        model: the `transformers` model in evaluation mode.
        tokenizer: its tokenizer.
        placement: device, number format and tokens per forward.
        head: the output head in tiles, or None where whole logits must be computed.
        shares_prefixes: whether a left-padded prefix's key-value cache gives what the whole sequence gives.
        fingerprint: hash that tells these weights from others (`nncift.lm.identity`); part of every cache key.
        max_length: the longest sequence that is scored, in tokens.
        weights: number of weights.
        meter: counts what the model does.
        quantize: `4bit` where its weights were rounded when it was loaded.
    """

    name: str
    model: Any
    tokenizer: Any
    placement: Placement
    head: OutputHead | None
    shares_prefixes: bool
    fingerprint: str
    max_length: int
    weights: int
    meter: Meter
    quantize: str | None = None
