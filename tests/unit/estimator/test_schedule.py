"""How many labels a round has, and the forecast that ends them, against sums that are known."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.estimator.agreement import spearman
from nncift.estimator.budget import parse_labels
from nncift.estimator.schedule import SLACK, Forecast, Schedule, in_rounds

counts = st.integers(1, 10**6)


@given(st.integers(1, 3000), st.integers(1, 200_000))
def test_auto_takes_a_fifth_of_the_pairs_at_most_and_starts_with_few(m: int, n: int) -> None:
    schedule = Schedule.auto(m, n)
    if schedule is None:
        assert m * n <= 400
        return
    assert 0 < schedule.first <= schedule.least <= schedule.most <= schedule.reference
    assert schedule.most <= max(64, round(0.2 * m * n)) and schedule.most <= max(64, 40 * n)
    assert schedule.most <= max(100_000, 5 * n)


@pytest.mark.parametrize(
    ("m", "n", "least", "most"),
    [(200, 200, 2000, 8000), (500, 3500, 25_000, 100_000), (500, 100_000, 125_000, 500_000), (1, 3500, 172, 700)],
)
def test_what_auto_costs(m: int, n: int, least: int, most: int) -> None:
    schedule = Schedule.auto(m, n)
    assert schedule is not None and (schedule.least, schedule.most) == (least, most)


@given(st.integers(64, 10**6))
def test_a_fixed_number_is_reached_in_three_rounds(total: int) -> None:
    schedule = Schedule.fixed(total, 1000, 1001)
    assert schedule is not None and schedule.least == total
    rounds: list[int] = [schedule.first]
    while (after := schedule.after(rounds[-1], Forecast(1e-9, 10**6))) is not None:  # forecasts do not stop it
        rounds.append(after)
    assert rounds[-1] == total and len(rounds) <= 4 and rounds == sorted(set(rounds))


@given(counts, counts, counts, st.floats(1.0, 1e6))
def test_a_forecast_finds_the_curve_that_made_the_changes(a: int, b: int, c: int, half: float) -> None:
    first, second, third = a, a + b, a + b + c
    reached = [sqrt(labels / (labels + half)) for labels in (first, second, third)]
    likeness = (reached[0] / reached[2], reached[1] / reached[2])
    if max(likeness) > 0.999:
        return  # the changes are below what rounding tells
    forecast = Forecast.of(third, list(zip((first, second), likeness, strict=True)), 10 * third)
    assert forecast.half == pytest.approx(half, rel=0.02)
    assert forecast.reached(third) == pytest.approx(reached[2], rel=0.02)


def test_noisy_means_follow_the_curve() -> None:
    """Shrunken means of noisy labels, of which every candidate has equally many: the law that the forecast rests on."""
    rng = np.random.default_rng(0)
    n, noise, rounds = 4000, 2.0, (2, 4, 8, 40)
    truth = rng.normal(size=n)
    labels = truth[:, None] + noise * rng.normal(size=(n, rounds[-1]))
    means = {k: labels[:, :k].mean(axis=1) for k in rounds}
    forecast = Forecast.of(8 * n, [(k * n, spearman(means[k], means[8])) for k in (2, 4)], 40 * n)
    assert noise**2 * n < forecast.half < 1.25 * noise**2 * n  # ranks correlate a little less than values: no early end
    for k in rounds:
        assert forecast.reached(k * n) == pytest.approx(spearman(truth, means[k]), abs=0.03)


@given(st.floats(1.0, 1e6), st.integers(100, 10**7))
def test_the_needed_labels_are_the_fewest_that_come_close_enough(half: float, reference: int) -> None:
    forecast = Forecast(half, reference)
    needed = forecast.needed
    assert 0 < needed <= reference
    assert forecast.reached(needed) >= forecast.wanted - 1e-9
    if 1 < needed < reference:
        assert forecast.reached(needed - 1) < forecast.wanted + 1e-9
    if forecast.enough(needed):
        assert forecast.reached(reference) - forecast.reached(needed) <= SLACK + 1e-9


def test_nothing_ends_while_everything_changes() -> None:
    forecast = Forecast.of(400, [(100, 0.7), (200, 0.6)], 8000)  # as if nothing had been known before
    assert forecast.half == inf and not forecast.enough(400) and forecast.needed == 8000
    schedule = Schedule(100, 8000, 8000, stops=True)
    assert schedule.after(400, forecast) == 800 and schedule.after(400, None) == 800


def test_a_round_is_as_large_as_the_forecast_needs_and_worth_a_fit() -> None:
    schedule = Schedule(500, 8000, 8000, stops=True)
    near, far = Forecast(700.0, 8000), Forecast(3000.0, 8000)
    assert near.needed < 1.5 * 4000 and schedule.after(4000, near) == max(near.needed, 5000)
    assert schedule.after(4000, far) == min(8000, far.needed)
    assert schedule.after(8000, far) is None and schedule.after(near.needed, near) is None


def test_only_auto_and_adaptive_have_rounds() -> None:
    kernel = {"m": 90, "n": 200, "most": 90 * 200}
    assert in_rounds(parse_labels("auto"), **kernel, adaptive=False) is not None
    assert in_rounds(parse_labels("5%"), **kernel, adaptive=False) is None
    assert in_rounds(parse_labels("5%"), **kernel, adaptive=True) == Schedule(225, 900, 3600, stops=False)
    assert in_rounds(parse_labels("u=5%"), **kernel, adaptive=True) is None
    assert in_rounds(parse_labels("all"), **kernel, adaptive=True) is None
    few = in_rounds(parse_labels("auto"), m=90, n=200, most=1000, adaptive=False)
    assert few is not None and few.most == 1000
