"""An estimator of other data held against labels of these: right, wrong, by chance, and with too few labels to tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nncift.data.labels import Labels
from nncift.estimator.features import Features, embedding_features
from nncift.estimator.gaussian import GaussianProcess
from nncift.estimator.means import Means
from nncift.estimator.transfer import ANEW, Carried, judge
from nncift.kernel.lowrank import LowRankKernel

M, N = 13, 60


def features(rows: int, side: str, seed: int) -> Features:
    rng = np.random.default_rng(seed)
    return embedding_features(rng.normal(size=(rows, 5)).astype(np.float32), [f"{side}{k}" for k in range(rows)])


class Oracle:
    """Predicts what it is told to, and cannot be fitted again."""

    kind = "oracle"
    labels = 900

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def kernel(self, target: Features | None, pool: Features) -> LowRankKernel:
        """The planted matrix, as factors."""
        rows, columns = self.values.shape
        return LowRankKernel(
            0.0, np.zeros(rows), np.zeros(columns), self.values.astype(np.float32), np.eye(columns, dtype=np.float32)
        )


def planted(seed: int, *, m: int = M, noise: float = 0.5) -> tuple[np.ndarray, Features, Features]:
    """Influences of effects of either side, the target's being large."""
    target, pool = features(m, "t", seed), features(N, "p", seed + 50)
    rng = np.random.default_rng(seed)
    values = 4 * rng.normal(size=(m, 1)) + pool.blocks["embedding"][:, 0] + noise * rng.normal(size=(m, N))
    return values, target, pool


def probe(values: np.ndarray, seed: int, *, targets: int = 9, candidates: int = 24) -> Labels:
    """A third of a block."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(len(values))[:targets], rng.permutation(N)[:candidates]
    every = np.array([(i, j) for j in np.sort(columns) for i in np.sort(rows)], dtype=np.int32)
    i, j = every[np.sort(rng.permutation(len(every))[: max(1, len(every) // 3)])].T
    return Labels(i, j, values[i, j].astype(np.float32), values.shape)


def judged(predicted: np.ndarray, values: np.ndarray, seed: int = 0, **shape: int) -> Carried:
    target, pool = features(len(values), "t", seed), features(N, "p", seed + 50)
    labels = probe(values, seed, **shape)
    return judge(Oracle(predicted), Means(), labels, target, pool, seed=seed)  # pyright: ignore[reportArgumentType]


def test_the_order_counts_and_the_level_of_targets_does_not() -> None:
    values, _, pool = planted(1)
    found = judged(np.tile(pool.blocks["embedding"][:, 0], (M, 1)), values)
    order = found.group.measures["concordance"]
    assert order.value is not None and order.low is not None and order.low > 0.6
    assert found.verdict == "beats" and found.advised
    assert found.group.measures["r2"].value is not None and found.group.measures["r2"].value < 0.3
    assert "the level of single targets does not fit" in found.sentence() and "It carries over" in found.sentence()
    record = json.loads(json.dumps(found.record()))
    assert (
        record["verdict"] == "beats" and record["held_out"] == found.group.labels == 72 and record["trained_on"] == 900
    )


def test_what_is_turned_round_or_chance_is_told() -> None:
    values, _, pool = planted(2)
    worth = np.tile(pool.blocks["embedding"][:, 0], (M, 1))
    wrong = judged(-worth, values)
    assert wrong.verdict == "worse" and "worse than chance" in wrong.sentence() and not wrong.advised
    other = judged(np.random.default_rng(9).normal(size=values.shape), values)
    assert other.verdict == "within chance" and "does not carry over" in other.sentence() and not other.advised


def test_ten_tied_predictions_are_chance() -> None:
    values, _, _ = planted(3)
    found = judged(np.zeros_like(values), values)
    assert found.group.measures["concordance"].value == 0.5 and found.verdict == "within chance"


def test_chance_is_rarely_taken_for_more() -> None:
    """Both sides have effects of candidates of their own, so that only drawing candidates again is honest."""
    verdicts = []
    for seed in range(28):
        rng = np.random.default_rng(1000 + seed)
        values, guess = (rng.normal(size=(M, 1)) + rng.normal(size=N) + 0.3 * rng.normal(size=(M, N)) for _ in "ab")
        verdicts.append(judged(guess, values, seed, targets=9, candidates=20).verdict)
    assert verdicts.count("within chance") >= 23 and verdicts.count("beats") <= 3


def test_beside_an_estimator_trained_anew_that_is_better() -> None:
    values, target, pool = planted(4, noise=0.1)
    weak = np.tile(pool.blocks["embedding"][:, 0], (M, 1)) + 1.6 * np.random.default_rng(0).normal(size=(M, N))
    labels = probe(values, 4, targets=12, candidates=40)
    found = judge(Oracle(weak), GaussianProcess(), labels, target, pool, seed=0)  # pyright: ignore[reportArgumentType]
    assert found.verdict == "beats" and not found.advised
    assert found.rival.high is not None and found.rival.high < 0
    assert "but these labels alone teach more" in found.sentence()
    order = found.group.measures["concordance"]
    assert order.baselines[ANEW] > 0.8 and order.baselines["row + column means"] == 0.5
    assert order.baselines["predict the mean"] == 0.5 and not found.group.measures["spearman"].baselines


def test_one_score_a_row_is_judged_by_its_order() -> None:
    _, _, pool = planted(5)
    worth = pool.blocks["embedding"][:, 0][None]
    values = worth + 0.3 * np.random.default_rng(1).normal(size=(1, N))
    j = np.arange(0, N, 2, dtype=np.int32)
    labels = Labels(np.zeros_like(j), j, values[0, j].astype(np.float32), (1, N))
    found = judge(Oracle(worth), GaussianProcess(), labels, None, pool, seed=0)  # pyright: ignore[reportArgumentType]
    assert found.verdict == "beats" and found.group.measures["concordance"].value is not None
    assert "row_spearman" not in found.group.measures


@pytest.mark.parametrize("count", [1, 9])
def test_too_few_labels_say_nothing(count: int) -> None:
    values, target, pool = planted(6)
    labels = probe(values, 6).take(np.arange(count))
    found = judge(Oracle(values), Means(), labels, target, pool, seed=0)  # pyright: ignore[reportArgumentType]
    assert found.verdict == "unknown" and not found.advised and "Nothing can be said" in found.sentence()
    assert json.dumps(found.record())
