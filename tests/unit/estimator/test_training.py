"""Training: the early stop that means what it says, standardised labels, and the same weights from the same seed."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from nncift.data.labels import Labels
from nncift.errors import ConfigError, ModelError
from nncift.estimator.fitted import FittedEstimator
from nncift.estimator.training import EarlyStopping, TrainingConfig, _split, fit

FAST = TrainingConfig(hidden=(16,), lr=3e-3, epochs=12, patience=4)


def problem(m: int = 9, n: int = 14, d: int = 5, seed: int = 0) -> tuple[Labels, np.ndarray, np.ndarray]:
    """Labels of every pair: a smooth function of the embeddings, and some noise."""
    rng = np.random.default_rng(seed)
    e_target, e_pool = (rng.normal(size=(rows, d)).astype(np.float32) for rows in (m, n))
    kernel = np.tanh(e_target @ e_pool.T) + e_pool[:, 0] + 0.1 * rng.normal(size=(m, n))
    i, j = (axis.ravel().astype(np.int32) for axis in np.meshgrid(np.arange(m), np.arange(n), indexing="ij"))
    return Labels(i, j, kernel.ravel().astype(np.float32), (m, n)), e_target, e_pool


def predict(estimator: FittedEstimator, e_target: np.ndarray | None, e_pool: np.ndarray, i, j) -> np.ndarray:
    return estimator.kernel(e_target, e_pool).at(i, j)


def weights(estimator: FittedEstimator) -> dict[str, torch.Tensor]:
    return estimator.network.state_dict()


def test_zero_loss_stops_after_one_epoch() -> None:
    assert EarlyStopping(1e-3, 5).finish_epoch(loss_sum=0.0, samples=2560, validation=0.0) == "tolerance"


def test_a_loss_of_a_twentieth_on_forty_batches_does_not_stop() -> None:
    stopping = EarlyStopping(1e-3, 5)
    # Forty batches of 64. Divided by the 2,049 inputs instead of the samples it would be 0.00098, below the tolerance.
    assert stopping.finish_epoch(loss_sum=0.05 * 40 * 64, samples=40 * 64, validation=None) is None


def test_patience_counts_from_the_best_epoch() -> None:
    stopping = EarlyStopping(1e-3, 2)
    losses = [0.9, 0.7, 0.8, 0.6, 0.7, 0.61]
    stops = [stopping.finish_epoch(loss_sum=50.0, samples=100, validation=loss) for loss in losses]
    assert stops == [None, None, None, None, None, "patience"]
    assert stopping.best_epoch == 4


def test_constant_labels_warn_stop_early_and_are_predicted(caplog: pytest.LogCaptureFixture) -> None:
    labels, e_target, e_pool = problem()
    labels = replace(labels, y=np.full(len(labels), 7.5, np.float32))
    with caplog.at_level(logging.WARNING):
        estimator = fit(labels, e_target, e_pool, config=replace(FAST, epochs=200, patience=200), seed=0)
    assert "are 7.5" in caplog.text
    assert (estimator.scale, estimator.offset, estimator.stopped) == (0.0, 7.5, "tolerance")
    assert estimator.epochs < 50
    assert (predict(estimator, e_target, e_pool, labels.i, labels.j) == 7.5).all()


def test_labels_that_cannot_be_learnt_run_through_all_epochs() -> None:
    labels, e_target, e_pool = problem()
    labels = replace(labels, y=np.random.default_rng(1).choice([-1.0, 1.0], len(labels)).astype(np.float32))
    config = replace(FAST, lr=1e-5, validation=0.0, patience=12)
    assert fit(labels, e_target, e_pool, config=config, seed=0).stopped == "epochs"


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    labels, e_target, e_pool = problem()
    noisy = replace(labels, y=np.random.default_rng(1).normal(size=len(labels)).astype(np.float32))
    config = replace(FAST, lr=0.01, epochs=30, patience=30)
    long = fit(noisy, e_target, e_pool, config=config, seed=3, refit=False)
    assert 1 <= long.epochs < 30
    short = fit(noisy, e_target, e_pool, config=replace(config, epochs=long.epochs), seed=3, refit=False)
    assert short.epochs == long.epochs
    assert all(torch.equal(weights(short)[name], tensor) for name, tensor in weights(long).items())


def test_the_refit_uses_every_label() -> None:
    labels, e_target, e_pool = problem()
    assert fit(labels, e_target, e_pool, config=FAST, seed=0).labels == len(labels) == 126
    assert fit(labels, e_target, e_pool, config=FAST, seed=0, refit=False).labels == 126 - 13


def test_the_refit_is_the_network_trained_on_all_labels_for_as_many_epochs() -> None:
    labels, e_target, e_pool = problem()
    chosen = fit(labels, e_target, e_pool, config=FAST, seed=0)
    direct = fit(labels, e_target, e_pool, config=replace(FAST, validation=0.0, epochs=chosen.epochs), seed=0)
    assert direct.epochs == chosen.epochs  # its training loss falls in every epoch
    assert (direct.scale, direct.offset) == (chosen.scale, chosen.offset)
    assert all(torch.equal(weights(chosen)[name], tensor) for name, tensor in weights(direct).items())


@pytest.mark.parametrize(("scale", "shift"), [(250.0, -3.0), (1e-3, 0.0), (1.0, 40.0)])
def test_scaled_and_shifted_labels_give_scaled_and_shifted_predictions(scale: float, shift: float) -> None:
    labels, e_target, e_pool = problem()
    moved = replace(labels, y=(scale * labels.y.astype(np.float64) + shift).astype(np.float32))
    config = replace(FAST, lr=0.01, epochs=30)
    plain, other = (
        predict(fit(which, e_target, e_pool, config=config, seed=5), e_target, e_pool, labels.i, labels.j)
        for which in (labels, moved)
    )
    assert np.abs((other - shift) / scale - plain).max() < 1e-4
    assert plain.std() > 0.3


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    labels, e_target, e_pool = problem()
    state, legacy = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (fit(labels, e_target, e_pool, config=FAST, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert all(torch.equal(weights(one)[name], tensor) for name, tensor in weights(same).items())
    assert not torch.equal(weights(one)["layers.0.weight"], weights(other)["layers.0.weight"])


def test_the_number_of_threads_changes_nothing() -> None:
    labels, e_target, e_pool = problem(d=64)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(
                predict(fit(labels, e_target, e_pool, config=FAST, seed=1), e_target, e_pool, labels.i, labels.j)
            )
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert np.abs(found[0] - found[1]).max() < 1e-5


def test_rows_without_labels_do_not_matter() -> None:
    labels, e_target, e_pool = problem()
    few = labels.take((labels.i < 7) & (labels.j > 2))
    wild_target, wild_pool = e_target.copy(), e_pool.copy()
    wild_target[7:], wild_pool[:3] = np.nan, np.inf
    plain, wild = (fit(few, *rows, config=FAST, seed=0) for rows in ((e_target, e_pool), (wild_target, wild_pool)))
    assert all(torch.equal(weights(plain)[name], tensor) for name, tensor in weights(wild).items())


def test_a_pointwise_estimator_learns_scores() -> None:
    e_pool = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    labels = Labels(np.zeros(200, np.int32), np.arange(200, dtype=np.int32), e_pool[:200, 1] ** 2, (1, 300))
    estimator = fit(labels, None, e_pool, config=replace(FAST, epochs=150, patience=30), seed=0)
    fresh = np.arange(200, 300)
    predicted = predict(estimator, None, e_pool, np.zeros(100, np.int32), fresh)
    assert estimator.pointwise
    assert np.corrcoef(predicted, e_pool[fresh, 1] ** 2)[0, 1] > 0.9


def test_embeddings_that_cannot_be_written_are_read_without_a_warning() -> None:
    labels, e_target, e_pool = problem()
    e_target.flags.writeable = e_pool.flags.writeable = labels.y.flags.writeable = False
    assert fit(labels, e_target, e_pool, config=FAST, seed=0).labels == len(labels)


def test_a_step_size_that_diverges_is_an_error() -> None:
    labels, e_target, e_pool = problem()
    with pytest.raises(ModelError, match=r"training diverged.*Lower training\.lr"):
        fit(labels, e_target, e_pool, config=replace(FAST, lr=1e30, epochs=50), seed=0)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": (0,)},
        {"hidden": (100, 2.5)},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"epochs": 0},
        {"epochs": 2.5},
        {"batch_size": True},
        {"patience": -1},
        {"tolerance": -0.1},
        {"validation": 1.0},
        {"validation": -0.1},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"training.{next(iter(change))} is"):
        TrainingConfig(**change)  # type: ignore[arg-type]


def test_the_published_schedule_is_available() -> None:
    paper = TrainingConfig.paper()
    assert (paper.hidden, paper.lr, paper.epochs, paper.batch_size, paper.tolerance) == ((100,), 1e-4, 20, 64, 1e-3)


def test_validation_hides_single_labels_where_everything_has_labels() -> None:
    labels, _, _ = problem()
    train, held = _split(labels, 0.1, 0)
    assert len(train) + len(held) == len(labels) and len(held) == 13
    assert np.array_equal(np.union1d(train.numpy(), held.numpy()), np.arange(len(labels)))
    assert set(labels.j[train.numpy()]) == set(range(14)) and set(labels.i[train.numpy()]) == set(range(9))


def test_validation_hides_whole_candidates_where_most_have_no_label() -> None:
    labels, _, _ = problem(m=20, n=60)
    stripe = labels.take(labels.j < 20)
    train, held = (which.numpy() for which in _split(stripe, 0.1, 0))
    assert len(set(stripe.j[held])) == 2
    assert not set(stripe.j[held]) & set(stripe.j[train])
    block = labels.take((labels.j < 20) & (labels.i < 10))
    train, held = (which.numpy() for which in _split(block, 0.1, 0))
    assert not set(zip(block.i[held], block.j[held], strict=True)) & set(
        zip(block.i[train], block.j[train], strict=True)
    )
    assert len(held) == 2 * 10 + 20 - 2 and len(set(block.i[train])) == 9


def test_without_enough_validation_labels_every_label_trains() -> None:
    labels, e_target, e_pool = problem()
    few = labels.take(np.arange(0, 126, 3))
    assert [len(part) for part in _split(few, 0.1, 0)] == [42, 0]
    assert [len(part) for part in _split(labels, 0.0, 0)] == [126, 0]
    assert fit(few, e_target, e_pool, config=FAST, seed=0, refit=False).labels == 42
