"""The gradient of every row's own loss with respect to an adapter, many rows at once.

An adapter's map is y = x Wᵀ, so that row b's gradient of W is the product of the output gradients and the inputs at b's own
positions: one small product a row beside the one backward pass of the whole batch. Each is handed on as soon as the
backward pass has reached it, and nothing of the size rows × weights is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nncift.lm.model import LanguageModel
from nncift.lm.packing import within_memory
from nncift.lm.tokens import Query
from nncift.tuning.losses import row_losses

Sink = Callable[[str, Float[Tensor, "B p_l"]], None]
"""Takes the gradients of one weight by its name: [B, p_l] float32, a row each, in the weight's own element order."""


def row_gradients(
    lm: LanguageModel, names: Iterable[str], queries: Sequence[Query], *, sink: Sink
) -> Float[Tensor, " B"]:
    """Gradient of each row's mean negative log-likelihood with respect to each named adapter weight.

    Args:
        lm: a language model with an adapter (`nncift.tuning.lora.attach`).
        names: adapter weights, as `attach` names them.
        queries: [B] rows of one batch (`nncift.lm.packing.by_length`).
        sink: called once per weight, last layer first. A row without a scored token has gradient zero.

    Returns:
        The rows' losses [B], detached.

    *Cost*: B forwards and B backwards, in one pass; `sink` gets one weight's gradients at a time.
    """
    with _capturing(lm.model, names, sink), within_memory(lm, work="in training"):
        losses = row_losses(lm, queries)
        losses.sum().backward()
    return losses.detach()


@contextmanager
def _capturing(model: torch.nn.Module, names: Iterable[str], sink: Sink) -> Iterator[None]:
    """Sends the gradients of the named maps to `sink`, a row each, instead of adding them up in `.grad`."""
    modules = {name: model.get_submodule(name.removesuffix(".weight")) for name in names}
    for name, module in modules.items():
        module.forward = partial(_RowwiseLinear.apply, module.weight, name, sink)
    try:
        yield
    finally:
        for module in modules.values():
            del module.forward


class _RowwiseLinear(torch.autograd.Function):
    """x Wᵀ whose backward gives every row's gradient of W to a sink and none to W."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, name: str, sink: Sink, x: Tensor) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.name, ctx.sink = name, sink
        return torch.nn.functional.linear(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight, x = ctx.saved_tensors
        (slope,) = gradients
        ctx.sink(ctx.name, torch.bmm(slope.transpose(1, 2), x).flatten(1))
        return None, None, None, slope @ weight if ctx.needs_input_grad[3] else None
