"""Fidelity: nothing learnt from is scored, the groups partition, what is not supported is not claimed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.data.labels import Labels
from nncift.estimator.budget import parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.estimator.features import embedding_features
from nncift.estimator.fidelity import AS_KERNEL, Fidelity, measure
from nncift.estimator.holdout import GROUPS, group_masks, hold_out, kernel_shares
from nncift.estimator.perceptron import Network
from nncift.estimator.scoring import TrainingScale, score_group
from nncift.estimator.training import TrainingConfig

M, N, D = 60, 90, 4
FAST = TrainingConfig(hidden=(24,), lr=5e-3, epochs=40, patience=5)
RNG = np.random.default_rng(7)
E_TARGET, E_POOL = (RNG.normal(size=(rows, D)).astype(np.float32) for rows in (M, N))
TARGET, POOL = embedding_features(E_TARGET), embedding_features(E_POOL)
KERNEL = (np.tanh(E_TARGET @ E_POOL.T) + E_TARGET[:, :1] + 0.3 * RNG.normal(size=(M, N))).astype(np.float32)


def labels_of(budget: str, kernel: np.ndarray = KERNEL, seed: int = 0) -> tuple[Labels, str]:
    parsed = parse_labels(budget)
    i, j = pairs_to_label(parsed, *kernel.shape, rng=np.random.default_rng(seed))
    return Labels(i, j, kernel[i, j], kernel.shape), parsed.design(len(kernel))


def judge(labels: Labels, *, design: str = "stripes", seed: int = 0, estimator: object = Network(FAST)) -> Fidelity:
    return measure(labels, TARGET, POOL, design_kind=design, estimator=estimator, seed=seed)  # type: ignore[arg-type]


@dataclass
class Told:
    """Predicts by a function of the pairs and remembers what it was trained and asked on."""

    answer: Callable[[Labels, np.ndarray, np.ndarray], np.ndarray]
    train: Labels | None = None
    asked: set[tuple[int, int]] | None = None

    def fit(self, labels: Labels, target: object, pool: object, *, seed: int) -> Told:
        self.train = labels
        return self

    def kernel(self, target: object, pool: object) -> Told:
        return self

    def at(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        assert self.train is not None
        self.asked = set(zip(i.tolist(), j.tolist(), strict=True))
        return self.answer(self.train, i, j).astype(np.float32)


def remember(train: Labels, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The label where it was seen, and the training mean elsewhere."""
    known = train.dense()[i, j]
    return np.where(np.isnan(known), train.y.mean(), known)


@pytest.mark.parametrize("budget", ["20%", "u=60%", "all"])
def test_nothing_is_scored_that_was_trained_on(budget: str) -> None:
    labels, design = labels_of(budget)
    memory = Told(remember)
    found = judge(labels, design=design, estimator=memory)
    assert memory.train is not None and memory.asked is not None
    trained = set(zip(memory.train.i.tolist(), memory.train.j.tolist(), strict=True))
    assert not trained & memory.asked
    assert len(trained) + len(memory.asked) == len(labels) == found.trained_on + found.held_out
    measures = found.groups["all"].measures
    assert measures["r2"].value == pytest.approx(0, abs=1e-6)
    assert measures["concordance"].value == 0.5
    assert measures["spearman"].value == 0


def test_shuffled_labels_cannot_be_predicted() -> None:
    values = []
    for seed in range(4):
        labels, _ = labels_of("30%", seed=seed)
        shuffled = replace(labels, y=np.random.default_rng(seed).permutation(labels.y))
        found = judge(shuffled, seed=seed).groups["all"].measures
        values.append((found["r2"].value, found["concordance"].value, found["spearman"].value))
    r2, concordance, spearman = np.mean(np.array(values, float), axis=0)
    assert r2 < 0.02
    assert abs(concordance - 0.5) < 0.04 and abs(spearman) < 0.08


def test_a_perfect_and_a_reversed_estimator() -> None:
    labels, _ = labels_of("20%")
    perfect = judge(labels, estimator=Told(lambda train, i, j: KERNEL[i, j]))
    reverse = judge(labels, estimator=Told(lambda train, i, j: -KERNEL[i, j]))
    assert perfect.verdict == "beats" and reverse.verdict == "worse"
    assert perfect.warning() is None and "is worse than row + column means" in str(reverse.warning())
    for group in perfect.groups.values():
        measures = group.measures
        assert (measures["mse"].value, measures["r2"].value) == (0, 1)
        assert measures["spearman"].value == pytest.approx(1)
    assert perfect.groups["all"].measures["concordance"].value == 1
    assert reverse.groups["all"].measures["concordance"].value == 0
    assert perfect.groups["all"].measures["row_spearman"].value == pytest.approx(1)


def test_the_network_learns_the_distance_of_two_numbers() -> None:
    rng = np.random.default_rng(0)
    e_target, e_pool = rng.normal(size=(40, 1)).astype(np.float32), rng.normal(size=(70, 1)).astype(np.float32)
    kernel = np.abs(e_target - e_pool.T)
    labels, design = labels_of("60%", kernel)
    config = TrainingConfig(hidden=(24,), lr=5e-3, epochs=80, tolerance=0)
    rows = embedding_features(e_target), embedding_features(e_pool)
    found = measure(labels, *rows, design_kind=design, estimator=Network(config), seed=0)  # type: ignore[arg-type]
    value = found.groups["all"].measures["r2"].value
    assert value is not None and value > 0.95
    assert found.verdict == "beats"


@given(st.integers(2, 25), st.integers(2, 30), st.floats(0.1, 1), st.integers(0, 99))
def test_the_groups_partition_the_held_out_labels(m: int, n: int, share: float, seed: int) -> None:
    i, j = np.nonzero(np.random.default_rng(seed).uniform(size=(m, n)) < share)
    labels = Labels(i.astype(np.int32), j.astype(np.int32), np.zeros(len(i), np.float32), (m, n))
    held = hold_out(labels, pointwise=False, seed=seed)
    masks = group_masks(labels, held)
    assert np.array_equal(np.sum(list(masks.values()), axis=0), held)
    train = labels.take(~held)
    for words, mask in masks.items():
        assert (np.isin(labels.i[mask], train.i) == ("target seen" in words)).all()
        assert (np.isin(labels.j[mask], train.j) == ("candidate seen" in words)).all()


def test_the_quadrants_of_a_block_have_the_published_sizes() -> None:
    labels, _ = labels_of("u=20%")
    shares = kernel_shares(labels)
    open_ = M * N - 12 * 18
    expected = (0, (M - 12) * 18, 12 * (N - 18), (M - 12) * (N - 18))
    assert [round(shares[words] * open_) for words in GROUPS] == list(expected)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_headline_weighs_the_groups_as_the_kernel_does() -> None:
    labels, design = labels_of("u=50%")

    def wrong_on_new_targets(train: Labels, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return KERNEL[i, j] + ~np.isin(i, train.i)

    found = judge(labels, design=design, estimator=Told(wrong_on_new_targets))
    # Two thirds of the pairs without label have a target without label; of the held-out labels it is about a third.
    assert found.groups[AS_KERNEL].measures["mse"].value == pytest.approx(2 / 3, abs=1e-5)
    assert found.groups["all"].measures["mse"].value == pytest.approx(0.37, abs=0.05)
    stripes = judge(labels_of("30%")[0], estimator=Told(wrong_on_new_targets))
    assert stripes.groups[AS_KERNEL].measures["mse"].value == 0


def test_a_label_of_weight_0_moves_neither_a_figure_nor_its_interval() -> None:
    labels, _ = labels_of("20%")
    weights = (np.arange(len(labels)) % 3 > 0).astype(float)
    group = score_group(
        "some",
        labels,
        labels.y + 5 * (weights == 0),
        {},
        scale=TrainingScale.of(labels.y),
        rng=np.random.default_rng(0),
        pointwise=False,
        weights=weights,
    )
    error, explained = group.measures["mse"], group.measures["r2"]
    assert (error.value, error.low, error.high) == (0, 0, 0)
    assert (explained.value, explained.low, explained.high) == (1, 1, 1)


def test_min_max_units_are_those_of_the_training_labels() -> None:
    labels, _ = labels_of("20%")
    zeros = np.zeros(len(labels))
    group = score_group(
        "some",
        labels,
        zeros,
        {"predict 0": zeros},
        scale=TrainingScale(mean=0.0, low=-2.0, high=3.0),
        rng=np.random.default_rng(0),
        pointwise=False,
    )
    unit = group.measures["mse_unit"]
    assert unit.value == pytest.approx(group.measures["mse"].value / 25)
    assert unit.baselines["predict 0"] == pytest.approx(float((((labels.y + 2) / 5) ** 2).mean()))


def test_what_the_labels_do_not_support_is_not_claimed(caplog: pytest.LogCaptureFixture) -> None:
    labels, _ = labels_of("20%")
    found = judge(labels).groups["all"]
    for name in ("candidate_spearman", "top_overlap"):
        assert found.measures[name].value is None
        assert found.measures[name].missing == f"not measurable with {found.labels} labels"
    with caplog.at_level(logging.WARNING):
        few = judge(labels.take(np.arange(24)))
    assert few.verdict == "unknown" and few.strongest is None
    assert {measure.missing for measure in few.groups["all"].measures.values()} == {
        f"not measurable with {few.held_out} labels"
    }
    assert few.held_out < 10
    assert "Nothing can be said about the estimator" in few.sentence()
    assert f"too few labels could be held out ({few.held_out})" in str(few.warning())
    assert "24 labels are too few" in caplog.text


def test_means_of_candidates_are_measured_where_all_meet_the_same_targets() -> None:
    m, n = 140, 150
    kernel = np.random.default_rng(0).normal(size=(m, n)).astype(np.float32) + np.linspace(0, 3, n, dtype=np.float32)
    labels, design = labels_of("all", kernel)
    truth = Told(lambda train, i, j: kernel[i, j])
    rows = embedding_features(np.zeros((m, 1))), embedding_features(np.zeros((n, 1)))
    found = measure(labels, *rows, design_kind=design, estimator=truth, seed=0)  # type: ignore[arg-type]
    for words in ("target unseen, candidate seen", "target seen, candidate unseen"):
        measures = found.groups[words].measures
        assert measures["candidate_spearman"].value == pytest.approx(1)
        assert measures["top_overlap"].value == 1
        assert measures["top_overlap"].baselines["predict the mean"] == pytest.approx(0.3, abs=0.04)
    assert found.groups["target seen, candidate seen"].measures["top_overlap"].value is None


def test_every_figure_has_its_number_its_interval_and_its_baselines() -> None:
    labels, _ = labels_of("40%")
    found = judge(labels)
    record = json.loads(json.dumps(found.record()))
    assert [group["group"] for group in record["groups"]] == ["all", *GROUPS, AS_KERNEL]
    for name in ("mse", "mse_unit", "r2", "spearman", "concordance", "row_spearman"):
        figure = record["groups"][0]["measures"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["n"] > 10
        assert set(figure["baselines"]) == {
            "predict 0",
            "predict uniform random",
            "predict the mean",
            "row + column means",
        }
    assert record["verdict"] == "beats"
    headline = found.groups[AS_KERNEL]
    assert f"On {headline.labels} held-out labels" in found.sentence()
    assert "It beats the strongest guess that reads no text (row + column means: " in found.sentence()


def test_the_same_seed_judges_the_same() -> None:
    labels, _ = labels_of("20%")
    assert judge(labels).record() == judge(labels).record()
    assert judge(labels).record() != judge(labels, seed=1).record()


def test_a_pointwise_influence_is_judged_on_hidden_candidates() -> None:
    scores = (E_POOL[:, 0] ** 2)[None]
    labels, _ = labels_of("all", scores)
    config = TrainingConfig(hidden=(24,), lr=5e-3, epochs=300, patience=60)
    found = measure(labels, None, POOL, design_kind="pointwise", estimator=Network(config), seed=0)
    assert found.held_out == 18 and list(found.groups) == ["all"]
    assert set(found.groups["all"].measures) == {"mse", "mse_unit", "r2", "spearman", "top_overlap"}
    assert "row + column means" not in found.groups["all"].measures["r2"].baselines
    spearman = found.groups["all"].measures["spearman"].value
    assert spearman is not None and spearman > 0.5
    assert "Of two candidates" not in found.sentence()
