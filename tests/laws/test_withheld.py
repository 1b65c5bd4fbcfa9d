"""Choosing among estimators: whole rows are withheld where it matters, each kind of pair counts as it will, and nothing that
was shown is judged."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest

from nncift import registry
from nncift.data.labels import Labels
from nncift.errors import RunError
from nncift.estimator import auto
from nncift.estimator.auto import AMONG, Auto, FittedAuto, UnsureAuto
from nncift.estimator.base import Unsure
from nncift.estimator.budget import parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.estimator.features import Features, embedding_features
from nncift.estimator.holdout import GROUPS, group_masks, kernel_shares
from nncift.estimator.storage import load, save
from nncift.estimator.withheld import PARTS, Trials, cross_validate, withheld_parts

M, N, D = 30, 50, 4
RNG = np.random.default_rng(3)
TARGET, POOL = (embedding_features(RNG.normal(size=(rows, D)).astype(np.float32)) for rows in (M, N))
EFFECTS = RNG.normal(size=(M, 1)) + RNG.normal(size=(1, N))
NOISE = RNG.normal(size=(M, N))
READ = 2 * (TARGET.blocks["embedding"] @ POOL.blocks["embedding"].T) / D + TARGET.blocks["embedding"][:, :1]


def labels_of(values: np.ndarray, budget: str, *, seed: int = 0) -> Labels:
    i, j = pairs_to_label(parse_labels(budget), *values.shape, rng=np.random.default_rng(seed))
    return Labels(i, j, values[i, j].astype(np.float32), values.shape)


@dataclass
class Spy:
    """Predicts a constant, and remembers what it was shown and asked."""

    constant: float = 0.0
    flops: int = 7
    shown: list[set[tuple[int, int]]] = field(default_factory=list)
    asked: list[list[tuple[int, int]]] = field(default_factory=list)

    def fit(self, labels: Labels, target: object, pool: object, *, seed: int) -> Spy:
        self.shown.append(set(zip(labels.i.tolist(), labels.j.tolist(), strict=True)))
        return self

    def kernel(self, target: object, pool: object) -> Spy:
        return self

    def at(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        self.asked.append(list(zip(i.tolist(), j.tolist(), strict=True)))
        return np.full(len(i), self.constant, np.float32)


def trials(labels: Labels, target: Features | None = TARGET, **spies: Spy) -> Trials:
    return cross_validate(spies, labels, target, POOL, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", ["u=50%", "40%", "8%", "60%"])
def test_every_label_is_withheld_and_none_that_was_shown_is_judged(budget: str) -> None:
    labels, spy = labels_of(EFFECTS, budget), Spy()
    found = trials(labels, spy=spy)
    every = set(zip(labels.i.tolist(), labels.j.tolist(), strict=True))
    assert found.parts == len(spy.shown) == PARTS and found.flops == 7 * PARTS
    for shown, asked in zip(spy.shown, spy.asked, strict=True):
        assert not shown & set(asked) and shown | set(asked) == every
    assert {pair for asked in spy.asked for pair in asked} == every
    assert found.labels == sum(map(len, spy.asked))


def test_whole_rows_are_withheld_where_the_kernel_has_rows_without_labels() -> None:
    """Of a block no pair of labelled rows is left to fill; every target and candidate of a spread has labels."""
    block, spread = labels_of(EFFECTS, "u=50%"), labels_of(EFFECTS, "40%")
    for labels, kinds in ((block, {1, 2, 3}), (spread, {0})):
        found = {place for held in withheld_parts(labels, pointwise=False, seed=1) for place, words in enumerate(GROUPS)
                 if group_masks(labels, held)[words].any()}  # fmt: skip
        assert found == kinds
    pointwise = labels_of(EFFECTS[:1], "60%")
    parts = withheld_parts(pointwise, pointwise=True, seed=1)
    assert np.array_equal(np.sum(parts, axis=0), np.ones(len(pointwise)))


def test_each_kind_of_pair_counts_as_it_will_among_the_pairs_to_fill() -> None:
    """Labels that are 1 for candidates 0 to 4 and 0 for the others; a spy that predicts 0 errs by the weight of the ones."""
    values = np.zeros((M, N))
    values[:, :5] = 1
    labels, spy = labels_of(values, "u=50%", seed=2), Spy()
    found = trials(labels, spy=spy)
    wrong, every = np.zeros(len(GROUPS)), np.zeros(len(GROUPS))
    for held in withheld_parts(labels, pointwise=False, seed=0):
        for place, words in enumerate(GROUPS):
            mask = group_masks(labels, held)[words]
            wrong[place] += labels.y[mask].sum()
            every[place] += mask.sum()
    shares = np.array([kernel_shares(labels)[words] for words in GROUPS])
    there = shares > 0
    assert there.tolist() == [False, True, True, True] and (every[there] >= 10).all()
    assert found.error["spy"] == pytest.approx(float(shares[there] @ (wrong[there] / every[there])))


def test_the_first_within_one_standard_error_wins() -> None:
    error = {"plain": 1.0, "finer": 0.9, "finest": 0.88}
    near = {("plain", "finest"): 0.05, ("finer", "finest"): 0.03}
    assert Trials(5, 100, error, 2.0, near, 0).first() == "finer"
    assert Trials(5, 100, error, 2.0, near | {("plain", "finest"): 0.12}, 0).first() == "plain"
    assert Trials(5, 100, error, 2.0, {}, 0).first() == "finest"
    assert Trials(5, 100, error, 2.0, {}, 0).explained("finer") == pytest.approx(0.55)
    assert Trials(0, 0, dict.fromkeys(error, 0.0), 0.0, {}, 0).first() is None


def test_the_standard_error_is_that_of_the_difference_by_cluster() -> None:
    """Two constants on labels that are the same within a candidate: what varies is how many candidates there are."""
    values = np.tile(np.arange(8.0)[None], (40, 1))
    labels = labels_of(values, "all")
    found = cross_validate({"a": Spy(0.0), "b": Spy(1.0)}, labels, embedding_features(np.zeros((40, 2), np.float32)),
                           embedding_features(np.zeros((8, 2), np.float32)), seed=0)  # type: ignore[arg-type]  # fmt: skip
    apart = (values[0] ** 2 - (values[0] - 1) ** 2) / 8
    expected = np.sqrt(8 / 7 * ((apart - apart.mean()) ** 2).sum())
    assert found.error["a"] - found.error["b"] == pytest.approx(apart.sum())
    assert found.beyond["a", "b"] == found.beyond["b", "a"] == pytest.approx(expected)


def test_many_labels_take_fewer_parts() -> None:
    i, j = (axis.ravel().astype(np.int32) for axis in np.indices((60, 70)))
    labels = Labels(i, j, np.zeros(len(i), np.float32), (60, 70))
    assert len(withheld_parts(labels, pointwise=False, seed=0)) == 2
    assert withheld_parts(labels.take(np.arange(19)), pointwise=False, seed=0) == []


@pytest.mark.parametrize(
    ("values", "among", "winner"),
    [(NOISE, ("means", "gaussian-process"), "means"), (READ, ("means", "gaussian-process"), "gaussian-process")],
)
def test_the_first_stays_unless_another_is_better_beyond_doubt(
    values: np.ndarray, among: tuple[str, ...], winner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "AMONG", among)
    labels = labels_of(values, "9%")
    found = Auto().fit(labels, TARGET, POOL, seed=0)
    assert found.choice.name == winner and found.kind == "auto"
    assert tuple(found.choice.explained) == among and f"`{winner}`, which explains" in found.summary()
    assert isinstance(found, Unsure) is (winner == "gaussian-process")
    direct = registry.load("estimator", winner)().fit(labels, TARGET, POOL, seed=0)
    assert np.array_equal(found.kernel(TARGET, POOL).fill(), direct.kernel(TARGET, POOL).fill())
    assert found.flops > direct.flops and found.weights == direct.weights and found.labels == len(labels)


def test_too_few_labels_to_choose_by_leave_the_default() -> None:
    found = Auto().fit(labels_of(READ, "12"), TARGET, POOL, seed=0)
    assert found.choice.name == "gaussian-process" and "too few labels" in found.summary()


@pytest.mark.parametrize("winner", AMONG)
def test_whichever_won_comes_back_from_its_file(winner: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trials, "first", lambda self: winner)
    found = Auto().fit(labels_of(READ, "4%"), TARGET, POOL, seed=0)
    save(found, tmp_path / "auto", features="some")
    back = load(tmp_path / "auto", Auto(), features="some")
    assert isinstance(back, FittedAuto) and back.choice == found.choice and type(back) is type(found)
    assert isinstance(back, UnsureAuto) is (winner == "gaussian-process")
    assert np.array_equal(back.kernel(TARGET, POOL).fill(), found.kernel(TARGET, POOL).fill())
    assert back.record() == json.loads(json.dumps(found.record()))
    if isinstance(back, UnsureAuto):
        assert isinstance(found, UnsureAuto)
        assert np.array_equal(back.candidate_sd(POOL), found.candidate_sd(POOL))


def test_a_file_chooses_no_code(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Foreign:
        kind: ClassVar[str] = "auto"

        def record(self) -> dict[str, Any]:
            choice = {"name": "os:system", "explained": {}, "parts": 0, "labels": 0}
            return {"choice": choice, "tried": 0, "chosen": {}}

        def tensors(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(auto.registry, "load", lambda kind, name: pytest.fail(f"{name} was imported"))
    save(Foreign(), tmp_path / "auto", features="some")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="'os:system' is none of gaussian-process"):
        load(tmp_path / "auto", Auto(), features=None)
