"""Gradient similarity: whether two rows pull the model the same way, before any training."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np

from nncift.data.wording import WordingName, choose_wording
from nncift.errors import ConfigError
from nncift.influence.base import Asked, Calls, Context, Direct, Traits
from nncift.influence.gradient_features import Adapter, Extraction
from nncift.influence.matching import match
from nncift.lm.tokens import untrainable
from nncift.tuning.features import Kept
from nncift.tuning.lora import attach, detach
from nncift.tuning.warmup import model_key


@dataclass(frozen=True, slots=True)
class GradientSimilarity:
    """Cosine of a row's gradient with a target's, at a fresh adapter on the untrained model.

    Use it as a cheap LESS: no warm-up, one checkpoint, plain gradients on both sides, so that a row has influence 1 on itself.

        y = cos(P ∇loss(row), P ∇loss(target))  in [-1, 1], higher is better.

    Args:
        rank: of the adapter on the attention projections.
        r: numbers that a gradient is projected to; inner products are then off by about 1/√r.
        store: how features are kept, `float16` or `int8`.
        wording: `plain` takes the loss of prompt, line break, response; `chat` the model's chat template; `auto` has the
            choice.

    *Cost*: one forward and one backward per pool row and target asked about; rows · r numbers of disk.
    *Reference*: Pruthi et al., Estimating Training Data Influence by Tracing Gradient Descent, 2020, with one checkpoint.
    """

    traits: ClassVar[Traits] = Traits(
        name="gradsim", pairwise=True, objective="facility-location", needs_model=True, uses_target=True, gradients=True,
        seeded=True, priced="row",
    )  # fmt: skip

    rank: int = 16
    r: int = 8192
    store: Kept = "float16"
    wording: WordingName = "auto"

    def calls(self, asked: Asked) -> Calls:
        """One forward and one backward per row asked about."""
        rows = asked.candidates + asked.targets
        return Calls(rows, rows)

    def unscorable(self, context: Context) -> list[int]:
        """Rows without a token to learn from."""
        return untrainable(context.lm, choose_wording(context.lm.tokenizer, self.wording), context.pool)

    def start(self, context: Context) -> Direct:
        """Takes all gradients, or finds them in the folder."""
        for name in ("rank", "r"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--option {name} is {getattr(self, name)}; it must be 1 or more.")
        wording = choose_wording(context.lm.tokenizer, self.wording)
        key = sha256(f"fresh adapter 1 {model_key(context.lm)} {self.rank} {context.seed}".encode()).hexdigest()
        try:
            weights = attach(context.lm, rank=self.rank, alpha=self.rank, seed=context.seed)
            detach(context.lm)
            adapter = Adapter(self.rank, self.rank, self.r, context.seed)
            extraction = Extraction.of(context, adapter, weights, [None], key=key, kept=self.store)
            return match(context, wording, extraction, np.ones(1))
        finally:
            detach(context.lm)
