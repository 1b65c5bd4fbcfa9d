"""Means over runs and their intervals, by hand."""

from __future__ import annotations

import pytest

from nncift.experiment.tables.pooling import gap, pooled, student_t


@pytest.mark.parametrize(("freedom", "t"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042), (100_000, 1.960)])
def test_student_t_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert student_t(freedom) == pytest.approx(t, abs=6e-4)


def test_one_run_keeps_its_own_interval() -> None:
    found = pooled([2.0], [(1.5, 2.75)])
    assert found is not None and (found.mean, found.ends, found.runs) == (2.0, (1.5, 2.75), 1)
    alone = pooled([2.0], [None])
    assert alone is not None and alone.ends is None
    assert pooled([], []) is None


def test_runs_that_agree_are_no_surer_than_each() -> None:
    found = pooled([2.0, 2.0, 2.0], [(1.5, 2.5), (1.0, 3.0), (1.5, 2.5)])
    assert found is not None and found.ends == pytest.approx((4 / 3, 8 / 3)) and found.runs == 3


def test_runs_that_differ_show_it_at_either_end() -> None:
    found = pooled([1.0, 2.0, 3.0], [(0.9, 4.0), (1.9, 5.0), (2.9, 9.0)])
    half = 4.302653 / 3**0.5  # standard deviation 1
    assert found is not None and found.mean == 2.0
    below, above = (0.1**2 + half**2) ** 0.5, (4.0**2 + half**2) ** 0.5  # the runs' own ends are 1.9 and 6 on average
    assert found.ends == pytest.approx((2 - below, 2 + above), abs=1e-5)


def test_a_gap_adds_in_squares() -> None:
    diff, ends = gap(5.0, (2.0, 6.0), 1.0, (-2.0, 5.0))
    assert diff == 4.0 and ends == pytest.approx((4 - (3**2 + 4**2) ** 0.5, 4 + (1**2 + 3**2) ** 0.5))
    assert gap(5.0, (2.0, 6.0), 1.0, None) == (4.0, None)
