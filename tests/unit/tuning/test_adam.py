"""Adam's direction for one row: hand numbers, and the step that PyTorch's own optimizer takes."""

from __future__ import annotations

import pytest
import torch

from nncift.tuning.adam import Direction, adam_direction, make_adam


def _direction(g: float, *, m: float = 0.0, v: float = 0.0, step: int = 0, direction: Direction) -> float:
    moments = torch.tensor([m]), torch.tensor([v])
    return float(adam_direction(torch.tensor([[g]]), *moments, step=step, direction=direction))


@pytest.mark.parametrize(
    ("g", "direction", "wanted"),
    [
        (0.1, "reference", 3.160698),
        (0.1, "corrected", 0.9999999),
        (1e-5, "reference", 0.00999995),
        (1e-5, "corrected", 0.999001),
    ],
)
def test_hand_numbers_from_zero_moments(g: float, direction: Direction, wanted: float) -> None:
    assert _direction(g, direction=direction) == pytest.approx(wanted, rel=2e-6)


def test_hand_number_from_stored_moments() -> None:
    # m' = .19, v' = .03997; a late step, where the corrections are nearly 1
    assert _direction(0.1, m=0.2, v=0.04, step=100_000, direction="reference") == pytest.approx(0.950356, rel=1e-5)
    assert _direction(0.1, m=0.2, v=0.04, step=100_000, direction="corrected") == pytest.approx(0.950356, rel=1e-5)


def test_is_the_next_step_of_the_optimizer_for_every_row() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(11, generator=draw)
    gradients = torch.randn(5, 11, generator=draw)
    history = torch.randn(3, 11, generator=draw)
    for b in range(5):
        weight = torch.nn.Parameter(start.clone())
        optimizer = make_adam([weight])
        for gradient in history:
            weight.grad = gradient.clone()
            optimizer.param_groups[0]["lr"] = 0.01
            optimizer.step()
        kept = {name: value.clone() for name, value in optimizer.state[weight].items()}
        before = weight.detach().clone()
        weight.grad = gradients[b].clone()
        optimizer.step()
        taken = (before - weight.detach()) / 0.01
        asked = gradients.clone()
        got = adam_direction(asked, kept["exp_avg"], kept["exp_avg_sq"], step=3)
        torch.testing.assert_close(got[b], taken, atol=1e-4, rtol=1e-4)
