"""The linear datamodeling score knows an influence that predicts training from one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nncift.config import SelectConfig
from nncift.data.rows import Example, Turn
from nncift.errors import ConfigError
from nncift.evaluation import lds
from nncift.evaluation.lds import Halves, draw_halves, holding_own, predictions, score_records, score_sentences
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
    return by_name({"mine": predictions(Influences(kernel, (), ()), members, M)}, halves, seed=seed)


def by_name(
    found: dict[str, np.ndarray], halves: Halves, *, seed: int = 0, left_out: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    none = np.zeros(halves.outcomes.shape[1:], dtype=np.bool_)
    records = score_records(found, halves, left_out=none if left_out is None else left_out, seed=seed)
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
    """Two rows of three, so a half is one row: the sums are the influences themselves. All is there twice, which moves no
    rank correlation, since ten halves are the fewest.

    Halves hold rows 0, 1, 2, 1, 0. Target 0: influences 3, 2, 1 and outcomes 5, 3, 1, 3, 5 agree: 1. Target 1: the same
    influences and the outcomes turned round: -1. Target 2: ranks of the sums (4.5, 2.5, 1, 2.5, 4.5) and of 1, 2, 3, 4, 5
    (1 .. 5): Σ dx·dy = (1.5)(-2) + (-.5)(-1) + (-2)(0) + (-.5)(1) + (1.5)(2) = 0. The second training differs for target 2:
    outcomes 5, 2, 1, 3, 4 give Σ dx·dy = 1.5·2 + -.5·-1 + -2·-2 + -.5·0 + 1.5·1 = 9 over √(9 · 10).
    """
    members = np.eye(3, dtype=bool)[[0, 1, 2, 1, 0] * 2]
    kernel = np.array([[3, 3, 3], [2, 2, 2], [1, 1, 1]], dtype=np.float32)
    first = np.array([[5, 3, 1, 3, 5], [1, 3, 5, 3, 1], [1, 2, 3, 4, 5]], dtype=np.float64).T
    second = first.copy()
    second[:, 2] = [5, 2, 1, 3, 4]
    sums = predictions(Influences(kernel, (), ()), members, 3)
    assert sums.tolist() == [[3] * 3, [2] * 3, [1] * 3, [2] * 3, [3] * 3] * 2
    found = by_name({"mine": sums}, Halves(members, np.stack([np.tile(first, (2, 1)), np.tile(second, (2, 1))])))
    assert found["mine"]["mean"] == pytest.approx(0.5 * (0 + 0) + 0.5 * (9 / 90**0.5) / 3)
    assert found["ceiling"]["mean"] == pytest.approx((1 + 1 - 0.1) / 3)  # -2·2 + -1·-1 + 0·-2 + 1·0 + 2·1 = -1, over 10
    assert found["mine"]["n"] == found["mine"]["n_scored"] == 3 and found["mine"]["halves"] == 10


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
    filled[[3, 5], 1] = 0
    for half, sums in zip(members, found, strict=True):
        np.testing.assert_allclose(sums, filled[half].sum(axis=0), atol=1e-9)
    pointwise = predictions(Influences(kernel[:, :1], (), ()), members, M)
    assert pointwise.shape == (S, M) and (pointwise == pointwise[:, :1]).all()


def test_a_target_that_cannot_be_scored_is_left_out(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=3)
    halves.outcomes[1, 4, 2] = np.nan
    found = scores(kernel, members, halves)
    for record in found.values():
        assert (record["n"], record["n_scored"], record["n_few"]) == (M, M - 1, 0)
    assert found["mine"]["mean"] == pytest.approx(1)


def test_a_kernel_that_says_nothing_of_a_target_gets_nothing_for_it(quick: None) -> None:
    """All halves have one size, so that a constant column predicts the same for all: 0, not left out."""
    kernel, members, halves = world(noise=0, seed=4)
    for level in (0.0, 0.1):
        mute = kernel.copy()
        mute[:, 2:] = level
        found = scores(mute, members, halves)["mine"]
        assert found["mean"] == pytest.approx(2 / M) and (found["n"], found["n_scored"]) == (M, M)
        assert 0 <= found["ci"][0] <= 2 / M <= found["ci"][1] < 0.9
    assert scores(np.zeros((N, M), dtype=np.float32), members, halves)["mine"]["ci"] == [0, 0]


def test_outcomes_that_rank_nothing_leave_the_target_out(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=5)
    halves.outcomes[0, :, 1] = -2.5
    found = scores(kernel, members, halves)
    assert {(record["n_scored"], record["n_few"]) for record in found.values()} == {(M - 1, 0)}
    assert found["mine"]["mean"] == pytest.approx(1) == found["ceiling"]["mean"]


def test_where_nothing_can_be_said_nothing_is_said(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=6, halves=9)
    few = scores(kernel, members, halves)
    halves = world(noise=0, seed=6)[2]
    halves.outcomes[:] = 1.0
    alike = scores(kernel, halves.members, halves)
    for found, count in ((few, M), (alike, 0)):
        for record in found.values():
            assert (record["n_scored"], record["n_few"], record["n"]) == (0, count, M)
            assert record["mean"] is record["ci"] is record["diff_random"] is record["diff_ci"] is None
    assert score_sentences([*few.values()]) == [
        "Linear datamodeling score, 9 half-subsets, 0 of 6 targets (6 left out: fewer than 10 half-subsets without the "
        "target's own text): nothing can be said. Ask for more --half-subsets."
    ]
    assert score_sentences([*alike.values()]) == [
        "Linear datamodeling score, 30 half-subsets, 0 of 6 targets: nothing can be said. Either no target has a loss, or "
        "all trainings left the same."
    ]


def own_world(seed: int) -> tuple[tuple[Example, ...], np.ndarray, Halves, np.ndarray]:
    """The pool is its own target, two rows with one text; a row's own presence is worth more than all the others."""
    texts = [*(f"row {k}" for k in range(N - 1)), "row 0"]
    pool = tuple(Example(str(k), (Turn("assistant", text),), k, k, b"") for k, text in enumerate(texts))
    draw = np.random.default_rng(seed)
    kernel = draw.standard_normal((N, N)).astype(np.float32)
    members = draw_halves(N, 44, seed)
    own = np.array([[a == b for a in texts] for b in texts])
    sums = members @ np.where(own, 50.0, kernel.astype(np.float64))
    kernel[own] = np.nan
    return (
        pool,
        kernel,
        Halves(members, np.stack([sums + 0.3 * draw.standard_normal(sums.shape) for _ in range(2)])),
        own,
    )


def test_a_target_is_ranked_over_the_halves_without_its_own_text(quick: None) -> None:
    pool, kernel, halves, own = own_world(7)
    left_out = holding_own(pool, pool, halves.members)
    assert np.array_equal(left_out, [[any(half & same) for same in own.T] for half in halves.members])
    sums = predictions(Influences(kernel, pool, pool), halves.members, N)
    found = by_name({"mine": sums}, halves, left_out=left_out)
    each, enough = [], 0
    for i in range(N):
        kept = ~left_out[:, i]
        if kept.sum() >= 10:
            enough += 1
            each.append([stats.spearmanr(sums[kept, i], outcome[kept, i]).statistic for outcome in halves.outcomes])
    assert found["mine"]["mean"] == pytest.approx(np.mean(each)) and found["mine"]["mean"] > 0.95
    assert (found["mine"]["n_scored"], found["mine"]["n_few"]) == (enough, N - enough)
    assert by_name({"mine": sums}, halves)["mine"]["mean"] < 0.7, "what the mask is there for"


def test_what_a_target_is_not_ranked_over_plays_no_part(quick: None) -> None:
    pool, kernel, halves, _ = own_world(8)
    left_out = holding_own(pool, pool, halves.members)
    sums = predictions(Influences(kernel, pool, pool), halves.members, N)
    before = by_name({"mine": sums}, halves, left_out=left_out)
    sums[left_out] = 99.0
    halves.outcomes[:, left_out] = -99.0
    again = by_name({"mine": sums}, halves, left_out=left_out)
    assert again == before


def test_targets_with_fewer_than_ten_halves_are_dropped_and_counted(quick: None) -> None:
    kernel, members, halves = world(noise=0, seed=9)
    left_out = np.zeros((S, M), dtype=np.bool_)
    left_out[:20, 1] = left_out[:21, 4] = True
    sums = predictions(Influences(kernel, (), ()), members, M)
    halves.outcomes[:, :, 4] *= -1
    found = by_name({"mine": sums}, halves, left_out=left_out)
    assert {(record["n_scored"], record["n_few"]) for record in found.values()} == {(M - 1, 1)}
    assert found["mine"]["mean"] == pytest.approx(1)
    assert score_sentences([*found.values()])[0] == (
        "Linear datamodeling score, 30 half-subsets, 5 of 6 targets (1 left out: fewer than 10 half-subsets without the "
        "target's own text):"
    )


def test_the_bootstrap_is_that_of_resamples_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every replicate ranked anew by scipy."""
    monkeypatch.setattr(lds, "_REPLICATES", 15)
    kernel, members, halves = world(noise=1.0, seed=10, halves=14)
    left_out = np.random.default_rng(0).random((14, M)) < 0.25
    sums = predictions(Influences(kernel, (), ()), members, M)
    found = by_name({"mine": sums}, halves, left_out=left_out)["mine"]
    assert found["n_scored"] < M, "some target has fewer than ten"
    values = []
    for times, taken in lds._replicates(14, M, 0):
        rho = []
        for i in np.repeat(np.arange(M), taken):
            if (~left_out[:, i]).sum() >= 10:
                drawn = np.repeat(np.arange(14), times * ~left_out[:, i])
                rho.append(
                    [stats.spearmanr(sums[drawn, i], outcome[drawn, i]).statistic for outcome in halves.outcomes]
                )
        values.append(np.mean(rho))
    assert found["ci"] == pytest.approx(np.quantile(values, (0.025, 0.975)).tolist())


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
    found = toy.evaluate("out", run, other, lds=True, half_subsets=10, test=None, pool=None)
    assert [record["subset"] for record in found.records] == ["run", "other", "random kernel", "ceiling"]
    assert all(record["n"] == record["n_scored"] == TARGET for record in found.records)
    assert all(-1 <= record["ci"][0] <= record["ci"][1] <= 1 and record["halves"] == 10 for record in found.records)
    assert len(list((found.folder / "cells").iterdir())) == 20 and "half-subsets" in found.told[0]
    before = (found.folder / "lds.json").read_bytes()
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    toy.evaluate("out", run, other, lds=True, half_subsets=10, test=None, pool=None)
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
