"""Warm-up training learns, keeps everything by name, and a kill changes no byte."""

from __future__ import annotations

import itertools
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nncift.ledger import Ledger
from nncift.lm.tokens import Query
from nncift.tuning.checkpoint import Checkpoint
from nncift.tuning.lora import detach
from nncift.tuning.losses import row_losses
from nncift.tuning.warmup import Recipe, learning_rate_at, train_adapter, training_key
from toys import toy_lm, toy_queries

RECIPE = Recipe(epochs=3, rank=2, alpha=4, learning_rate=0.02, batch=4)
ROWS = {f"r{k}": query for k, query in enumerate(toy_queries(10))}


def _train(folder: Path, *, rows: dict[str, Query] = ROWS, recipe: Recipe = RECIPE, seed: int = 0) -> list[Checkpoint]:
    lm = toy_lm(batch_tokens=60)
    try:
        return train_adapter(lm, rows, recipe, seed=seed, folder=folder)[1]
    finally:
        detach(lm)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_it_learns_and_counts(tmp_path: Path) -> None:
    lm = toy_lm(batch_tokens=60)
    with torch.no_grad():
        before = row_losses(lm, list(ROWS.values())).mean()
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    trained, checkpoints = train_adapter(lm, ROWS, RECIPE, seed=0, folder=tmp_path / "w", on_progress=done.append)
    assert (ledger.lm_forwards, ledger.lm_backwards) == (30, 30) and sum(done) == 30
    with torch.no_grad():
        assert row_losses(lm, list(ROWS.values())).mean() < before - 0.2
    assert [checkpoint.step for checkpoint in checkpoints] == [3, 6, 9]
    rates = [checkpoint.learning_rate for checkpoint in checkpoints]
    assert rates[0] > rates[1] > rates[2] > 0
    kept = checkpoints[-1].read()
    assert kept.adapter.keys() == kept.exp_avg.keys() == kept.exp_avg_sq.keys() == trained.keys()
    assert all(torch.equal(kept.adapter[name], weight) for name, weight in trained.items())


def test_equals_a_plain_loop_over_whole_batches(tmp_path: Path) -> None:
    """One batch of all rows an epoch: the order cannot matter, and micro-batches must add up to it."""
    recipe = replace(RECIPE, batch=64)
    got = _train(tmp_path / "w", recipe=recipe)[-1].read()
    lm = toy_lm()
    from nncift.tuning.lora import attach

    weights = attach(lm, rank=2, alpha=4, seed=0)
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.0)
    for step in range(3):
        row_losses(lm, list(ROWS.values())).mean().backward()
        optimizer.param_groups[0]["lr"] = learning_rate_at(step, 3, recipe)
        optimizer.step()
        optimizer.zero_grad()
    for name, weight in weights.items():
        torch.testing.assert_close(got.adapter[name], weight.detach(), atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(got.exp_avg_sq[name], optimizer.state[weight]["exp_avg_sq"], atol=1e-4, rtol=1e-2)


def test_a_killed_training_writes_the_same_bytes(tmp_path: Path) -> None:
    _train(tmp_path / "whole")
    _train(tmp_path / "killed")
    (tmp_path / "killed" / "epoch-1.safetensors").unlink()  # what stands behind it is written again
    _train(tmp_path / "killed")
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")


def test_a_damaged_checkpoint_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _train(tmp_path / "w")
    whole = _bytes(tmp_path / "w")
    path = tmp_path / "w" / "epoch-1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    (tmp_path / "w" / "epoch-2.safetensors").write_text("{")
    with caplog.at_level(logging.WARNING):
        _train(tmp_path / "w")
    assert "damaged" in caplog.text and _bytes(tmp_path / "w") == whole


def test_the_order_of_rows_does_not_matter_and_the_seed_does(tmp_path: Path) -> None:
    one = _train(tmp_path / "a")[-1].read().adapter
    turned = _train(tmp_path / "b", rows=dict(reversed(ROWS.items())))[-1].read().adapter
    other = _train(tmp_path / "c", seed=1)[-1].read().adapter
    assert all(torch.equal(one[name], turned[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_key_names_everything_that_matters() -> None:
    lm = toy_lm()
    key = training_key(lm, ROWS, RECIPE, seed=0)
    assert training_key(toy_lm(), dict(reversed(ROWS.items())), RECIPE, seed=0) == key
    others = [
        training_key(lm, ROWS, RECIPE, seed=1),
        training_key(lm, ROWS, replace(RECIPE, rank=3), seed=0),
        training_key(lm, {**ROWS, "r1": Query((1, 9), (7,), False)}, RECIPE, seed=0),
        training_key(lm, {("x" if row == "r1" else row): query for row, query in ROWS.items()}, RECIPE, seed=0),
        training_key(replace(lm, fingerprint="other"), ROWS, RECIPE, seed=0),
        training_key(replace(lm, placement=replace(lm.placement, dtype="bfloat16")), ROWS, RECIPE, seed=0),
    ]
    assert len({key, *others}) == 7


def test_learning_rate_rises_over_the_first_three_in_a_hundred_and_falls_to_zero() -> None:
    recipe = replace(RECIPE, learning_rate=1.0)
    rates = [learning_rate_at(step, 100, recipe) for step in range(100)]
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])
    assert rates[-1] == pytest.approx(1 / 97) and all(a > b for a, b in itertools.pairwise(rates[3:]))
    assert [learning_rate_at(step, 1, recipe) for step in range(1)] == [1.0]
