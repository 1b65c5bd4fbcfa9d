"""Labelling in rounds: nothing is drawn twice, what is balanced is the union, and withheld candidates stay without a label."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.estimator.adaptive import adaptive_pairs
from nncift.estimator.ahead import can_continue
from nncift.estimator.budget import DesignKind, LabelBudget, parse_labels
from nncift.estimator.dealing import deal, keys_of
from nncift.estimator.design import pairs_to_label
from nncift.estimator.openings import Pairs, find_openings
from nncift.estimator.shares import fill_up

NONE: Pairs = (np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32))
EXACT: tuple[DesignKind, ...] = ("stripes", "spread", "cross")


def together(*rounds: Pairs) -> Pairs:
    i, j = (np.concatenate(axis) for axis in zip(*rounds, strict=True))
    return i, j


def in_rounds(design: DesignKind, m: int, n: int, counts: list[int], seed: int, **options) -> list[Pairs]:
    """Draws of so many pairs each, as far as there are any left."""
    rng, rounds = np.random.default_rng(seed), [NONE]
    for count in counts:
        taken = together(*rounds)
        if len(taken[0]) < m * n:
            count = min(count, m * n - len(taken[0]))
            budget = LabelBudget("count", count)
            rounds.append(pairs_to_label(budget, m, n, rng=rng, design=design, taken=taken, **options))
    return rounds[1:]


def spans(pairs: Pairs, m: int, n: int) -> tuple[int, int]:
    """How many labels more one target, or one candidate, has than another."""
    return int(np.ptp(np.bincount(pairs[0], minlength=m))), int(np.ptp(np.bincount(pairs[1], minlength=n)))


@st.composite
def continued(draw_):
    m, n = draw_(st.integers(2, 20)), draw_(st.integers(2, 30))
    cells = st.tuples(st.integers(0, m - 1), st.integers(0, n - 1))
    masked, taken = draw_(st.sets(cells, max_size=15)), draw_(st.sets(cells, max_size=60))
    among = draw_(st.sets(st.integers(0, n - 1), min_size=1))
    return m, n, masked, taken, among, draw_(st.integers(1, m * n)), draw_(st.integers(0, 999))


def as_pairs(cells: set[tuple[int, int]]) -> Pairs:
    i, j = np.array(sorted(cells), dtype=np.int64).reshape(-1, 2).T
    return i, j


@pytest.mark.parametrize("design", [*EXACT, "block"])
@given(continued())
def test_a_round_draws_new_pairs_of_open_candidates_in_the_asked_number(design: DesignKind, case) -> None:
    m, n, masked, taken, among, total, seed = case
    free = {(a, b) for a in range(m) for b in among} - masked - taken
    budget, columns = LabelBudget("count", total), np.array(sorted(among))

    def draw(mask, had: Pairs, open_: ndarray) -> Pairs:
        rng = np.random.default_rng(seed)
        return pairs_to_label(budget, m, n, masked=mask, rng=rng, design=design, among=open_, taken=had)

    if not free:
        with pytest.raises(ConfigError, match="has a label already or is masked"):
            draw(masked, as_pairs(taken), columns)
        return
    i, j = draw(masked, as_pairs(taken), columns)
    drawn = set(zip(i.tolist(), j.tolist(), strict=True))
    assert drawn <= free
    if design != "block":
        assert len(i) == len(drawn) == min(total, len(free))
    elif taken & {(a, b) for a in range(m) for b in among}:
        assert len(i) == len(drawn) >= min(total, len(free))
    assert i.dtype == j.dtype == np.int32
    assert np.array_equal(np.lexsort((i, j)), np.arange(len(i)))
    backwards = (axis[::-1].astype(np.int32) for axis in as_pairs(taken))
    again = draw(sorted(masked, reverse=True), tuple(backwards), columns[::-1])  # type: ignore[arg-type]
    assert np.array_equal(again, (i, j))


@given(st.integers(2, 20), st.integers(2, 30), st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 99))
def test_stripes_keep_the_targets_equal_over_all_rounds(m: int, n: int, counts: list[int], seed: int) -> None:
    rounds = in_rounds("stripes", m, n, counts, seed)
    for upto in range(1, len(rounds) + 1):
        assert spans(together(*rounds[:upto]), m, n)[0] <= 1


@given(st.integers(10, 20), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_stripes_use_candidates_without_a_label_first(m: int, first: int, second: int, seed: int) -> None:
    (_, j), (_, k), (_, q) = in_rounds("stripes", m, 9, [10 * first, 10 * second, 10 * (9 - first - second)], seed)
    assert not set(j) & set(k)
    if first + second < 9:
        assert set(j) | set(k) | set(q) == set(range(9))


@given(st.integers(2, 20), st.integers(2, 30), st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 99))
def test_spread_keeps_targets_and_candidates_equal_over_all_rounds(
    m: int, n: int, counts: list[int], seed: int
) -> None:
    rounds = in_rounds("spread", m, n, counts, seed)
    for upto in range(1, len(rounds) + 1):
        union = together(*rounds[:upto])
        of_targets, of_candidates = spans(union, m, n)
        assert of_candidates <= 1
        assert of_targets <= (1 if len(union[0]) * (1 / m + 1 / n) <= min(m, n) else 2)


@given(continued())
def test_spread_gives_to_the_candidates_with_the_fewest_whatever_is_barred(case) -> None:
    m, n, masked, taken, among, total, seed = case
    rng = np.random.default_rng(seed)
    columns, had = np.array(sorted(among)), as_pairs(taken)
    room = m - np.bincount([b for _, b in masked | taken], minlength=n)[columns]
    if total < room.sum():
        options = {"masked": masked, "taken": had, "among": columns}
        _, j = pairs_to_label(LabelBudget("count", total), m, n, rng=rng, design="spread", **options)
        count = np.bincount(had[1], minlength=n)[columns]
        best = np.sort(count + fill_up(count, room, total, rng))
        assert np.array_equal(np.sort(count + np.bincount(j, minlength=n)[columns]), best)


def test_spread_leaves_a_target_behind_rather_than_a_candidate_ahead() -> None:
    masked = [
        (0, j) for j in range(4)
    ]  # only candidate 4, which has as many labels as the others get, could take target 0
    taken = (np.array([1, 2]), np.array([4, 4]))
    rng = np.random.default_rng(0)
    i, j = pairs_to_label(LabelBudget("count", 8), 4, 5, rng=rng, design="spread", masked=masked, taken=taken)
    assert np.bincount(j, minlength=5).tolist() == [2, 2, 2, 2, 0]
    assert sorted(np.bincount(together(taken, (i, j))[0], minlength=4).tolist()) == [0, 3, 3, 4]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=12), st.integers(1, 30), st.integers(0, 99))
def test_dealing_catches_up_with_what_targets_lack_without_any_evening(had: list[int], n: int, seed: int) -> None:
    openings = replace(find_openings(len(had), n), row_count=np.array(had))
    rng = np.random.default_rng(seed)
    dealt = deal(openings, rng.permutation(n), np.ones(n, dtype=int), rng)
    drawn = np.bincount(keys_of(dealt, len(had)) % len(had), minlength=len(had))
    best = fill_up(np.array(had), np.full(len(had), n), n, rng)
    assert np.array_equal(np.sort(had + drawn), np.sort(had + best))


@given(st.integers(2, 7), st.integers(1, 3), st.integers(0, 99))
def test_spread_stays_equal_where_rounds_of_one_pair_must_meet_in_the_last_free_pairs(
    m: int, times: int, seed: int
) -> None:
    n = m * times + (times == 1)  # at multiples of the common multiple one pair is left for the last round of all
    most = int(min(m, n) / (1 / m + 1 / n))
    rounds = in_rounds("spread", m, n, [1] * most, seed)
    for upto in range(1, len(rounds) + 1):
        assert max(spans(together(*rounds[:upto]), m, n)) <= 1


@given(st.integers(4, 15), st.integers(4, 25), st.integers(0, 99))
def test_spread_makes_up_for_another_design(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = pairs_to_label(parse_labels("u=30%"), m, n, rng=rng)
    deepest = np.bincount(corner[1], minlength=n).max()
    fill = int(deepest) * n - len(corner[0])
    filled = pairs_to_label(LabelBudget("count", fill), m, n, rng=rng, design="spread", taken=corner)
    assert (np.bincount(together(corner, filled)[1], minlength=n) == deepest).all()


@pytest.mark.parametrize("design", [*EXACT, "block"])
def test_rounds_end_with_every_pair_once(design: DesignKind) -> None:
    i, j = together(*in_rounds(design, 7, 11, [13] * 7, 0))
    assert np.array_equal(np.sort(j * 7 + i), np.arange(77))


def test_landmarks_stay_landmarks() -> None:
    m, n = 40, 60
    rounds = in_rounds("cross", m, n, [300, 300, 300], 3)
    for upto in (1, 2, 3):
        drawn = np.zeros((m, n), dtype=bool)
        drawn[together(*rounds[:upto])] = True
        rows, columns = np.argsort(-drawn.sum(1))[: upto * 4], np.argsort(-drawn.sum(0))[: upto * 5]
        outside = np.delete(np.delete(drawn, rows, 0), columns, 1)
        assert not outside.any()


def test_a_block_grows_where_it_stands() -> None:
    (i, j), (a, b) = in_rounds("block", 30, 50, [36, 64], 3)
    rows, columns = set(i) | set(a), set(j) | set(b)
    assert (len(rows), len(columns)) == (10, 10)
    assert set(i) < rows and set(j) < columns
    assert len(i) + len(a) == 100


@given(st.integers(2, 15), st.integers(4, 30), st.floats(0, 1), st.integers(0, 99))
def test_withheld_candidates_leave_the_others_balanced(m: int, n: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    among = rng.permutation(n)[: 1 + n // 2]
    count = max(1, int(share * m * len(among)))
    i, j = pairs_to_label(LabelBudget("count", count), m, n, rng=rng, design="spread", among=among)
    assert len(i) == count
    assert set(j) <= set(among)
    assert max(spans((i, np.searchsorted(np.sort(among), j)), m, len(among))) <= 1


def test_a_block_of_the_paper_keeps_its_sides_where_candidates_are_withheld() -> None:
    i, j = pairs_to_label(parse_labels("u=20%"), 20, 100, rng=np.random.default_rng(0), among=np.arange(50, 90))
    assert len(np.unique(i)) == 4 and len(np.unique(j)) == 20
    assert j.min() >= 50 and j.max() < 90


def test_what_withheld_and_taken_pairs_cost_is_said(caplog: pytest.LogCaptureFixture) -> None:
    taken = (np.array([0, 1]), np.array([2, 6]))
    with caplog.at_level(logging.WARNING):
        i, _ = pairs_to_label(
            parse_labels("all"), 5, 7, rng=np.random.default_rng(0), among=np.array([2, 3]), taken=taken
        )
    assert len(i) == 9
    assert "26 of the 35 pairs to label are masked or labelled already or withheld" in caplog.text


@pytest.mark.parametrize("among", [[], [-1, 2], [7], [0.5], [True, False]])
def test_withholding_what_is_no_candidate_is_an_error(among: list[object]) -> None:
    with pytest.raises(ConfigError, match="`among` must hold positions of candidates, at least one, from 0 to 6"):
        pairs_to_label(parse_labels("all"), 5, 7, rng=np.random.default_rng(0), among=np.array(among))


def test_labels_that_are_no_pairs_of_the_kernel_are_an_error() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="a labelled pair lies outside the kernel of 5 targets and 7 candidates"):
        pairs_to_label(parse_labels("all"), 5, 7, rng=rng, taken=(np.array([6]), np.array([4])))
    with pytest.raises(ConfigError, match="`taken` has 1 targets and 2 candidates"):
        pairs_to_label(parse_labels("all"), 5, 7, rng=rng, taken=(np.array([4]), np.array([4, 5])))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), st.data())
def test_filling_up_gives_to_the_fewest_first(each: list[tuple[int, int]], data: st.DataObject) -> None:
    had, room = np.array(each).T
    total = data.draw(st.integers(0, int(room.sum())))
    given_ = fill_up(had, room, total, np.random.default_rng(data.draw(st.integers(0, 9))))
    assert given_.sum() == total
    assert ((given_ >= 0) & (given_ <= room)).all()
    for fed in np.flatnonzero(given_):
        assert ((had + given_)[given_ < room] >= (had + given_)[fed] - 1).all()


def test_whether_the_last_ones_can_still_meet_is_known() -> None:
    # targets 0 and 1 and candidates 0 and 1 have met crosswise; target 2 and candidate 2 lack a label each
    square = np.array([0 * 3 + 0, 0 * 3 + 1, 1 * 3 + 0, 1 * 3 + 1])
    openings = find_openings(3, 3)
    assert not can_continue(np.append(square, 2 * 3 + 2), openings)
    assert can_continue(np.append(square[:3], 2 * 3 + 0), openings)


@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 9999))
def test_whether_the_last_ones_can_still_meet_agrees_with_trying_all(m: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.permutation(m * n)[: rng.integers(1, m * n)]
    free = np.ones((m, n), dtype=bool)
    free[keys % m, keys // m] = False
    count = [(~free).sum(1), (~free).sum(0)]
    able = [free.any(1), free.any(0)]
    rows, columns = (np.flatnonzero(ok & (has == has[ok].min(initial=99))) for has, ok in zip(count, able, strict=True))
    small = free[np.ix_(rows, columns)]
    small = small if len(rows) <= len(columns) else small.T

    def matches(row: int, used: frozenset[int]) -> bool:
        return row == len(small) or any(
            small[row, at] and at not in used and matches(row + 1, used | {at}) for at in range(small.shape[1])
        )

    assert can_continue(keys, find_openings(m, n)) == matches(0, frozenset())


def test_uncertain_candidates_are_drawn_in_proportion() -> None:
    sd, draws = np.array([1.0, 0.0, 2.0, 3.0, 4.0]), 4000
    rng, first, pairs_of_two = np.random.default_rng(0), np.zeros(5), 0
    for _ in range(draws):
        _, j = adaptive_pairs(10, sd, row_count=np.zeros(12, dtype=int), taken=NONE, rng=rng)
        first[j[0]] += 1
        _, j = adaptive_pairs(20, sd, row_count=np.zeros(12, dtype=int), taken=NONE, rng=rng)
        pairs_of_two += set(j) == {3, 4}
    assert first[1] == 0
    assert np.abs(first / draws - sd / 10).max() < 0.03  # a standard error is 0.008
    assert abs(pairs_of_two / draws - (0.4 * 3 / 6 + 0.3 * 4 / 7)) < 0.03  # without replacement


@given(continued(), st.integers(1, 12))
def test_a_batch_is_exact_new_and_in_stripes(case, per: int) -> None:
    m, n, masked, taken, among, total, seed = case
    free = {(a, b) for a in range(m) for b in among} - masked - taken
    had = as_pairs(taken)
    sd = np.random.default_rng(seed).exponential(size=n)

    def draw(columns: ndarray) -> Pairs:
        return adaptive_pairs(
            total,
            sd,
            row_count=np.bincount(had[0], minlength=m),
            taken=had,
            rng=np.random.default_rng(seed),
            masked=masked,
            among=columns,
            per_candidate=per,
        )

    i, j = draw(np.array(sorted(among)))
    drawn = set(zip(i.tolist(), j.tolist(), strict=True))
    assert drawn <= free and len(drawn) == len(i) == min(total, len(free))
    assert i.dtype == j.dtype == np.int32
    assert np.array_equal(np.lexsort((i, j)), np.arange(len(i)))
    assert np.array_equal(draw(np.array(sorted(among, reverse=True))), (i, j))
    room = m - np.bincount([b for _, b in masked | taken], minlength=n)
    degrees = np.bincount(j, minlength=n)
    stripe = np.minimum(room, per)
    if total <= stripe[sorted(among)].sum():
        assert (degrees <= stripe).all()
        assert np.count_nonzero((degrees > 0) & (degrees < stripe)) <= 1


@given(st.integers(10, 25), st.integers(20, 40), st.integers(1, 150), st.integers(1, 150), st.integers(0, 99))
def test_batches_deal_the_targets_evenly(m: int, n: int, first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = pairs_to_label(LabelBudget("count", first), m, n, rng=rng, design="stripes")
    sd = np.where(np.isin(np.arange(n), start[1]), 0.0, 1.0)
    count = min(second, 10 * int(sd.sum()))
    if count:
        row_count = np.bincount(start[0], minlength=m)
        batch = adaptive_pairs(count, sd, row_count=row_count, taken=start, rng=rng)
        assert not set(batch[1]) & set(start[1])
        assert spans(together(start, batch), m, n)[0] <= 1


@given(st.integers(0, 9999))
def test_batches_of_the_same_candidates_cannot_be_dealt_more_evenly(seed: int) -> None:
    rng, m, n = np.random.default_rng(seed), 6, 4
    taken: Pairs = NONE
    for _ in range(3):
        had = np.bincount(taken[0], minlength=m)
        i, j = adaptive_pairs(6, np.ones(n), row_count=had, taken=taken, rng=rng, per_candidate=2)
        free = [sorted(set(range(m)) - set(taken[0][taken[1] == b])) for b in np.unique(j)]
        every = product(*(combinations(some, 2) for some in free))
        least = min(((had + np.bincount(np.ravel(one), minlength=m)) ** 2).sum() for one in every)
        taken = together(taken, (i, j))
        assert (np.bincount(taken[0], minlength=m) ** 2).sum() == least


def test_a_batch_of_nothing_is_empty() -> None:
    everything = (np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3))
    row_count = np.full(3, 4)
    i, j = adaptive_pairs(5, np.ones(4), row_count=row_count, taken=everything, rng=np.random.default_rng(0))
    assert len(i) == len(j) == 0


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_an_uncertainty_that_is_none_is_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="candidate_sd must be finite and at least 0"):
        adaptive_pairs(
            5, np.array([1.0, wrong, 1.0]), row_count=np.zeros(2, dtype=int), taken=NONE, rng=np.random.default_rng(0)
        )
