"""The direction in which Adam would step for one row, at stored moments that the visit leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Direction = Literal["corrected", "reference"]

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def adam_direction(
    gradients: Float[Tensor, "B p"],
    exp_avg: Float[Tensor, " p"],
    exp_avg_sq: Float[Tensor, " p"],
    *,
    step: int,
    direction: Direction = "corrected",
) -> Float[Tensor, "B p"]:
    """Adam's update direction of each row's gradient, uphill.

    Args:
        gradients: [B, p]; overwritten.
        exp_avg, exp_avg_sq: [p], the moments after `step` steps.
        step: how many steps led to the moments; this one would be the next.
        direction: `corrected` is m̂/(√v̂ + ε) with bias correction, as Adam steps; `reference` is m/√(v + ε) without it, as
            the published code of LESS computes, which damps coordinates whose gradients are below 1e-4.
    """
    first, second = BETAS
    moment = (exp_avg * first).add(gradients, alpha=1 - first)
    square = gradients.square_().mul_(1 - second).add_(exp_avg_sq, alpha=second)
    if direction == "reference":
        return moment.div_(square.add_(EPSILON).sqrt_())
    square.div_(1 - second ** (step + 1)).sqrt_().add_(EPSILON)
    return moment.div_(square).div_(1 - first ** (step + 1))


def make_adam(weights: Sequence[torch.nn.Parameter]) -> torch.optim.AdamW:
    """The optimizer whose directions these are: no weight decay; its learning rate is set before every step."""
    return torch.optim.AdamW(weights, lr=0.0, betas=BETAS, eps=EPSILON, weight_decay=0.0, foreach=False)
