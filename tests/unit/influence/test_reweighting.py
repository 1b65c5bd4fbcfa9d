"""The joint objective against finite differences, planted wrong responses and far rows, batching, kills, damage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

from nncift.data.wording import choose_wording
from nncift.influence import reweighting
from nncift.influence.reweighting import Objective, Schedule, learn_weights
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, tokenize_row
from nncift.tuning.lora import attach, detach
from nncift.tuning.losses import row_losses
from teaching import rows
from toys import toy_lm

SHORT = Schedule(epochs=3, batch=4, rank=2, learning_rate=1e-2, weight_rate=0.1, blur=0.2, seed=0)


def _queries(lm: LanguageModel, *pairs: tuple[str, str]) -> list[Query]:
    wording = choose_wording(lm.tokenizer)
    found = [tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length) for row in rows(*pairs)]
    assert all(query is not None for query in found)
    return [query for query in found if query is not None]


def _vectors(count: int, *, seed: int, size: int = 5) -> ndarray:
    found = np.random.default_rng(seed).standard_normal((count, size))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def _some(lm: LanguageModel) -> tuple[list[Query], ndarray, ndarray]:
    """Eleven rows of several lengths and three targets."""
    queries = _queries(lm, *[(f"row {k}", "word " * (1 + k % 5) + str(k)) for k in range(11)])
    return queries, _vectors(11, seed=1), _vectors(3, seed=2)


def _learn(lm: LanguageModel, folder: Path, plan: Schedule = SHORT) -> ndarray:
    queries, pool, target = _some(lm)
    return learn_weights(lm, queries, pool, target, schedule=plan, folder=folder, on_progress=lambda count: None)


def test_slopes_of_the_objective_are_those_of_finite_differences() -> None:
    draw = np.random.default_rng(0)
    z, losses, pool, target = draw.normal(size=6), draw.random(6) + 0.5, _vectors(6, seed=1), _vectors(4, seed=2)
    at = Objective.at(z, pool, target, blur=0.2)
    assert at.weights.sum() == pytest.approx(6)
    for row in range(6):
        step = np.zeros(6)
        step[row] = 1e-5
        ahead, behind = (Objective.at(z + way * step, pool, target, blur=0.2).value(losses) for way in (1, -1))
        slope = (np.log(ahead) - np.log(behind)) / 2e-5
        assert 6 * slope == pytest.approx(at.on_log_weights(losses)[row], abs=1e-5)
        slope = (at.value(losses + step) - at.value(losses - step)) / 2e-5
        assert slope == pytest.approx(at.on_losses()[row], abs=1e-8)


def test_the_weights_of_a_batch_do_not_change_with_a_constant() -> None:
    z, pool, target = np.random.default_rng(0).normal(size=6), _vectors(6, seed=1), _vectors(4, seed=2)
    one, other = (Objective.at(z + shift, pool, target, blur=0.2) for shift in (0.0, -900.0))
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-12)
    assert one.distance == pytest.approx(other.distance)


def test_factors_that_are_zero_are_left_alone() -> None:
    same = np.eye(3, dtype=np.float32)[[0, 0]]
    at = Objective.at(np.zeros(2), same, same[:1], blur=0.2)
    assert at.distance == 0 and at.on_log_weights(np.zeros(2)).tolist() == [0.0, 0.0]
    np.testing.assert_allclose(at.on_log_weights(np.array([1.0, 3.0])), [-0.5, 0.5])


def test_the_adapter_descends_the_joint_objective() -> None:
    lm = toy_lm()
    queries, pool, target = _some(lm)
    queries, pool = queries[:4], pool[:4]
    at = Objective.at(np.array([0.5, -0.3, 0.0, 0.9]), pool, target, blur=0.2)
    adapter = attach(lm, rank=2, alpha=4.0, seed=0)
    with torch.no_grad():
        for weight in adapter.values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    (torch.from_numpy(at.on_losses()).float() * row_losses(lm, queries)).sum().backward()
    slopes = {name: weight.grad.clone() for name, weight in adapter.items() if weight.grad is not None}
    assert slopes.keys() == adapter.keys()
    steepness = float(sum((slope**2).sum() for slope in slopes.values())) ** 0.5

    def value(stride: float) -> float:
        with torch.no_grad():
            for name, weight in adapter.items():
                weight.add_(stride * slopes[name] / steepness)
            found = at.value(row_losses(lm, queries).double().numpy())
            for name, weight in adapter.items():
                weight.sub_(stride * slopes[name] / steepness)
        return found

    assert (value(1e-2) - value(-1e-2)) / 2e-2 == pytest.approx(steepness, rel=1e-2)
    detach(lm)


def _planted(seed: int) -> tuple[list[tuple[str, str]], ndarray]:
    """Sixty rows of a rule (early letters give a's, late letters b's), every fifth with the other response."""
    draw = np.random.default_rng(seed)
    wrong = np.arange(60) % 5 == 0
    late, letter = draw.integers(0, 2, 60), draw.integers(0, 3, 60)
    pairs = [(("abc", "xyz")[late[k]][letter[k]], ("aaaa", "bbbb")[late[k] ^ wrong[k]]) for k in range(60)]
    return pairs, wrong


def _auc(values: ndarray, wrong: ndarray) -> float:
    """How often a right row is above a wrong one."""
    return float((values[~wrong][:, None] > values[wrong][None]).mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_that_break_the_rule_lose_weight_as_the_rule_is_learnt(seed: int, tmp_path: Path) -> None:
    pairs, wrong = _planted(seed)
    lm = toy_lm(batch_tokens=2048)
    same_place = np.eye(3, dtype=np.float32)[np.zeros(60, dtype=int)]
    found = {}
    for rate in (1e-9, 1e-2):
        plan = Schedule(epochs=10, batch=16, rank=8, learning_rate=rate, weight_rate=0.1, blur=0.1, seed=seed)
        found[rate] = learn_weights(
            lm,
            _queries(lm, *pairs),
            same_place,
            np.eye(3, dtype=np.float32)[1:],
            schedule=plan,
            folder=tmp_path / str(rate),
            on_progress=lambda count: None,
        )
    assert _auc(found[1e-2], wrong) >= 0.8
    assert (
        _auc(found[1e-2], wrong) > _auc(found[1e-9], wrong) + 0.1
    )  # an adapter that cannot learn does not know the rule
    assert found[1e-2].mean() == pytest.approx(1)


def test_rows_far_from_the_target_lose_weight_where_all_losses_are_equal(tmp_path: Path) -> None:
    lm = toy_lm(batch_tokens=2048)
    draw = np.random.default_rng(0)
    far = np.arange(20) % 4 == 1
    centres = np.eye(6)[np.where(far, 1, 0)]
    pool = centres + 0.3 * draw.standard_normal((20, 6))
    target = np.eye(6)[np.zeros(7, dtype=int)] + 0.3 * draw.standard_normal((7, 6))
    pool, target = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (pool, target))
    weights = learn_weights(
        lm,
        _queries(lm, ("q", "a")) * 20,
        pool,
        target,
        schedule=replace(SHORT, batch=10),
        folder=tmp_path,
        on_progress=lambda count: None,
    )
    assert weights[far].max() < weights[~far].min()


def test_weights_do_not_depend_on_how_many_rows_go_through_the_model_at_once(tmp_path: Path) -> None:
    one = _learn(toy_lm(batch_tokens=8), tmp_path / "one")
    many = _learn(toy_lm(batch_tokens=4096), tmp_path / "many")
    np.testing.assert_allclose(one, many, atol=1e-5)
    assert np.ptp(one) > 0.1


def test_a_batch_that_holds_everything_and_a_pool_of_one_row(tmp_path: Path) -> None:
    assert len(_learn(toy_lm(), tmp_path / "all", replace(SHORT, batch=500))) == 11
    lm = toy_lm()
    queries, pool, target = _some(lm)
    alone = learn_weights(
        lm, queries[:1], pool[:1], target, schedule=SHORT, folder=tmp_path / "one", on_progress=lambda count: None
    )
    assert alone.tolist() == [1.0]


def test_the_model_is_left_as_it_was_also_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm()
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    _learn(lm, tmp_path / "a")
    monkeypatch.setattr(reweighting, "row_losses", _killed_after(4))
    with pytest.raises(KeyboardInterrupt):
        _learn(lm, tmp_path / "b")
    after = lm.model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def _killed_after(calls: int):
    done: list[int] = []

    def losses(lm: LanguageModel, queries: list[Query]) -> torch.Tensor:
        done.append(1)
        if len(done) > calls:
            raise KeyboardInterrupt
        return row_losses(lm, queries)

    return losses


def test_a_killed_training_goes_on_after_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm(batch_tokens=4096)
    whole = _learn(lm, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reweighting, "row_losses", _killed_after(7))  # three batches an epoch: in the third epoch
        _learn(lm, tmp_path / "killed")
    lm.meter.ledger = Ledger()
    again = _learn(lm, tmp_path / "killed")
    assert again.tobytes() == whole.tobytes()
    assert (lm.meter.ledger.lm_forwards, lm.meter.ledger.lm_backwards) == (11, 11)
    lm.meter.ledger = Ledger()
    assert _learn(lm, tmp_path / "killed").tobytes() == whole.tobytes()
    assert lm.meter.ledger.lm_forwards == 0
    names = [[file.name for file in (tmp_path / name).iterdir()] for name in ("whole", "killed")]
    assert names == [["weights.safetensors"]] * 2


@pytest.mark.parametrize("damage", ["torn", "empty", "noise", "flipped", "other"])
def test_a_damaged_file_is_computed_again(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lm = toy_lm()
    whole = _learn(lm, tmp_path)
    file = tmp_path / "weights.safetensors"
    good = file.read_bytes()
    file.write_bytes(
        {
            "torn": good[:-9],
            "empty": b"",
            "noise": b"\xff" * 90,
            "flipped": good[:-1] + bytes([good[-1] ^ 1]),
            "other": _other(),
        }[damage]
    )
    assert _learn(lm, tmp_path).tobytes() == whole.tobytes()
    assert "computed again" in caplog.text
    assert file.read_bytes() == good


@pytest.mark.parametrize("damage", ["torn", "other"])
def test_a_damaged_epoch_starts_over(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm(batch_tokens=4096)
    whole = _learn(lm, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(reweighting, "row_losses", _killed_after(4))
        _learn(lm, tmp_path / "killed")
    file = tmp_path / "killed" / "epoch.safetensors"
    file.write_bytes(file.read_bytes()[:-9] if damage == "torn" else _other())
    assert _learn(lm, tmp_path / "killed").tobytes() == whole.tobytes()


def _other() -> bytes:
    """A sound file of something else."""
    from safetensors.torch import save

    return save({"x": torch.zeros(3)})
