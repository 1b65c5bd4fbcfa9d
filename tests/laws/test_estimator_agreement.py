"""The figures against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.data.labels import Labels
from nncift.estimator import agreement
from nncift.estimator.baselines import AdditiveMeans, baselines

values = st.lists(st.integers(-4, 4), min_size=2, max_size=30)


def brute_rank(x: list[int]) -> np.ndarray:
    return np.array([sum(b < a for b in x) + (sum(b == a for b in x) + 1) / 2 for a in x])


@given(values)
def test_ranks_share_ties(x: list[int]) -> None:
    assert np.allclose(agreement.average_ranks(np.array(x, float)), brute_rank(x))


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 3)), min_size=3, max_size=30))
def test_a_weight_counts_as_so_many_copies(rows: list[tuple[int, int, int]]) -> None:
    x, y, w = (np.array(side, float) for side in zip(*rows, strict=True))
    many = w.astype(int)
    if many.sum() < 2:
        return
    copies = np.repeat(x, many), np.repeat(y, many)
    for statistic in (agreement.spearman, agreement.mean_squared_error):
        assert statistic(x, y, w) == pytest.approx(statistic(*copies))
    assert agreement.r_squared(x, y, w, mean=0.5) == pytest.approx(agreement.r_squared(*copies, mean=0.5))


def test_spearman_by_hand() -> None:
    x = np.array([1.0, 2, 3, 4, 5])
    assert agreement.spearman(x, x**3) == pytest.approx(1)
    assert agreement.spearman(x, -x) == pytest.approx(-1)
    assert agreement.spearman(x, np.array([2.0, 1, 4, 3, 5])) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert agreement.spearman(x, np.ones(5)) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=40))
def test_concordance_counts_pairs_of_a_row_and_ties_half(rows: list[tuple[int, int, int]]) -> None:
    i, y, p = (np.array(side) for side in zip(*rows, strict=True))
    same = total = 0.0
    for a in range(len(i)):
        for b in range(a):
            if i[a] == i[b]:
                total += 1
                agree = (y[a] - y[b]) * (p[a] - p[b])
                same += 0.5 if agree == 0 else float(agree > 0)
    found, pairs = agreement.concordance(y.astype(float), p.astype(float), agreement.rows_of(i, 2))
    assert (found.sum(), pairs.sum()) == (same, total)


def test_concordance_of_a_long_row_is_that_of_its_blocks() -> None:
    rng = np.random.default_rng(0)
    y = rng.permutation(700).astype(float)
    same, pairs = agreement.concordance(y, y, agreement.rows_of(np.zeros(700, int), 2))
    assert same[0] == pairs[0] == 700 * 699 / 2


def test_the_overlap_of_the_best_counts_ties_by_their_chance() -> None:
    exact = np.arange(10.0)
    assert agreement.top_overlap(exact, exact) == 1
    assert agreement.top_overlap(exact, -exact) == 0
    assert agreement.top_overlap(exact, np.zeros(10)) == pytest.approx(0.3)
    assert agreement.top_overlap(exact, np.array([0, 0, 0, 0, 0, 0, 0, 9, 0, 8.0])) == pytest.approx((2 + 1 / 8) / 3)


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (10, 5)])
def test_baselines_on_uniform_labels(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    m, n = 300, 400
    y = (scale * rng.uniform(size=m * n) + shift).astype(np.float32)
    i, j = (axis.ravel().astype(np.int32) for axis in np.meshgrid(np.arange(m), np.arange(n), indexing="ij"))
    first = rng.permutation(m * n) < m * n // 2
    train, test = Labels(i[first], j[first], y[first], (m, n)), Labels(i[~first], j[~first], y[~first], (m, n))
    found = baselines(train, test, rng).items()
    losses = {name: agreement.mean_squared_error(test.y, p) / scale**2 for name, p in found}
    assert losses["predict 0"] == pytest.approx(1 / 12 + (0.5 + shift / scale) ** 2, rel=0.01)
    assert losses["predict uniform random"] == pytest.approx(1 / 6, rel=0.01)
    assert losses["predict the mean"] == pytest.approx(1 / 12, rel=0.01)
    assert losses["row + column means"] == pytest.approx(1 / 12, rel=0.01)


def test_row_and_column_means_find_an_additive_kernel_and_know_nothing_of_the_unseen() -> None:
    rng = np.random.default_rng(0)
    m, n = 30, 45
    kernel = (3 * rng.normal(size=m)[:, None] + rng.normal(size=n) + 0.01 * rng.normal(size=(m, n))).astype(np.float32)
    i, j = np.nonzero(rng.uniform(size=(m, n)) < 0.5)
    seen = (i < 28) & (j > 3)
    labels = Labels(i[seen].astype(np.int32), j[seen].astype(np.int32), kernel[i[seen], j[seen]], (m, n))
    model = AdditiveMeans.fit(labels, np.random.default_rng(1))
    everywhere = np.meshgrid(np.arange(28), np.arange(4, n), indexing="ij")
    predicted = model.predict(*(axis.ravel() for axis in everywhere))
    assert agreement.r_squared(kernel[:28, 4:].ravel(), predicted, mean=float(labels.y.mean())) > 0.98
    assert not model.row[28:].any() and not model.column[:4].any()
    assert np.array_equal(model.predict(np.array([29]), np.array([0])), [model.mean])


def test_the_interval_covers_the_truth_about_nine_times_in_ten() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        sample = rng.normal(size=60)
        bounds = agreement.interval(lambda draw, x=sample: float(np.average(x, weights=draw)), 60, rng)
        assert bounds is not None
        covered += bounds[0] <= 0 <= bounds[1]
    assert 165 <= covered <= 195
    assert agreement.interval(lambda draw: 0.0, 4, rng) is None
