"""A causal language model, ready to score: what the loader makes and every other file of this room takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from jaxtyping import Float
from numpy import ndarray

from nncift.ledger import Ledger
from nncift.lm.device import Placement
from nncift.lm.head import OutputHead
from nncift.lm.meter import Meter

Scored = tuple[tuple[int, ...], int]
"""Token ids, and the position of the first that is scored, at least 1."""


class Scorer(Protocol):
    """What scores given tokens somewhere else."""

    def score(
        self, sequences: Sequence[Scored], ledger: Ledger, *, on_progress: Callable[[int], None]
    ) -> list[Float[ndarray, " R"]]:
        """Log-probability of every token from the first scored one on, in the order given; calls are counted."""
        ...


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model.

    Attributes:
        name: what the user asked for.
        model: the `transformers` model in evaluation mode; None where a server runs it.
        tokenizer: its tokenizer.
        placement: device, number format and tokens per forward.
        head: the output head in tiles, or None where whole logits must be computed.
        shares_prefixes: whether a left-padded prefix's key-value cache gives what the whole sequence gives.
        fingerprint: hash that tells these weights from others (`nncift.lm.identity`); part of every cache key.
        max_length: the longest sequence that is scored, in tokens.
        weights: number of weights, 0 where a server keeps them.
        meter: counts what the model does.
        quantize: `4bit` where its weights were rounded when it was loaded.
        server: what runs it, where that is not this process: given tokens can be scored, and nothing else.
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
    server: Scorer | None = None
