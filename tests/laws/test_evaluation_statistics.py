"""Intervals against closed forms, and the promise that a subset no better than random is seldom called better."""

from __future__ import annotations

import time
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nncift.evaluation import statistics
from nncift.evaluation.statistics import Ranked, difference, holm, mean_interval, rank_correlation, verdict


def world(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    draw: float = 0.009,
    seed: float = 0.004,
    item: float = 0.5,
    taste: float = 0.0,
    noise: float = 0.0,
) -> np.ndarray:
    """Scores [draws, seeds, items]: how hard an item is, how good a draw, how lucky a seed, which items a draw suits
    (`taste`), and what is left; each a standard deviation."""
    draws, seeds, items = shape
    return (
        rng.normal(0, item, items)
        + rng.normal(0, draw, (draws, 1, 1))
        + rng.normal(0, seed, (draws, seeds, 1))
        + rng.normal(0, taste, (draws, 1, items))
        + rng.normal(0, noise, shape)
    )


def shares(rng: np.random.Generator, shape: tuple[int, int, int], worlds: int, gain: float = 0.0, **spread: float):
    """In how many worlds the interval of (one more draw + gain) against the others lies above, and below, zero."""
    draws, seeds, items = shape
    above = below = 0
    for _ in range(worlds):
        x = world(rng, (draws + 1, seeds, items), **spread)
        found = difference(x[:1] + gain, x[1:], rng, replicates=500)
        assert found.low is not None and found.high is not None
        above += found.low > 0
        below += found.high < 0
    return above / worlds, below / worlds


SHAPES = [(5, 3, 100), (8, 1, 100)]
SPREADS = [{}, {"taste": 0.05, "noise": 0.1}, {"draw": 0.0, "taste": 0.1}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", SPREADS, ids=["as in the planted runs", "noisy items", "items only"])
def test_one_more_random_draw_is_seldom_called_better_or_worse(
    shape: tuple[int, int, int], spread: dict[str, float]
) -> None:
    """In 4,000 worlds each it was 4.1 to 5.3 %; 1,000 worlds know it within 0.7 points."""
    above, below = shares(np.random.default_rng(0), shape, 1000, **spread)
    assert above + below <= 0.065
    assert above + below >= 0.025, "an interval that never errs is too wide to find anything"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_subset_with_a_taste_of_its_own_and_no_gain_is_seldom_called_better(shape: tuple[int, int, int]) -> None:
    """Its gains and losses differ from item to item far more than a random draw's: that is what the items tell."""
    rng, wrong = np.random.default_rng(10), 0
    for _ in range(500):
        x = world(rng, (shape[0] + 1, *shape[1:]))
        found = difference(x[:1] + rng.normal(0, 0.2, shape[2]), x[1:], rng, replicates=500)
        wrong += found.low > 0 or found.high < 0
    assert wrong / 500 <= 0.075  # 26 % and 31 % without the excess


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gain_of_five_draw_spreads_is_found(shape: tuple[int, int, int]) -> None:
    above, below = shares(np.random.default_rng(1), shape, 200, gain=5 * 0.009)
    assert above >= 0.85 and below == 0


def test_the_interval_is_students_where_items_and_seeds_add_nothing() -> None:
    rng = np.random.default_rng(2)
    quality = rng.normal(0.3, 0.02, 5)
    random = np.broadcast_to(quality[:, None, None], (5, 1, 40)) + rng.normal(0, 0.4, 40)
    subset = random[:1] - quality[0] + 0.36
    found = difference(subset, random, rng, replicates=200_000)
    half = stats.t.ppf(0.975, 4) * quality.std(ddof=1) * np.sqrt(1 + 1 / 5)
    assert found.diff == pytest.approx(0.36 - quality.mean())
    assert (found.low, found.high) == pytest.approx((found.diff - half, found.diff + half), abs=0.03 * half)
    exact = 2 * stats.t.sf(found.diff / (half / stats.t.ppf(0.975, 4)), 4)
    assert found.p == pytest.approx(exact, rel=0.05)


def test_a_gain_on_one_item_is_no_gain() -> None:
    random, subset = np.zeros((5, 1, 60)), np.zeros((1, 1, 60))
    subset[0, 0, 17] = 1.0
    found = difference(subset, random, np.random.default_rng(0))
    assert found.diff == pytest.approx(1 / 60)
    assert found.low == 0 and found.p > 0.3
    subset[0, 0, :20] = 1.0
    assert difference(subset, random, np.random.default_rng(0)).low > 0.2


def test_a_subset_that_helps_some_and_harms_others_is_judged_more_carefully() -> None:
    rng = np.random.default_rng(3)
    x = world(rng, (6, 3, 80), draw=0.01)
    even, uneven = x[:1] + 0.05, x[:1] + 0.05
    mixed = rng.normal(0, 0.4, 80)
    uneven += mixed - mixed.mean()
    narrow, wide = (difference(side, x[1:], np.random.default_rng(0)) for side in (even, uneven))
    assert narrow.diff == pytest.approx(wide.diff)
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)
    assert wide.high - wide.low > 0.95 * 2 * 1.96 * mixed.std() / np.sqrt(80)


@pytest.mark.parametrize("items", [7, 30, 61])
def test_equal_scores_differ_by_nothing(items: int) -> None:
    """Means of equal numbers differ in their last bits; that is no gain."""
    value = np.random.default_rng(items).uniform(0, 5, items)
    for subset, random in ((np.full(items, 0.1), np.full(items, 0.1)), (value, value), (value, value + 1e-15)):
        a, b = np.broadcast_to(subset, (1, 2, items)), np.broadcast_to(random, (5, 3, items))
        found = difference(a, b, np.random.default_rng(0), replicates=500)
        assert found.diff == 0 and found.low <= 0 <= found.high and found.p > 0.8
        assert found.high - found.low < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_all_share_on_an_item_changes_no_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = world(rng, (4, 2, 23), noise=0.1)
    hard = rng.normal(0, 30, 23)
    a = difference(x[:1], x[1:], np.random.default_rng(5), replicates=300)
    b = difference(x[:1] + hard, x[1:] + hard, np.random.default_rng(5), replicates=300)
    assert (a.diff, a.low, a.high) == pytest.approx((b.diff, b.low, b.high), abs=1e-10)
    assert a.p == b.p


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_score_missing_everywhere_on_one_side_leaves_the_item_out(seed: int, ours: bool) -> None:
    rng = np.random.default_rng(seed)
    x = world(rng, (4, 2, 23), noise=0.1)
    holed = x.copy()
    holed[slice(0, 1) if ours else slice(1, None), :, [3, 20]] = np.nan
    kept = np.delete(x, [3, 20], axis=2)
    a = difference(holed[:1], holed[1:], np.random.default_rng(5), replicates=300)
    b = difference(kept[:1], kept[1:], np.random.default_rng(5), replicates=300)
    assert (a.diff, a.low, a.high, a.p) == pytest.approx((b.diff, b.low, b.high, b.p))


def test_a_hard_item_that_one_cell_lacks_moves_nothing() -> None:
    rng = np.random.default_rng(6)
    x = world(rng, (5, 2, 30)) + np.where(np.arange(30) == 4, -40, 0)
    whole = difference(x[:1], x[1:], np.random.default_rng(5))
    x[2, 0, 4] = x[0, 1, 4] = np.nan
    holed = difference(x[:1], x[1:], np.random.default_rng(5))
    assert (holed.diff, holed.low, holed.high) == pytest.approx((whole.diff, whole.low, whole.high), abs=2e-3)


def test_a_missing_cell_is_no_seed_and_a_missing_draw_no_draw() -> None:
    rng = np.random.default_rng(7)
    x = world(rng, (6, 3, 40), noise=0.05)
    holed = x.copy()
    holed[3] = np.nan
    kept = np.delete(x, 3, axis=0)
    a, b = (difference(y[:1], y[1:], np.random.default_rng(0), replicates=40_000) for y in (holed, kept))
    assert a.diff == pytest.approx(b.diff)
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.05 * (b.high - b.low))
    lame = x.copy()
    lame[0, 1:] = np.nan
    assert difference(lame[:1], x[1:], rng).diff == pytest.approx(x[0, 0].mean() - x[1:].mean())


def test_a_draw_with_hardly_a_score_is_no_obstacle() -> None:
    x = world(np.random.default_rng(7), (6, 2, 40), noise=0.05)
    x[3, :, 1:] = np.nan
    x[4, 1, 2:] = np.nan
    found = difference(x[:1], x[1:], np.random.default_rng(0))
    assert np.isfinite([found.diff, found.low, found.high]).all() and found.low < found.diff < found.high


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = world(np.random.default_rng(7), (4, 2, 40), noise=0.05)

    def found() -> list[float]:
        rng = np.random.default_rng(0)
        parts = mean_interval(x, rng, replicates=103), difference(x[:1], x[1:], rng, replicates=103)
        return [number for part in parts for number in astuple(part)]

    whole = found()
    for block in (1, 40 * 10, 40 * 103):
        monkeypatch.setattr(statistics, "_BLOCK", block)
        assert found() == pytest.approx(whole, rel=1e-12)


def test_a_subset_with_fewer_seeds_is_judged_more_carefully() -> None:
    rng, wrong = np.random.default_rng(8), 0
    for _ in range(300):
        x = world(rng, (6, 3, 50), draw=0.002, seed=0.02)
        found = difference(x[:1, :1], x[1:], rng, replicates=1000)
        wrong += found.low > 0 or found.high < 0
    assert wrong / 300 <= 0.06  # 18 % where the seeds that are lacking are passed over


def test_too_little_to_know_gives_no_interval() -> None:
    x = np.random.default_rng(0).normal(size=(3, 2, 9))
    one = difference(x[:1], x[1:2], np.random.default_rng(0))
    assert one.diff == pytest.approx(x[0].mean() - x[1].mean())
    assert (one.low, one.high, one.p) == (None, None, None)
    few = difference(x[:1, :, :4], x[1:, :, :4], np.random.default_rng(0))
    assert few.diff is not None and few.low is None
    nothing = difference(np.full((1, 2, 9), np.nan), x, np.random.default_rng(0))
    assert (nothing.diff, nothing.low, nothing.high, nothing.p) == (None, None, None, None)


def test_several_draws_on_both_sides() -> None:
    """A control that is drawn anew too (as often as random) is judged by its mean: the spread of 5 means, not of one."""
    rng, wrong = np.random.default_rng(9), 0
    for _ in range(600):
        x = world(rng, (10, 1, 50))
        found = difference(x[:5], x[5:], rng, replicates=500)
        wrong += found.low > 0 or found.high < 0
    assert 0.02 <= wrong / 600 <= 0.07
    x = world(rng, (10, 1, 50))
    alone, many = difference(x[:1], x[5:], rng), difference(x[:5], x[5:], rng)
    assert many.high - many.low < 0.8 * (alone.high - alone.low)


def closed_form_variance(x: np.ndarray) -> float:
    """Of the mean of resampled draws, seeds within them, and items crossed with both; no score missing.

    A replicate makes D picks of a draw, each with S picks of a seed. Of pairs of seed picks, D(D - 1)S² lie in different
    draw picks and hit cells a and b with chance 1/(DS)²; the others lie in one pick, of a's and b's common draw once in
    expectation: S(S - 1) pairs of different seed picks with chance 1/S², and S picks alone, with chance 1/S if a = b.
    """
    draws, seeds, items = x.shape
    number = np.arange(draws * seeds)
    same_draw, same_cell = number[:, None] // seeds == number // seeds, np.eye(draws * seeds)
    cell = (draws - 1) / draws + same_draw * ((seeds - 1) / seeds + same_cell)
    item = (items - 1) / items + np.eye(items)
    flat = x.reshape(-1, items)
    second = np.einsum("ai,ab,ij,bj->", flat, cell / (draws * seeds) ** 2, item / items**2, flat)
    return float(second - x.mean() ** 2)


@pytest.mark.parametrize("shape", [(1, 1, 40), (1, 4, 7), (5, 1, 7), (5, 3, 20)])
def test_the_resampled_mean_varies_as_its_closed_form_says(shape: tuple[int, int, int]) -> None:
    x = world(np.random.default_rng(4), shape, draw=0.3, seed=0.3, item=0.5, noise=0.3)
    found = mean_interval(x, np.random.default_rng(0), replicates=60_000)
    assert found.mean == pytest.approx(x.mean())
    half = 1.96 * np.sqrt(closed_form_variance(x))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.08)  # percentiles of a mean, nearly normal


def test_ten_thousand_replicates_take_no_time() -> None:
    x = world(np.random.default_rng(0), (6, 3, 100))
    start = time.process_time()
    mean_interval(x[1:], np.random.default_rng(0))
    difference(x[:1], x[1:], np.random.default_rng(0))
    assert time.process_time() - start < 2  # 0.2 s on a quiet machine; a loop takes minutes


def test_missing_scores_are_counted_and_left_out() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 11))
    x[0, 1] = np.nan
    x[:, :, 7] = np.nan
    x[1, 2, 3] = np.nan
    found = mean_interval(x, np.random.default_rng(0))
    assert (found.n, found.n_scored) == (66, 66 - 11 - 5 - 1)
    assert found.mean == pytest.approx(np.nanmean(x))
    assert found.low < found.mean < found.high
    without = mean_interval(np.delete(x, 7, axis=2), np.random.default_rng(0))
    assert (without.mean, without.low, without.high) == (found.mean, found.low, found.high)


def test_nothing_scored_and_few_items() -> None:
    nothing = mean_interval(np.full((1, 2, 5), np.nan), np.random.default_rng(0))
    assert (nothing.mean, nothing.low, nothing.high, nothing.n, nothing.n_scored) == (None, None, None, 10, 0)
    few = mean_interval(np.arange(4.0).reshape(1, 1, 4), np.random.default_rng(0))
    assert (few.mean, few.low, few.high) == (1.5, None, None)
    rare = np.full((5, 1, 6), np.nan)
    rare[range(5), 0, range(5)] = [1, 2, 3, 4, 5]
    sparse = mean_interval(rare, np.random.default_rng(0))
    assert sparse.mean == 3 and 1 <= sparse.low < 3 < sparse.high <= 5


def test_results_are_plain_numbers_and_repeat_themselves() -> None:
    x = world(np.random.default_rng(0), (4, 2, 30)).astype(np.float32)
    a, b = (difference(x[:1], x[1:], np.random.default_rng(3)) for _ in range(2))
    assert a == b and {type(a.diff), type(a.low), type(a.high), type(a.p)} == {float}
    c = mean_interval(x, np.random.default_rng(3))
    assert {type(c.mean), type(c.low), type(c.high)} == {float} and {type(c.n), type(c.n_scored)} == {int}


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; none may be less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([0.03]) == [0.03] and holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_steps_down(p: list[float]) -> None:
    adjusted = holm(p)
    for level in (0.01, 0.05, 0.3):
        order = sorted(range(len(p)), key=lambda k: p[k])
        rejected: set[int] = set()
        for rank, k in enumerate(order):
            if p[k] * (len(p) - rank) > level:
                break
            rejected.add(k)
        assert {k for k in range(len(p)) if adjusted[k] <= level} == rejected


@pytest.mark.parametrize(
    ("low", "high", "p", "higher", "words"),
    [
        (0.1, 0.3, 0.01, True, "beats random"),
        (0.1, 0.3, 0.01, False, "loses to random"),
        (-0.3, -0.1, 0.01, True, "loses to random"),
        (-0.3, -0.1, 0.01, False, "beats random"),
        (0.1, 0.3, 0.05, True, "no difference shown"),
        (-0.1, 0.3, 0.01, True, "no difference shown"),
        (0.0, 0.3, 0.01, True, "no difference shown"),
        (-0.3, 0.0, 0.01, False, "no difference shown"),
    ],
)
def test_verdicts(low: float, high: float, p: float, higher: bool, words: str) -> None:
    assert verdict((low + high) / 2, low, high, p_adjusted=p, higher_is_better=higher) == words


@given(
    st.integers(2, 7).flatmap(
        lambda s: st.lists(
            st.tuples(
                *[st.lists(st.integers(-3, 3), min_size=s, max_size=s)] * 2,
                st.lists(st.integers(0, 3), min_size=s, max_size=s),
            ),
            min_size=1,
            max_size=5,
        )
    )
)
def test_rank_correlation_is_scipys_of_the_resample_written_out(rows: list[tuple[list[int], ...]]) -> None:
    a, b, times = (np.array(side, dtype=np.float64) for side in zip(*rows, strict=True))
    ranks = [Ranked.of(side).among(times) for side in (a, b)]
    found = rank_correlation(*ranks, times)
    assert found.shape == (len(rows),)
    for k, (x, y, w) in enumerate(rows):
        drawn = np.repeat(np.arange(len(x)), w)
        x, y = np.array(x)[drawn], np.array(y)[drawn]
        for side, mine in zip((x, y), ranks, strict=True):
            wanted = 2 * (stats.rankdata(side) - (len(side) + 1) / 2) if len(side) else []
            assert mine[k][drawn].tolist() == list(wanted)
        if len(set(y)) < 2:
            assert np.isnan(found[k]), "what was found cannot be ranked"
        elif len(set(x)) == 1:
            assert found[k] == 0, "one value for all predicts nothing"
        else:
            assert found[k] == pytest.approx(stats.spearmanr(x, y).statistic)


def test_a_missing_value_that_is_never_taken_plays_no_part() -> None:
    a, times = np.array([[2.0, np.nan, 1, 3], [1, 2, 3, np.nan]]), np.array([[2.0, 0, 1, 1], [1, 1, 1, 0]])
    b = np.array([[5.0, 9, 4, 4], [3, 2, 1, 9]])
    found = rank_correlation(Ranked.of(a).among(times), Ranked.of(b).among(times), times)
    np.testing.assert_allclose(found, [stats.spearmanr([2, 2, 1, 3], [5, 5, 4, 4]).statistic, -1])
    nothing = Ranked.of(np.empty((0, 3))).among(np.empty((0, 3)))
    assert rank_correlation(nothing, nothing, np.empty((0, 3))).shape == (0,)
