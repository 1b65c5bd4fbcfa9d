"""What a run spends, counted where it is spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(slots=True)
class Ledger:
    """Counters of one stage. All start at zero and only grow. What a language model or an encoder did is counted by hooks
    on its modules, not derived from what was asked for.

    Attributes:
        lm_forwards: sequences that went forward through the language model, in training and for gradients too; one that is
            written counts once, however many tokens it grew by.
        lm_prefixes: shared prefixes that went forward beside them, to be kept as key-value caches.
        lm_backwards: sequences that went backward.
        lm_tokens: tokens that went forward, padding excluded.
        lm_backward_tokens: tokens that went backward, padding excluded.
        lm_padding: padding tokens that went forward beside them.
        head_tokens: positions for which vocabulary logits were computed.
        encoder_forwards: texts that went through the sentence encoder.
        pair_predictions: entries of kernels filled by an estimator.
        truncated: rows that lost text to the context limit.
        flops: estimated floating-point operations: 2 per weight and token forward, 2 more backward, and 2 more each where
            the weights want gradients (in training with adapters they do not) and where activations are computed again;
            padding included, attention scores and adapters not. Embeddings looked up cost none, the output head only where
            logits were computed: 2 per weight and position, in training 4.
    """

    lm_forwards: int = 0
    lm_prefixes: int = 0
    lm_backwards: int = 0
    lm_tokens: int = 0
    lm_backward_tokens: int = 0
    lm_padding: int = 0
    head_tokens: int = 0
    encoder_forwards: int = 0
    pair_predictions: int = 0
    truncated: int = 0
    flops: int = 0

    def add(self, other: Ledger) -> None:
        """Adds the counters of another ledger to this one."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def record(self) -> dict[str, int]:
        """The counters as plain numbers for JSON."""
        return asdict(self)
