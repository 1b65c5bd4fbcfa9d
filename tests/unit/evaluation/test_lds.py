"""The linear datamodeling score knows an influence that predicts training from one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nncift.config import SelectConfig
from nncift.errors import ConfigError
from nncift.evaluation import lds
from nncift.evaluation.lds import Halves, draw_halves, predictions, score_records, score_sentences
from nncift.pipeline import select
from nncift.selection import Influences
from toy_evaluation import POOL, TARGET, Toy, ToyRun, pool_of, read_rows, toy_rows

N, M, S = 24, 6, 30


def world(*, noise: float, seed: int, halves: int = S) -> tuple[np.ndarray, np.ndarray, Halves]:
    """A kernel [n, m] that outcomes come of: rows of a half add up, and each training adds its own noise."""
    draw = np.random.default_rng(seed)
    kernel = draw.standard_normal((N, M)).astype(np.float32)
    members = draw_halves(N, halves, seed)
    sums = members @ kernel.astype(np.float64)
    outcomes = np.stack([sums + noise * draw.standard_normal(sums.shape) for _ in range(2)])
    return kernel, members, Halves(members, outcomes)


def scores(kernel: np.ndarray, members: np.ndarray, halves: Halves, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    seen = Influences(kernel, (), ())
    records = score_records({"mine": predictions(seen, members, M)}, halves, seed=seed)
    return {record["subset"]: record for record in records}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lds, "_REPLICATES", 100)


@pytest.mark.parametrize("n", [7, 24, 31])
def test_halves_are_of_one_size_and_the_same_again(n: int) -> None:
    members = draw_halves(n, 40, 3)
    assert (members.sum(axis=1) == n // 2).all() and members.shape == (40, n)
    assert np.array_equal(members, draw_halves(n, 40, 3)) and np.array_equal(members[:9], draw_halves(n, 9, 3))
    assert not np.array_equal(members, draw_halves(n, 40, 4)) and len({row.tobytes() for row in members}) > 20
    share = draw_halves(n, 2000, 0).mean(axis=0)
    assert np.abs(share - n // 2 / n).max() < 5 * 0.5 / 2000**0.5


def test_by_hand(quick: None) -> None:
    """Two rows of three, so a half is one row: the sums are the influences themselves.

    Halves hold rows 0, 1, 2, 1, 0. Target 0: influences 3, 2, 1 and outcomes 5, 3, 1, 3, 5 agree: 1. Target 1: the same
    influences and the outcomes turned round: -1. Target 2: ranks of the sums (4.5, 2.5, 1, 2.5, 4.5) and of 1, 2, 3, 4, 5
    (1 .. 5): Σ dx·dy = (1.5)(-2) + (-.5)(-1) + (-2)(0) + (-.5)(1) + (1.5)(2) = 0. The second training differs for target 2:
    outcomes 5, 2, 1, 3, 4 give Σ dx·dy = 1.5·2 + -.5·-1 + -2·-2 + -.5·0 + 1.5·1 = 9 over √(9 · 10).
    """
    members = np.eye(3, dtype=bool)[[0, 1, 2, 1, 0]]
    kernel = np.array([[3, 3, 3], [2, 2, 2], [1, 1, 1]], dtype=np.float32)
    first = np.array([[5, 3, 1, 3, 5], [1, 3, 5, 3, 1], [1, 2, 3, 4, 5]], dtype=np.float64).T
    second = first.copy()
    second[:, 2] = [5, 2, 1, 3, 4]
    sums = predictions(Influences(kernel, (), ()), members, 3)
    assert sums.tolist() == [[3] * 3, [2] * 3, [1] * 3, [2] * 3, [3] * 3]
    found = {r["subset"]: r for r in score_records({"mine": sums}, Halves(members, np.stack([first, second])), seed=0)}
    assert found["mine"]["mean"] == pytest.approx(0.5 * (0 + 0) + 0.5 * (9 / 90**0.5) / 3)
    assert found["ceiling"]["mean"] == pytest.approx((1 + 1 - 0.1) / 3)  # -2·2 + -1·-1 + 0·-2 + 1·0 + 2·1 = -1, over 10
    assert found["mine"]["n"] == found["mine"]["n_scored"] == 3 and found["mine"]["halves"] == 5


def test_the_true_kernel_is_found(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=1)
    found = scores(kernel, members, halves)
    assert found["mine"]["mean"] == pytest.approx(1) == found["ceiling"]["mean"]
    assert found["mine"]["ci"] == pytest.approx([1, 1]) and found["mine"]["diff_ci"][0] > 0.5
    assert abs(found["random kernel"]["mean"]) < 0.3
    lines = score_sentences([*found.values()])
    assert lines[0] == "Linear datamodeling score, 30 half-subsets, 6 of 6 targets:"
    assert (
        lines[1]
        == "mine: 1.000 (1.000 to 1.000), above a random kernel, 100% of what an influence without noise would reach"
    )


def test_noise_takes_more_of_the_ceiling_than_of_the_truth(quick: None) -> None:
    """Both trainings are noisy, the true kernel is not: it scores about the root of the ceiling."""
    ceilings, truths = [], []
    for seed in range(12):
        kernel, members, halves = world(noise=2.5, seed=seed, halves=60)
        found = scores(kernel, members, halves)
        ceilings.append(found["ceiling"]["mean"])
        truths.append(found["mine"]["mean"])
        assert found["random kernel"]["mean"] < found["ceiling"]["mean"] < found["mine"]["mean"] < 1
    assert np.mean(truths) == pytest.approx(np.mean(ceilings) ** 0.5, abs=0.03)


def test_the_interval_of_a_random_kernel_covers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lds, "_REPLICATES", 40)
    missed = apart = 0
    for seed in range(200):
        draw = np.random.default_rng(1000 + seed)
        _, members, halves = world(noise=1.0, seed=seed, halves=16)
        found = scores(draw.standard_normal((N, M)), members, halves, seed=seed)["mine"]
        missed += not found["ci"][0] <= 0 <= found["ci"][1]
        apart += not found["diff_ci"][0] <= 0 <= found["diff_ci"][1]
    assert missed <= 16 and apart <= 16


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 50), shift=st.floats(-9, 9))
def test_scale_and_shift_of_a_target_play_no_part_and_the_sign_does(seed: int, scale: float, shift: float) -> None:
    kernel, members, halves = world(noise=1.0, seed=seed, halves=12)
    draw = np.random.default_rng(seed)
    a, b = scale * draw.uniform(0.5, 2, M), shift * draw.standard_normal(M)
    wide = kernel.astype(np.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lds, "_REPLICATES", 20)
        found, moved, turned = (
            scores(values, members, halves)["mine"] for values in (wide, a * wide + b, -a * wide + b)
        )
    assert moved["mean"] == pytest.approx(found["mean"]) and moved["ci"] == pytest.approx(found["ci"])
    assert turned["mean"] == pytest.approx(-found["mean"])
    assert turned["ci"] == pytest.approx([-end for end in reversed(found["ci"])])


def test_predictions_are_sums_over_members() -> None:
    kernel, members, _ = world(noise=0, seed=2)
    kernel[3, 1] = kernel[5, 1] = np.nan
    found = predictions(Influences(kernel, (), ()), members, M)
    filled = kernel.astype(np.float64)
    filled[[3, 5], 1] = np.delete(filled[:, 1], [3, 5]).mean()
    for half, sums in zip(members, found, strict=True):
        np.testing.assert_allclose(sums, filled[half].sum(axis=0), atol=1e-9)
    pointwise = predictions(Influences(kernel[:, :1], (), ()), members, M)
    assert pointwise.shape == (S, M) and (pointwise == pointwise[:, :1]).all()


def test_a_target_that_cannot_be_scored_is_left_out(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=3)
    halves.outcomes[1, 4, 2] = np.nan
    found = scores(kernel, members, halves)
    assert found["mine"]["mean"] == pytest.approx(1) and (found["mine"]["n"], found["mine"]["n_scored"]) == (M, M - 1)


@pytest.fixture
def run(toy: Toy) -> Path:
    options = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 6}
    return select(SelectConfig.of(options | {"device": "cpu", "output": str(toy.folder / "run")})).folder


def test_from_end_to_end_and_again_without_a_training(
    toy: Toy, run: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    other = toy.folder / "other"
    options = {"pool": toy.pool, "target": toy.target, "influence": "embedding", "embedder": toy.encoder, "budget": 6}
    select(SelectConfig.of(options | {"device": "cpu", "output": str(other)}))
    found = toy.evaluate("out", run, other, lds=True, half_subsets=4, test=None, pool=None)
    assert [record["subset"] for record in found.records] == ["run", "other", "random kernel", "ceiling"]
    assert all(record["n"] == record["n_scored"] == TARGET for record in found.records)
    assert all(-1 <= record["ci"][0] <= record["ci"][1] <= 1 and record["halves"] == 4 for record in found.records)
    assert len(list((found.folder / "cells").iterdir())) == 8 and "half-subsets" in found.told[0]
    before = (found.folder / "lds.json").read_bytes()
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    toy.evaluate("out", run, other, lds=True, half_subsets=4, test=None, pool=None)
    assert (found.folder / "lds.json").read_bytes() == before


def test_what_has_no_influences_is_refused(toy: Toy, run: Path) -> None:
    with pytest.raises(ConfigError, match="none is named"):
        toy.evaluate("out", lds=True)
    less = toy.write("less.jsonl", read_rows(toy.pool)[:-3])
    with pytest.raises(ConfigError, match="'run' has other pool or target rows"):
        toy.evaluate("out", run, lds=True, pool=str(less))


def test_a_toy_run_has_the_shape_of_a_real_one(run: Path, toy: Toy) -> None:
    """Guards the hand-made runs of these tests."""
    target, pool = pool_of(toy_rows("target", TARGET)), pool_of(toy_rows("pool", POOL))
    recipe = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 6}
    real = select(SelectConfig.of(recipe | {"device": "cpu", "output": str(run)})).influences()
    made = ToyRun(real.values, target, pool, 6).influences()
    assert real.values.shape == (POOL, TARGET) and real.values.dtype == np.float32
    assert [row.id for row in made.pool] == [row.id for row in real.pool]
    assert [row.id for row in made.targets] == [row.id for row in real.targets]
