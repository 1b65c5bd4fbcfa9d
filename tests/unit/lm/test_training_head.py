"""The gradient of the tiled head is that of plain logits, whatever bends them."""

from __future__ import annotations

import pytest
import torch

from nncift.lm import head as module
from nncift.lm.head import OutputHead

R, D, V = 7, 5, 611


def _head(*, bias: bool, scale: float, cap: float | None) -> OutputHead:
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(V, D, generator=draw)
    return OutputHead(weight, torch.randn(V, generator=draw) if bias else None, scale, cap)


def _plain(head: OutputHead, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    logits = hidden @ head.weight.double().T + (0 if head.bias is None else head.bias.double())
    logits = logits * head.scale
    logits = logits if head.cap is None else head.cap * torch.tanh(logits / head.cap)
    return torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None]).squeeze(1)


@pytest.mark.parametrize("tile", [1, 1 << 20])
@pytest.mark.parametrize(("bias", "scale", "cap"), [(False, 1.0, None), (True, 0.7, None), (True, 1.3, 2.0)])
def test_equals_autograd_of_plain_logits(
    bias: bool, scale: float, cap: float | None, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CPU_TILE", tile)  # 1 walks three tiles of 256 words
    head = _head(bias=bias, scale=scale, cap=cap)
    draw = torch.Generator().manual_seed(2)
    hidden = torch.randn(R, D, generator=draw).requires_grad_()
    tokens = torch.randint(V, (R,), generator=draw)
    upstream = torch.randn(R, generator=draw)
    values = head.log_probs_for_training(hidden, tokens)
    (got,) = torch.autograd.grad(values, hidden, upstream)
    exact = hidden.detach().double().requires_grad_()
    wanted_values = _plain(head, exact, tokens)
    (wanted,) = torch.autograd.grad(wanted_values, exact, upstream.double())
    torch.testing.assert_close(values.double(), wanted_values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.double(), wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head.log_probs(hidden.detach(), tokens), values.detach(), atol=1e-5, rtol=1e-5)


def test_bfloat16_keeps_its_format_and_is_near() -> None:
    head = _head(bias=False, scale=1.0, cap=None)
    small = OutputHead(head.weight.bfloat16(), None, 1.0, None)
    hidden = torch.randn(R, D, generator=torch.Generator().manual_seed(3)).bfloat16().requires_grad_()
    tokens = torch.arange(R)
    (got,) = torch.autograd.grad(small.log_probs_for_training(hidden, tokens).sum(), hidden)
    exact = hidden.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(
        _plain(OutputHead(small.weight.double(), None, 1.0, None), exact, tokens).sum(), exact
    )
    assert got.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(got.double(), wanted).min() > 0.999


def test_no_position_has_no_gradient() -> None:
    hidden = torch.zeros(0, D, requires_grad=True)
    values = _head(bias=True, scale=1.0, cap=None).log_probs_for_training(hidden, torch.zeros(0, dtype=torch.long))
    values.sum().backward()
    assert values.shape == (0,) and hidden.grad is not None and hidden.grad.shape == (0, D)
