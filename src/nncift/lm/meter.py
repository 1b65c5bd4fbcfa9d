"""Counts what a language model really does, by hooks on its trunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from nncift.ledger import Ledger


class Meter:
    """Hooks on one model that add to whichever ledger is set at the time.

    Attributes:
        ledger: what is added to; whoever starts a piece of work sets its own.
        trunk_weights: weights that every token goes through, embeddings and output head left out.
        head_weights: weights of the output head.
    """

    def __init__(self, model: Any | None) -> None:
        self.ledger = Ledger()
        self._steps: int | None = None
        if model is None:  # a server runs it: whoever asks that counts
            self._trunk, self.trunk_weights, self.head_weights = [], 0, 0
            return
        trunk = model.get_decoder()
        looked_up = {
            w for module in trunk.modules() if isinstance(module, torch.nn.Embedding) for w in module.parameters()
        }
        self._trunk = [weight for weight in trunk.parameters() if weight not in looked_up]  # adapters come and go
        self.head_weights = count_weights(model.get_output_embeddings())
        self.trunk_weights = sum(map(_size_of, self._trunk))
        trunk.register_forward_pre_hook(self._forward, with_kwargs=True)
        trunk.register_forward_hook(self._watch_backward, with_kwargs=True)

    def head(self, positions: int, *, products: int = 1) -> None:
        """Notes that vocabulary logits were computed for some positions.

        Args:
            positions: how many.
            products: with the output matrix, forward and backward together: 1 where nothing is differentiated; a gradient of
                the hidden states takes one more, and a gradient of the matrix another.
        """
        self.ledger.head_tokens += positions
        self.ledger.flops += 2 * products * self.head_weights * positions

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within, the forwards are steps of one batch that is being written: the first counts its rows, the later ones, which
        feed what was written back, their tokens alone."""
        self._steps = 0
        try:
            yield
        finally:
            self._steps = None

    def wrote(self, lengths: Sequence[int]) -> None:
        """Notes, within `writing`, how many tokens each row wrote: what went forward behind its end was padding."""
        idle = sum((self._steps or 0) - length for length in lengths)
        self.ledger.lm_tokens -= idle
        self.ledger.lm_padding += idle

    def _forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows, slots, real = _size(args, kwargs)
        cache = kwargs.get("past_key_values")
        if self._steps is not None:
            self.ledger.lm_forwards += 0 if self._steps else rows
            self._steps += 1
        elif cache is not None and cache.get_seq_length() == 0:
            self.ledger.lm_prefixes += rows
        else:
            self.ledger.lm_forwards += rows
        self.ledger.lm_tokens += real
        self.ledger.lm_padding += slots - real
        self.ledger.flops += 2 * self.trunk_weights * slots

    def _watch_backward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None or not hidden.requires_grad:
            return
        rows, slots, real = _size(args, kwargs)
        wanting = sum(_size_of(weight) for weight in self._trunk if weight.requires_grad)
        # layers that are computed again in the backward pass are not seen by a hook on the trunk
        again = self.trunk_weights if module.training and _computes_again(module) else 0

        def went_back(gradient: Tensor) -> None:
            self.ledger.lm_backwards += rows
            self.ledger.lm_backward_tokens += real
            self.ledger.flops += 2 * (self.trunk_weights + wanting + again) * slots

        hidden.register_hook(went_back)


def count_weights(module: torch.nn.Module | None) -> int:
    """Number of weights of a module, 0 where there is none."""
    return 0 if module is None else sum(map(_size_of, module.parameters()))


def _size_of(weight: Tensor) -> int:
    """Number of weights in a tensor; four-bit weights are packed two to a byte."""
    return weight.numel() * (2 if weight.dtype == torch.uint8 else 1)


def _computes_again(trunk: torch.nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in trunk.modules())


def _size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int, int]:
    """Rows, tokens with padding, and tokens without."""
    given = (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
    ids = next(value for value in given if isinstance(value, Tensor))
    rows, length = ids.shape[:2]
    mask = kwargs.get("attention_mask")
    real = int(mask[:, -length:].sum()) if isinstance(mask, Tensor) and mask.dim() == 2 else rows * length
    return rows, rows * length, real
