"""Log-probabilities of given tokens from hidden states, without ever holding a row of logits for every position.

The vocabulary is walked in tiles with a running maximum and a running sum of exponentials, so that a model with 262,144
words needs megabytes where full logits need gigabytes. Models that bend their logits (soft-capping, a constant scale)
are bent the same way; `OutputHead.of` proves it on a probe against the model's own logits before it is trusted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

log = logging.getLogger(__name__)

_CPU_TILE = (
    1 << 20
)  # logits alive at once: 4 MiB in float32 stay in the second-level cache; larger tiles were 1.3-3x slower
_GPU_TILE = 1 << 24


@dataclass(frozen=True, slots=True)
class OutputHead:
    """The output head of a causal language model.

    Attributes:
        weight: [V, d], the (often tied) output embedding.
        bias: [V] or None.
        scale: what logits are multiplied by.
        cap: soft cap (`cap * tanh(logits / cap)`) or None.
    """

    weight: Float[Tensor, "V d"]
    bias: Float[Tensor, " V"] | None
    scale: float
    cap: float | None

    def log_probs(self, hidden: Float[Tensor, "R d"], tokens: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """Natural-log probability of each token under the distribution that its hidden state predicts, float32.

        *Cost*: R · V · d multiply-adds, and one tile of logits of memory (4 MiB on a CPU).
        """
        if len(hidden) == 0:
            return torch.zeros(0)
        tile = self._tile(len(hidden), hidden.device)
        highest = torch.full((len(hidden), 1), -torch.inf, device=hidden.device)
        total = torch.zeros_like(highest)
        for start in range(0, len(self.weight), tile):
            logits = self._logits(hidden, slice(start, start + tile))
            new = torch.maximum(highest, logits.amax(1, keepdim=True))
            total = total * torch.exp(highest - new) + logits.sub_(new).exp_().sum(1, keepdim=True)
            highest = new
        return self._gold(hidden, tokens) - (highest + total.log()).squeeze(1)

    def logits(self, hidden: Float[Tensor, "R d"], words: Int[Tensor, " K"]) -> Float[Tensor, "R K"]:
        """Logits of a few words, multiplied in float32: in bfloat16 a logit of 20 is rounded to the nearest 0.125."""
        logits = hidden.float() @ self.weight[words].float().T
        if self.bias is not None:
            logits = logits + self.bias[words].float()
        return self._bend(logits)

    def log_probs_for_training(self, hidden: Float[Tensor, "R d"], tokens: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
        """`log_probs` with a gradient with respect to `hidden` alone; the head itself is frozen.

        *Cost*: 2 · R · V · d multiply-adds forward and next to none backward, one tile of logits and R · d numbers of memory.
        """
        return _TiledLogProbs.apply(hidden, tokens, self)  # pyright: ignore[reportReturnType]

    def _tile(self, rows: int, device: torch.device) -> int:
        budget = _CPU_TILE if device.type == "cpu" else _GPU_TILE
        return max(256, min(len(self.weight), budget // rows))

    def _slope(self, bent: Tensor) -> Tensor | None:
        """Derivative of the soft cap where it gave `bent`; None where there is no cap."""
        return None if self.cap is None else 1 - (bent / self.cap) ** 2

    def _logits(self, hidden: Tensor, words: slice) -> Tensor:
        logits = hidden @ self.weight[words].T
        if self.bias is not None:
            logits = logits + self.bias[words]
        return self._bend(logits.float())

    def _gold(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        logits = torch.bmm(hidden.unsqueeze(1), self.weight[tokens].unsqueeze(2)).view(-1)
        if self.bias is not None:
            logits = logits + self.bias[tokens]
        return self._bend(logits.float())

    def _bend(self, logits: Tensor) -> Tensor:
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    @classmethod
    def of(cls, model: torch.nn.Module) -> OutputHead | None:
        """The head of a model, or None where it cannot be reproduced; then whole logits must be taken from the model."""
        embeddings = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
        weight = getattr(embeddings, "weight", None)
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            return None
        config = model.config.get_text_config()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
        head = cls(
            weight.detach(), getattr(embeddings, "bias", None), scale, getattr(config, "final_logit_softcapping", None)
        )
        return head if head._agrees_with(model) else None

    @torch.inference_mode()
    def _agrees_with(self, model: torch.nn.Module) -> bool:
        tokens = torch.arange(1, 9, device=self.weight.device).remainder(len(self.weight)).unsqueeze(0)
        expected = torch.log_softmax(model(input_ids=tokens, use_cache=False).logits[0, :-1].float(), dim=-1)
        hidden = decoder(model)(input_ids=tokens, use_cache=False).last_hidden_state[0, :-1]
        got = self.log_probs(hidden, tokens[0, 1:])
        wanted = expected.gather(1, tokens[0, 1:, None]).squeeze(1)
        if torch.allclose(got, wanted, atol=0.05, rtol=0.02):
            return True
        log.warning(
            "the output head of %s cannot be tiled; whole logits are computed instead, which is slower",
            type(model).__name__,
        )
        return False


class _TiledLogProbs(torch.autograd.Function):
    """Log-probabilities whose gradient is known when they are: the walk over the vocabulary that sums the exponentials also
    sums the output embeddings under them, as attention sums values. Going back over the tiles would cost a third product."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, head: OutputHead) -> Tensor:
        highest = torch.full((len(hidden), 1), -torch.inf, device=hidden.device)
        total = torch.zeros_like(highest)
        mean = torch.zeros(hidden.shape, device=hidden.device)
        tile = head._tile(max(1, len(hidden)), hidden.device)
        for start in range(0, len(head.weight) if len(hidden) else 0, tile):
            words = slice(start, start + tile)
            logits = head._logits(hidden, words)
            new = torch.maximum(highest, logits.amax(1, keepdim=True))
            shrink = torch.exp(highest - new)
            slope = head._slope(logits)
            share = logits.sub_(new).exp_()
            total = total * shrink + share.sum(1, keepdim=True)
            weighted = share if slope is None else share.mul_(slope)
            mean.mul_(shrink).add_(weighted.to(head.weight.dtype) @ head.weight[words])
            highest = new
        gold = head._gold(hidden, tokens)
        slope = head._slope(gold.unsqueeze(1))
        at_token = head.weight[tokens].float()
        ctx.save_for_backward(head.scale * ((at_token if slope is None else slope * at_token) - mean / total))
        ctx.dtype = hidden.dtype
        return gold - (highest + total.log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (slope,) = ctx.saved_tensors
        return (gradients[0][:, None] * slope).to(ctx.dtype), None, None


def decoder(model: torch.nn.Module) -> torch.nn.Module:
    """The trunk of a causal language model: everything but the output head."""
    return model.get_decoder()  # pyright: ignore[reportCallIssue]
