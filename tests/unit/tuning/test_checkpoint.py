"""A checkpoint gives back every bit, goes on as if nothing had come between, and knows when it is damaged."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from nncift.errors import RunError
from nncift.tuning.adam import make_adam
from nncift.tuning.checkpoint import find_checkpoint, keep_checkpoint, read_tensors, restore_training, write_tensors


def _weights() -> dict[str, torch.nn.Parameter]:
    return {name: torch.nn.Parameter(torch.linspace(-1, 1, size)) for name, size in (("b", 3), ("a", 5))}


def _step(weights: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, count: int) -> None:
    optimizer.param_groups[0]["lr"] = 0.1
    for _ in range(count):
        optimizer.zero_grad()
        sum(((weight - k) ** 4).sum() for k, weight in enumerate(weights.values())).backward()  # pyright: ignore
        optimizer.step()


def test_what_was_kept_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    weights = _weights()
    optimizer = make_adam(list(weights.values()))
    _step(weights, optimizer, 3)
    kept = keep_checkpoint(tmp_path / "c.safetensors", weights, optimizer, step=3, learning_rate=1 / 3)
    found = find_checkpoint(kept.path)
    assert found == kept and found.learning_rate == 1 / 3
    held = found.read()
    for name, weight in weights.items():
        state = optimizer.state[weight]
        assert torch.equal(held.adapter[name], weight)
        assert torch.equal(held.exp_avg[name], state["exp_avg"])
        assert torch.equal(held.exp_avg_sq[name], state["exp_avg_sq"])
    other = _weights()
    again = make_adam(list(other.values()))
    restore_training(other, again, found.state())
    _step(weights, optimizer, 2)
    _step(other, again, 2)
    assert all(torch.equal(weight, other[name]) for name, weight in weights.items())


@pytest.mark.parametrize("place", ["length", "name", "hash", "data", "end", "all"])
def test_no_changed_byte_is_read(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"weight": torch.arange(5.0), "other": torch.ones(2, 3)})
    blob = bytearray(path.read_bytes())
    if place in ("end", "all"):
        blob = blob[:-1] if place == "end" else bytearray(b"8 bytes.[]")
    else:
        at = {"length": 0, "name": blob.index(b"weight"), "hash": blob.index(b"sha256") + 12, "data": len(blob) - 2}
        blob[at[place]] ^= 1
    path.write_bytes(blob)
    with caplog.at_level(logging.WARNING):
        assert read_tensors(path) is None
    assert "t.safetensors is damaged" in caplog.text


def test_what_is_not_there_is_no_damage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_checkpoint(tmp_path / "nowhere") is None and not caplog.text
    weights = _weights()
    optimizer = make_adam(list(weights.values()))
    _step(weights, optimizer, 1)
    kept = keep_checkpoint(tmp_path / "c.safetensors", weights, optimizer, step=1, learning_rate=0.5)
    kept.path.unlink()
    with pytest.raises(RunError, match="gone or damaged"):
        kept.read()
