"""Lazy greedy against the plainest greedy, the optimum, and the function's own definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nncift.kernel.lines import DenseLines
from nncift.objective.greedy import Search, greedy
from nncift.objective.problem import CoverageProblem


def naive(problem: CoverageProblem, budget: int, rest: np.ndarray) -> tuple[list[int], list[float], int]:
    """Compares all true gains in every step; the first of the largest wins."""
    n = problem.size
    left, chosen, gains, positive = list(range(n)), [], [], 0
    for _ in range(min(budget, n)):
        before = problem.value(np.array(chosen, dtype=int))
        gain = {j: problem.value(np.array([*chosen, j])) - before for j in left}
        best = max(left, key=lambda j: gain[j])
        if positive == len(chosen) and gain[best] > 0:
            positive += 1
        else:
            best = max(left, key=lambda j: rest[j])
        chosen.append(best)
        gains.append(gain[best])
        left.remove(best)
    return chosen, gains, positive


def tied_problem(seed: int) -> tuple[CoverageProblem, np.ndarray]:
    """Small whole numbers: every sum is exact, and ties are everywhere."""
    rng = np.random.default_rng(seed)
    n, r = int(rng.integers(1, 31)), int(rng.integers(1, 90))
    values = rng.integers(-2, 4, size=(n, r)).astype(np.float32)
    start = rng.integers(-3, 2, size=r).astype(np.float64)
    cap = rng.integers(-2, 4, size=r).astype(np.float64) if seed % 3 == 1 else None
    modular = rng.integers(-4, 3, size=n).astype(np.float64) if seed % 5 in (1, 2) else None
    return CoverageProblem(DenseLines(values), start, cap, modular), rng.integers(0, 3, size=n).astype(np.float64)


def real_problem(seed: int, *, n: int, r: int) -> CoverageProblem:
    rng = np.random.default_rng(seed)
    cap = rng.normal(1.0, 1.0, size=r) if seed % 2 else None
    modular = rng.random(n) if seed % 3 == 0 else None
    return CoverageProblem(
        DenseLines(rng.normal(size=(n, r)).astype(np.float32)), rng.normal(-1.0, 1.0, size=r), cap, modular
    )


@pytest.mark.parametrize("seed", range(200))
def test_lazy_is_naive_with_many_ties(seed: int) -> None:
    problem, rest = tied_problem(seed)
    budget = len(rest) + 1 if seed % 2 else 1 + len(rest) // 2
    ranking = greedy(problem, budget, rest=rest, search=Search(threads=1))
    order, gains, positive = naive(problem, budget, rest)
    assert ranking.order.tolist() == order
    assert ranking.gains.tolist() == gains
    assert ranking.positive == positive


@pytest.mark.parametrize("seed", range(12))
def test_lazy_is_naive_on_real_numbers(seed: int) -> None:
    problem = real_problem(seed, n=40, r=150)
    ranking = greedy(problem, 12, rest=np.zeros(40), search=Search(threads=1))
    order, gains, _ = naive(problem, ranking.positive, np.zeros(40))
    assert ranking.order[: ranking.positive].tolist() == order
    assert ranking.gains[: ranking.positive].tolist() == pytest.approx(gains, abs=1e-9)


@pytest.mark.parametrize("seed", range(24))
def test_at_least_1_minus_1_over_e_of_the_optimum(seed: int) -> None:
    n, k = 6 + seed % 5, 1 + seed % 4
    problem = real_problem(seed, n=n, r=4)
    best = max(problem.value(np.array(chosen)) for chosen in combinations(range(n), k))
    reached = problem.value(greedy(problem, k, rest=np.zeros(n)).order)
    assert best > 0
    assert (1 - 1 / np.e) * best <= reached <= best + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_gains_never_grow_and_add_up_to_the_value(seed: int) -> None:
    problem = real_problem(seed, n=50, r=70)
    ranking = greedy(problem, 50, rest=np.arange(50.0))
    assert (np.diff(ranking.gains[: ranking.positive]) <= 0).all()
    values = [problem.value(ranking.order[:k]) for k in range(51)]
    np.testing.assert_allclose(np.diff(values), ranking.gains, atol=1e-9)
    assert problem.value(ranking.order[:0]) == 0.0


@pytest.mark.parametrize("seed", range(10))
def test_a_smaller_budget_gives_a_prefix(seed: int) -> None:
    problem, rest = tied_problem(seed)
    whole = greedy(problem, len(rest), rest=rest)
    for k in range(len(rest)):
        part = greedy(problem, k, rest=rest)
        assert part.order.tolist() == whole.order[:k].tolist()
        assert part.gains.tolist() == whole.gains[:k].tolist()
        assert part.positive == min(k, whole.positive)


def test_threads_do_not_change_a_bit() -> None:
    problem = real_problem(1, n=300, r=333)
    alone = greedy(problem, 100, rest=np.zeros(300), search=Search(threads=1))
    for threads in (0, 2, 5):
        other = greedy(problem, 100, rest=np.zeros(300), search=Search(threads=threads))
        assert other.order.tobytes() == alone.order.tobytes()
        assert other.gains.tobytes() == alone.gains.tobytes()


def test_a_stale_bound_that_ties_with_a_fresh_gain_is_refreshed_first() -> None:
    """After pick 2, candidate 1 gains 2; candidate 0's old bound is 2 too and still holds: the lower index must win."""
    values = np.array([[0, 0, 2], [2, 0, 1], [1, 4, 0]], np.float32)
    ranking = greedy(CoverageProblem(DenseLines(values), np.zeros(3)), 3, rest=np.zeros(3))
    assert ranking.order.tolist() == [2, 0, 1]
    assert ranking.gains.tolist() == [5.0, 2.0, 1.0]


class TestEdges:
    def test_no_budget(self) -> None:
        ranking = greedy(real_problem(2, n=7, r=5), 0, rest=np.zeros(7))
        assert len(ranking.order) == len(ranking.gains) == ranking.positive == 0

    @pytest.mark.parametrize("budget", [7, 8, 1000])
    def test_everything_is_chosen_once(self, budget: int) -> None:
        assert sorted(greedy(real_problem(2, n=7, r=5), budget, rest=np.zeros(7)).order.tolist()) == list(range(7))

    @pytest.mark.parametrize("budget", [0, 1, 2])
    def test_one_candidate_and_none(self, budget: int) -> None:
        assert len(greedy(real_problem(2, n=1, r=5), budget, rest=np.zeros(1)).order) == min(budget, 1)
        assert len(greedy(real_problem(2, n=0, r=5), budget, rest=np.zeros(0)).order) == 0

    def test_equal_columns_come_once_each_and_the_second_gains_nothing(self) -> None:
        values = np.repeat(np.array([[1, 2, 0, 1], [0, 1, 3, 1]], np.float32), 3, axis=0)
        ranking = greedy(CoverageProblem(DenseLines(values), np.zeros(4)), 6, rest=np.array([0.0, 1, 2, 0, 1, 2]))
        assert ranking.order.tolist() == [3, 0, 2, 5, 1, 4]
        assert ranking.gains.tolist() == [5.0, 2.0, 0.0, 0.0, 0.0, 0.0]
        assert ranking.positive == 2
        assert ranking.rest_rule == "Picks 3 to 6 had no positive gain and follow mean influence, then the lowest id."

    def test_an_all_zero_kernel_follows_the_rest(self) -> None:
        ranking = greedy(
            CoverageProblem(DenseLines(np.zeros((4, 3), np.float32)), np.zeros(3)), 3, rest=np.array([1.0, 2, 1, 0])
        )
        assert ranking.order.tolist() == [1, 0, 2] and ranking.positive == 0

    def test_negative_kernels_under_both_floors(self) -> None:
        values = np.array([[-3, -1], [-2, -2], [-1, -4]], np.float32)
        from_zero = greedy(CoverageProblem(DenseLines(values), np.zeros(2)), 2, rest=np.zeros(3))
        assert from_zero.positive == 0 and from_zero.order.tolist() == [0, 1]
        from_minimum = greedy(CoverageProblem(DenseLines(values), np.full(2, -4.0)), 3, rest=np.zeros(3))
        assert from_minimum.order.tolist() == [0, 2, 1] and from_minimum.gains.tolist() == [4.0, 2.0, 0.0]

    def test_every_pick_positive_says_so(self) -> None:
        ranking = greedy(CoverageProblem(DenseLines(np.eye(4, 5, dtype=np.float32)), np.zeros(5)), 4, rest=np.zeros(4))
        assert ranking.positive == 4 and ranking.rest_rule == "Every pick was made for its gain."
