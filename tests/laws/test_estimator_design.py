"""The labelling design: exact counts, no pair twice, nothing masked, balance, the same draw whatever the order."""

from __future__ import annotations

import logging
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.errors import ConfigError
from nncift.estimator.budget import DesignKind, LabelBudget, parse_labels
from nncift.estimator.cross import Arms, arms
from nncift.estimator.design import pairs_to_label


def draw(budget: LabelBudget, m: int, n: int, *, masked=(), seed: int = 0, design: DesignKind | None = None):
    return pairs_to_label(budget, m, n, masked=masked, rng=np.random.default_rng(seed), design=design)


@st.composite
def kernels(draw_):
    m, n = draw_(st.integers(2, 30)), draw_(st.integers(2, 40))
    cells = st.tuples(st.integers(0, m - 1), st.integers(0, n - 1))
    masked = draw_(st.sets(cells, max_size=min(20, m * n - 1)))
    return m, n, masked, draw_(st.integers(1, m * n)), draw_(st.integers(0, 999))


@pytest.mark.parametrize("design", ["stripes", "spread", "cross"])
@given(kernels())
def test_designs_give_exactly_the_asked_pairs_less_what_the_mask_takes(design: DesignKind, kernel) -> None:
    m, n, masked, total, seed = kernel
    i, j = draw(LabelBudget("count", total), m, n, masked=masked, seed=seed, design=design)
    assert len(i) == len(j) == min(total, m * n - len(masked))
    assert i.dtype == j.dtype == np.int32
    pairs = set(zip(i.tolist(), j.tolist(), strict=True))
    assert len(pairs) == len(i)
    assert not pairs & masked
    assert i.min() >= 0 and i.max() < m and j.min() >= 0 and j.max() < n
    assert np.array_equal(np.lexsort((i, j)), np.arange(len(i)))


@given(st.integers(2, 40), st.integers(2, 60), st.floats(0.01, 1), st.integers(0, 99))
def test_stripes_are_balanced_over_targets_and_over_used_candidates(m: int, n: int, share: float, seed: int) -> None:
    total = max(1, int(share * m * n))
    i, j = draw(LabelBudget("count", total), m, n, seed=seed)
    targets, used = np.bincount(i, minlength=m), np.bincount(j, minlength=n)
    assert np.ptp(targets) <= 1
    assert np.ptp(used[used > 0]) <= 1
    if total >= 10 * n:
        assert (used > 0).all()


@given(st.integers(12, 40), st.integers(12, 60), st.integers(0, 99))
def test_a_mask_on_the_diagonal_costs_the_balance_at_most_one_more(m: int, n: int, seed: int) -> None:
    diagonal = np.stack([np.arange(min(m, n))] * 2, axis=1)
    i, j = draw(LabelBudget("count", 5 * n), m, n, masked=diagonal, seed=seed)
    assert np.ptp(np.bincount(i, minlength=m)) <= 2
    assert not np.any(i == j)
    assert len(i) == 5 * n


def test_stripes_give_about_five_labels_to_each_used_candidate() -> None:
    _, j = draw(LabelBudget("count", 203), 50, 200)
    degrees = np.bincount(j, minlength=200)
    assert np.count_nonzero(degrees) == 40
    assert sorted(set(degrees.tolist())) == [0, 5, 6]


def test_with_fewer_than_five_targets_each_used_candidate_meets_them_all() -> None:
    _, j = draw(LabelBudget("count", 20), 4, 30)
    degrees = np.bincount(j, minlength=30)
    assert degrees[degrees > 0].tolist() == [4] * 5


@given(st.integers(2, 50), st.integers(2, 50), st.integers(1, 100), st.integers(0, 99))
def test_a_block_is_the_product_of_its_rows_and_columns(m: int, n: int, percent: int, seed: int) -> None:
    i, j = draw(parse_labels(f"u={percent}%"), m, n, seed=seed)
    rows, columns = np.unique(i), np.unique(j)
    assert len(rows) == max(2, round(percent / 100 * m))
    assert len(columns) == max(2, round(percent / 100 * n))
    assert {(a, b) for b in columns for a in rows} == set(zip(i, j, strict=True))
    assert len(i) == len(rows) * len(columns)


def test_a_block_is_drawn_and_not_the_first_corner() -> None:
    corners = [np.unique(draw(parse_labels("u=20%"), 20, 31, seed=seed)[1]).tolist() for seed in range(4)]
    assert len({tuple(corner) for corner in corners}) == 4
    assert corners != [list(range(6))] * 4


def test_masked_pairs_of_a_block_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    masked = {(a, b) for a in range(11) for b in range(9) if (a + b) % 5 == 0}
    with caplog.at_level(logging.WARNING):
        i, j = draw(parse_labels("u=50%"), 11, 9, masked=masked)
    asked = parse_labels("u=50%").pairs(11, 9)
    assert not masked & set(zip(i.tolist(), j.tolist(), strict=True))
    assert 0 < len(i) < asked
    assert f"{asked - len(i)} of the {asked} pairs" in caplog.text


@pytest.mark.parametrize("form", ["23%", "41", "u=40%", "all", "auto"])
def test_the_order_and_kind_of_the_mask_do_not_matter(form: str) -> None:
    masked = [(a, b) for a, b in zip(range(0, 12), range(5, 17), strict=True)]
    draws = [
        draw(parse_labels(form), 13, 19, masked=mask, seed=3)
        for mask in (masked, masked[::-1] + masked, set(masked), np.array(masked), np.array(masked[::-1]))
    ]
    for i, j in draws[1:]:
        assert np.array_equal(i, draws[0][0]) and np.array_equal(j, draws[0][1])


def test_another_seed_draws_other_pairs() -> None:
    first, second = (set(zip(*draw(parse_labels("5%"), 30, 50, seed=seed), strict=True)) for seed in (1, 2))
    assert len(first) == len(second) == 75
    assert len(first & second) < 40


def test_all_is_every_pair_that_is_not_masked() -> None:
    i, j = draw(parse_labels("all"), 5, 7, masked={(4, 6), (0, 0)})
    assert set(zip(i, j, strict=True)) == {(a, b) for a in range(5) for b in range(7)} - {(4, 6), (0, 0)}


@pytest.mark.parametrize(("form", "count"), [("auto", 64), ("10%", 90), ("77", 77), ("u=5%", 45), ("all", 900)])
def test_a_pointwise_influence_labels_candidates(form: str, count: int) -> None:
    i, j = draw(parse_labels(form), 1, 900)
    assert len(j) == count == len(set(j.tolist()))
    assert not i.any()
    assert np.all(np.diff(j) > 0)


def test_pointwise_auto_is_five_per_cent_and_at_least_64_of_what_there_is() -> None:
    assert [parse_labels(None).pairs(1, n) for n in (20, 64, 1000, 4000)] == [20, 64, 64, 200]


def test_auto_takes_the_fewer_of_ten_per_candidate_and_five_per_cent() -> None:
    assert parse_labels(None).pairs(1000, 70) == 700
    assert parse_labels("auto").pairs(100, 70) == 350


def test_more_pairs_than_exist_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(ConfigError, match="36 pairs are asked for, but 5 targets times 7 candidates are only 35"):
        draw(parse_labels(36), 5, 7)


def test_a_kernel_with_everything_masked_is_an_error() -> None:
    with pytest.raises(ConfigError, match="same text on both sides"):
        draw(parse_labels("all"), 2, 3, masked={(a, b) for a in range(2) for b in range(3)})


def test_a_mask_outside_the_kernel_is_an_error() -> None:
    with pytest.raises(ConfigError, match="outside the kernel of 5 targets and 7 candidates"):
        draw(parse_labels("all"), 5, 7, masked={(6, 4)})


@given(st.integers(2, 25), st.integers(2, 40), st.floats(0, 1), st.integers(0, 99))
def test_spread_gives_every_target_and_every_candidate_equally_many(m: int, n: int, share: float, seed: int) -> None:
    total = max(1, int(share * m * n))
    i, j = draw(LabelBudget("count", total), m, n, seed=seed, design="spread")
    assert len(i) == total
    assert np.ptp(np.bincount(i, minlength=m)) <= 1
    assert np.ptp(np.bincount(j, minlength=n)) <= 1


@given(st.integers(12, 30), st.integers(12, 45), st.integers(0, 99))
def test_spread_stays_even_beside_a_masked_diagonal(m: int, n: int, seed: int) -> None:
    diagonal = np.stack([np.arange(min(m, n))] * 2, axis=1)
    i, j = draw(LabelBudget("count", 5 * n), m, n, masked=diagonal, seed=seed, design="spread")
    assert np.ptp(np.bincount(i, minlength=m)) <= 1
    assert (np.bincount(j, minlength=n) == 5).all()


def test_spread_draws_every_pair_and_every_two_pairs_of_a_target_equally_often() -> None:
    m, n, draws = 3, 5, 3000
    rng = np.random.default_rng(4)
    seen, together = np.zeros((m, n)), np.zeros((n, n))
    for _ in range(draws):
        i, j = pairs_to_label(LabelBudget("count", 6), m, n, rng=rng, design="spread")
        drawn = np.zeros((m, n))
        drawn[i, j] = 1
        seen += drawn
        together += drawn.T @ drawn
    assert np.abs(seen / draws - 6 / 15).max() < 0.04  # a standard error is 0.009
    apart = together[~np.eye(n, dtype=bool)] / draws
    assert np.abs(apart - 3 / 10).max() < 0.04  # each target has two of the five candidates


@given(st.integers(2, 300), st.integers(2, 9000), st.floats(0, 1))
def test_the_arms_of_a_cross_are_equal_but_for_what_landmarks_share(m: int, n: int, share: float) -> None:
    total = max(1, int(share * m * n))
    arm = arms(total, m, n)
    t, c = arm.targets, arm.candidates
    assert min(t, c, arm.target_part, arm.candidate_part) >= 0
    assert t <= m and c <= n and arm.target_part <= n - c and arm.candidate_part <= max(0, m - t - 1)
    assert t * n + c * m - t * c + arm.target_part + arm.candidate_part == total
    if 2 * total <= m * n:
        assert arm.difference(m, n) <= max(t, c) + 1


@given(st.integers(2, 25), st.integers(2, 40), st.floats(0, 1), st.integers(0, 99))
def test_a_cross_is_whole_rows_whole_columns_and_part_of_one_more_each(m: int, n: int, share: float, seed: int) -> None:
    total = max(1, int(share * m * n))
    i, j = draw(LabelBudget("count", total), m, n, seed=seed, design="cross")
    arm = arms(total, m, n)
    drawn = np.zeros((m, n), dtype=bool)
    drawn[i, j] = True
    assert drawn.all(1).sum() >= arm.targets and drawn.all(0).sum() >= arm.candidates
    rest = drawn[~drawn.all(1)][:, ~drawn.all(0)]
    lonely = [np.delete(np.delete(rest, r, 0), s, 1).any() for r in range(len(rest)) for s in range(rest.shape[1])]
    assert not all(lonely) or rest.size == 0


def test_a_cross_has_the_known_size() -> None:
    assert arms(2 * 100 + 4 * 50 - 2 * 4, 50, 100) == Arms(2, 4, 0, 0)
    assert arms(2 * 100 + 4 * 50 - 2 * 4 + 22, 50, 100) == Arms(2, 4, 10, 12)
    assert Arms(2, 4, 10, 12).difference(50, 100) == 0


@pytest.mark.parametrize("design", ["block", "stripes", "spread", "cross"])
def test_a_pointwise_influence_has_one_design(design: DesignKind) -> None:
    assert np.array_equal(draw(LabelBudget("count", 40), 1, 90), draw(LabelBudget("count", 40), 1, 90, design=design))


@pytest.mark.parametrize(("form", "priced"), [("5%", "pair"), ("u=20%", "pair"), ("5%", "row"), ("auto", "row")])
def test_the_design_that_follows_from_the_budget_can_be_named(form: str, priced) -> None:
    budget = parse_labels(form)
    plain, named = (
        pairs_to_label(budget, 30, 47, rng=np.random.default_rng(5), priced=priced, design=design)
        for design in (None, budget.design(30, priced=priced))
    )
    assert np.array_equal(plain, named)


def test_another_design_spreads_the_pairs_of_a_block() -> None:
    i, j = draw(parse_labels("u=20%"), 20, 35, design="spread")
    assert len(i) == 4 * 7
    assert len(np.unique(i)) == 20 and len(np.unique(j)) == 28


def test_a_design_that_does_not_fit_the_budget_says_what_to_say() -> None:
    with pytest.raises(ConfigError, match="is meant by labels: all"):
        draw(parse_labels("5%"), 20, 35, design="all")
    with pytest.raises(ConfigError, match="`pointwise` needs one target, and there are 20"):
        draw(parse_labels("5%"), 20, 35, design="pointwise")


@pytest.mark.parametrize("design", ["block", "stripes", "spread", "cross"])
def test_a_kernel_of_ten_billion_pairs_is_never_held(design: DesignKind) -> None:
    m, n, total = 90_000, 110_000, 5_000
    masked = np.stack([np.arange(m), np.arange(m)], axis=1)
    tracemalloc.start()
    i, j = draw(LabelBudget("count", total), m, n, masked=masked, design=design)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total - 100 <= len(i) <= total + 100
    assert not (i == j).any()
    assert peak < 100e6  # one bit for each pair would be 1.2 GB


def test_a_block_of_nothing_but_masked_pairs_is_drawn_again() -> None:
    masked = {(i, 0) for i in range(14)}
    for seed in range(20):
        i, j = pairs_to_label(
            LabelBudget("count", 1), 16, 3, masked=masked, rng=np.random.default_rng(seed), design="block",
            among=np.array([0]),
        )  # fmt: skip
        assert set(zip(i.tolist(), j.tolist(), strict=True)) <= {(14, 0), (15, 0)} and len(i)
