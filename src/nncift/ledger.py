"""What a run spends, counted where it is spent: every place that calls a model adds to the ledger it was handed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Ledger:
    """Counters of one stage. All start at zero and only grow.

    Attributes:
        lm_sequences: sequences whose response was scored by the language model (one per pair, one per target without
            example).
        lm_prefixes: shared prefixes that were encoded (their cost is in `lm_tokens`).
        lm_tokens: tokens that went through the trunk of the language model, padding excluded.
        lm_padding: padding tokens that went through beside them.
        head_tokens: positions for which vocabulary logits were computed.
        encoder_sequences: texts embedded.
        pair_predictions: entries of kernels filled by an estimator.
        truncated: rows that lost text to the context limit.
    """

    lm_sequences: int = 0
    lm_prefixes: int = 0
    lm_tokens: int = 0
    lm_padding: int = 0
    head_tokens: int = 0
    encoder_sequences: int = 0
    pair_predictions: int = 0
    truncated: int = 0

    def add(self, other: Ledger) -> None:
        """Adds the counters of another ledger to this one."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def record(self) -> dict[str, int]:
        """The counters as plain numbers for JSON."""
        return asdict(self)
