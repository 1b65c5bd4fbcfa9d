"""The worth of a selection: greedy and random by definition, and the ends of the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nncift.rehearsal.gains import BUDGETS, Yardstick
from nncift.rehearsal.matrix import Matrix, read_matrix
from toy_rehearsal import make_known


@pytest.fixture
def matrix(tmp_path: Path) -> Matrix:
    return read_matrix(make_known(tmp_path, masked=9).folder / "labels.npz")


def worth(matrix: Matrix, chosen: list[int]) -> float:
    """Facility location on the known entries, each row above its smallest."""
    rows = [[float(v) for v in row[known]] for row, known in zip(matrix.values, matrix.known, strict=True)]
    total = 0.0
    for i, row in enumerate(rows):
        seen = [float(matrix.values[i, j]) for j in chosen if matrix.known[i, j]]
        total += max([min(row), *seen]) - min(row)
    return total


def naive_greedy(matrix: Matrix, values: np.ndarray, count: int) -> list[int]:
    """Adds the candidate with the largest gain, again and again."""
    like = Matrix(values, matrix.known, matrix.target_ids, matrix.pool_ids, matrix.rows, matrix.columns)
    chosen: list[int] = []
    while len(chosen) < count:
        left = [j for j in range(values.shape[1]) if j not in chosen]
        chosen.append(max(left, key=lambda j: worth(like, [*chosen, j])))
    return chosen


def test_gains_are_the_brute_force(matrix: Matrix) -> None:
    yardstick = Yardstick.of(matrix, seed=0)
    n = matrix.values.shape[1]
    rng = np.random.default_rng(3)
    predicted = matrix.values + 0.1 * rng.normal(size=matrix.values.shape).astype(np.float32)
    found = yardstick.gains(np.where(matrix.known, predicted, 99))  # a masked pair counts for nothing
    picks, best = (naive_greedy(matrix, values, 9) for values in (predicted, matrix.values))
    for name, share, k in zip(BUDGETS, BUDGETS.values(), (1, 2, 3, 9), strict=True):
        assert k == max(1, round(share * n))
        draws = [worth(matrix, list(rng.choice(n, k, replace=False))) for _ in range(2000)]
        random, error = np.mean(draws), np.std(draws) / np.sqrt(200)
        place = list(BUDGETS).index(name)
        assert abs(yardstick.random[place] - random) < 5 * error
        assert yardstick.best[place] == pytest.approx(worth(matrix, best[:k]), rel=1e-5)
        expected = (worth(matrix, picks[:k]) - yardstick.random[place]) / (
            worth(matrix, best[:k]) - yardstick.random[place]
        )
        assert found[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_exact_predictions_gain_all_and_their_opposite_less_than_random(matrix: Matrix) -> None:
    yardstick = Yardstick.of(matrix, seed=0)
    assert list(yardstick.gains(matrix.values).values()) == [1.0] * 4
    assert all(value is not None and value < 0.2 for value in yardstick.gains(-matrix.values).values())
    assert yardstick.gains(5 * matrix.values + 3) == yardstick.gains(matrix.values)


def test_random_subsets_depend_on_the_seed_alone(matrix: Matrix) -> None:
    first, again, other = (Yardstick.of(matrix, seed=seed).random for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_where_nothing_is_to_be_gained_there_is_no_figure(matrix: Matrix) -> None:
    flat = Matrix(
        np.full_like(matrix.values, 0.5), matrix.known, matrix.target_ids, matrix.pool_ids, matrix.rows, matrix.columns
    )
    assert set(Yardstick.of(flat, seed=0).gains(matrix.values).values()) == {None}


def test_candidates_of_which_nothing_is_known_are_never_drawn(matrix: Matrix) -> None:
    known = matrix.known.copy()
    known[:, :20] = False
    values = np.where(known, matrix.values, np.float32(50))
    fewer = Matrix(values, known, matrix.target_ids, matrix.pool_ids, matrix.rows, matrix.columns)
    yardstick = Yardstick.of(fewer, seed=0)
    assert yardstick.sizes == (1, 1, 1, 3)
    single = [worth(fewer, [j]) for j in range(20, 30)]
    assert min(single) < yardstick.random[0] < max(single)
    assert yardstick.random[0] == pytest.approx(np.mean(single), rel=0.3)
