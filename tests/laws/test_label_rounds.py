"""The loop of rounds: what it asks for, what it keeps of it, and when it ends, on a teacher whose values are known."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.agreement import spearman
from nncift.estimator.budget import LabelBudget
from nncift.estimator.design import pairs_to_label
from nncift.estimator.openings import Pairs
from nncift.estimator.rounds import Learnt, Round, View, learn_in_rounds
from nncift.estimator.schedule import Schedule

M, N = 40, 150


@dataclass
class Bench:
    """A matrix of noisy column effects, the mean of a candidate's labels as its estimator, and a record of what was asked."""

    noise: float
    seed: int = 0
    silent: tuple[int, ...] = ()
    asked: list[Pairs] = field(default_factory=list)
    told: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.worth = rng.normal(size=N)
        self.values = (self.worth + self.noise * rng.normal(size=(M, N))).astype(np.float32)
        self.values[:, list(self.silent)] = -np.inf

    def draw(self, number: int, count: int, taken: Pairs | None, fitted: ndarray | None) -> Pairs:
        assert (taken is None) == (fitted is None) == (number == 0)
        rng = np.random.default_rng([self.seed, number])
        return pairs_to_label(LabelBudget("count", count), M, N, rng=rng, taken=taken, design="spread")

    def label(self, pairs: Pairs) -> ndarray:
        self.asked.append(pairs)
        return self.values[pairs]

    def fit(self, labels: Labels) -> ndarray:
        assert np.isfinite(labels.y).all()
        assert np.all(np.diff(labels.j.astype(np.int64) * M + labels.i) > 0)
        count = np.bincount(labels.j, minlength=N)
        return np.bincount(labels.j, weights=labels.y, minlength=N) / np.maximum(count, 1)

    def learn(self, schedule: Schedule) -> Learnt:
        return learn_in_rounds(
            schedule,
            (M, N),
            draw=self.draw,
            label=self.label,
            fit=self.fit,
            predict=lambda fitted, pairs: fitted[pairs[1]],
            view=lambda fitted, labels: View(fitted, np.argsort(-fitted, kind="stable")[:15], float(fitted.max())),
            tell=self.told.append,
        )


def auto() -> Schedule:
    found = Schedule.auto(M, N)
    assert found is not None and found.most == 1200
    return found


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_every_pair_is_asked_for_once_and_all_are_kept(noise: float) -> None:
    bench = Bench(noise)
    learnt = bench.learn(auto())
    keys = np.concatenate([j.astype(np.int64) * M + i for i, j in bench.asked])
    assert len(np.unique(keys)) == len(keys)
    assert np.array_equal(learnt.pairs[1].astype(np.int64) * M + learnt.pairs[0], np.sort(keys))
    assert np.array_equal(learnt.y, bench.values[learnt.pairs]) and len(learnt.labels) == len(keys)
    assert [point.labels for point in learnt.rounds] == np.cumsum([len(i) for i, _ in bench.asked]).tolist()
    assert tuple(bench.told) == learnt.rounds and np.array_equal(bench.fit(learnt.labels), learnt.fitted)


def test_it_ends_early_where_labels_tell_much_and_late_where_they_tell_little() -> None:
    clear, noisy = (Bench(noise).learn(auto()) for noise in (0.3, 3.0))
    assert len(clear.labels) < len(noisy.labels) == 1200
    assert "more labels would add at most 0.02" in clear.why and "1,200 labels are the most" in noisy.why
    assert len(clear.rounds) >= 3  # a forecast takes two changes


def test_where_it_ends_is_near_to_what_a_fifth_of_the_pairs_gives() -> None:
    """The promise, over draws: within .03 of the rank correlation that a fifth of the pairs gives."""
    short, counts = [], []
    for seed in range(12):
        bench = Bench(1.0, seed=seed)
        learnt = bench.learn(auto())
        everything = Bench(1.0, seed=seed).learn(Schedule.fixed(1200, M, N))
        short.append(spearman(bench.worth, everything.fitted) - spearman(bench.worth, learnt.fitted))
        counts.append(len(learnt.labels))
    assert np.mean(short) < 0.03 and np.mean(counts) < 1100


def test_what_is_told_of_a_round_is_what_the_rounds_before_said_of_it() -> None:
    bench = Bench(1.0)
    learnt = bench.learn(auto())
    first, second, third = learnt.rounds[:3]
    assert (first.ahead, first.likeness, first.jaccard, first.reached) == (None,) * 4 and second.reached is None
    (i0, j0), (i1, j1) = bench.asked[:2]
    before = bench.fit(Labels(i0, j0, bench.values[i0, j0], (M, N)))
    y, p = bench.values[i1, j1].astype(np.float64), before[j1]
    mean = bench.values[i0, j0].astype(np.float64).mean()
    assert second.ahead is not None
    assert second.ahead.r2 == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - mean) ** 2).sum(), rel=1e-5)
    assert second.ahead.spearman == pytest.approx(spearman(y, p))
    order = [(a, b) for a in range(len(y)) for b in range(a) if i1[a] == i1[b]]
    right = [0.5 + 0.5 * np.sign(y[a] - y[b]) * np.sign(p[a] - p[b]) for a, b in order]
    assert second.ahead.concordance == pytest.approx(np.mean(right))
    i, j = (np.concatenate(axis) for axis in ((i0, i1), (j0, j1)))
    by_key = np.lexsort((i, j))
    now = bench.fit(Labels(i[by_key], j[by_key], bench.values[i, j][by_key], (M, N)))
    assert second.likeness == pytest.approx(spearman(before, now))
    sets = [set(np.argsort(-means, kind="stable")[:15].tolist()) for means in (before, now)]
    assert second.jaccard == pytest.approx(1 - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert third.reached is not None and third.reference is not None and third.reached <= third.reference
    assert all(word in third.words() for word in (f"{third.labels:,} labels", "R²", "subset changed by", "forecast"))


def test_candidates_that_cannot_be_scored_are_asked_for_and_left_out() -> None:
    bench = Bench(1.0, silent=(3, 77))
    learnt = bench.learn(auto())
    assert np.isneginf(learnt.y).sum() == np.isin(learnt.pairs[1], (3, 77)).sum() > 0
    assert len(learnt.labels) == np.isfinite(learnt.y).sum() < len(learnt.y)
    with pytest.raises(ConfigError, match="no two of the pairs that were labelled have an influence"):
        Bench(1.0, silent=tuple(range(N))).learn(auto())


def test_a_fixed_number_of_labels_does_not_end_early() -> None:
    learnt = Bench(0.01).learn(Schedule(100, 400, 1200, stops=False))
    assert [point.labels for point in learnt.rounds] == [100, 200, 400] and learnt.why == "400 labels were asked for"
