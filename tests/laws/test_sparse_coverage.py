"""Coverage from the best entries of every row: against the whole one, and what is said of the loss."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nncift.errors import ConfigError, ModelError
from nncift.kernel.lines import MASKED, ClosedLines, DenseLines, Lines
from nncift.objective import survey as surveying
from nncift.objective.greedy import Search, greedy
from nncift.objective.limits import Limits
from nncift.objective.problem import CoverageProblem
from nncift.objective.reasons import explain
from nncift.objective.sparse import SparseCoverage

N, M = 53, 17


class Computed:
    """A matrix that gives lines as if it had to work for them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def take(self, which: np.ndarray) -> np.ndarray:
        return self.values[which].copy()


def some(seed: int, *, n: int = N, m: int = M, tied: bool = False, computed: bool = False) -> CoverageProblem:
    """Of any kind: with a start, a cap, a worth of each candidate, masked pairs, and a row that starts at its cap."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-2, 4, size=(n, m)).astype(np.float32) if tied else rng.normal(size=(n, m)).astype(np.float32)
    values[rng.random((n, m)) < 0.1] = MASKED
    start = np.zeros(m) if seed % 2 else rng.normal(size=m) - 1
    cap = None if seed % 3 else rng.uniform(-0.5, 2.5, size=m)
    worth = rng.uniform(0, 0.3, size=n) if seed % 4 == 0 else None
    lines: Lines = Computed(values) if computed else DenseLines(values)
    return CoverageProblem(lines, start, cap, worth)


def matrix_of(problem: CoverageProblem) -> np.ndarray:
    return problem.lines.take(np.arange(problem.size))


def dense_of(sparse: SparseCoverage) -> np.ndarray:
    """What is kept, as a matrix."""
    values = np.full(sparse.problem.lines.shape, MASKED)
    for j in range(sparse.size):
        at = slice(sparse.starts[j], sparse.starts[j + 1])
        values[j, sparse.rows[at]] = sparse.values[at]
    return values


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("keep", [1, 3, 10, N, 4 * N])
def test_the_best_of_each_row_are_kept_and_of_equals_the_lowest(keep: int, computed: bool) -> None:
    for seed in range(8):
        problem = some(seed, tied=True, computed=computed)
        sparse = SparseCoverage.of(problem, keep)
        values, kept, cap = matrix_of(problem), dense_of(sparse), problem.limit
        assert len(sparse.values) <= keep * M and sparse.starts[-1] == len(sparse.values)
        for i in range(M):
            useful = [j for j in range(N) if values[j, i] > problem.start[i] and problem.start[i] < cap[i]]
            best = sorted(useful, key=lambda j, i=i: (-values[j, i], j))
            assert np.flatnonzero(kept[:, i] != MASKED).tolist() == sorted(best[:keep])
            assert (kept[best[:keep], i] == values[best[:keep], i]).all()
            beyond = values[best[keep], i] if len(best) > keep else problem.start[i]
            assert sparse.beyond[i] == min(beyond, cap[i])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("optimizer", ["naive", "lazy"])
def test_with_every_entry_it_is_the_whole_coverage_to_the_bit(seed: int, optimizer: str) -> None:
    problem = some(seed, n=120, m=90, tied=seed % 2 == 0)  # more rows than lanes
    sparse = SparseCoverage.of(problem, 120)
    assert sparse.dropped == 0.0
    rest = np.arange(120.0)
    whole = greedy(problem, 60, rest=rest)
    search = Search("naive" if optimizer == "naive" else "lazy", threads=1 + seed % 3)
    found = greedy(sparse, 60, rest=rest, search=search)
    assert found.order.tobytes() == whole.order.tobytes()
    assert found.gains[: found.positive].tobytes() == whole.gains[: whole.positive].tobytes()
    assert sparse.value(found.order) == problem.value(whole.order)
    assert sparse.hidden(found.order) == 0.0


@pytest.mark.parametrize("keep", [1, 2, 4, 9, 30])
def test_what_is_said_of_the_loss_holds_for_every_set(keep: int) -> None:
    for seed in range(12):
        problem = some(seed)
        sparse = SparseCoverage.of(problem, keep)
        rng = np.random.default_rng(seed)
        for size in (0, 1, 2, 5, 20, N):
            chosen = rng.permutation(N)[:size]
            low, true = sparse.value(chosen), problem.value(chosen)
            hidden = sparse.hidden(chosen)
            assert low - 1e-9 <= true <= low + hidden + 1e-9
            assert hidden <= sparse.dropped + 1e-12


@pytest.mark.parametrize("keep", [1, 2, 4, 9])
def test_no_set_is_better_than_the_upper_bound(keep: int) -> None:
    tight = []
    for seed in range(12):
        problem = some(seed, n=11, m=7)
        sparse = SparseCoverage.of(problem, keep)
        for size in (1, 2, 4):
            best = max(problem.value(np.array(chosen)) for chosen in combinations(range(11), size))
            found = greedy(sparse, size, rest=np.zeros(11)).order
            bound = sparse.upper_bound(found)
            assert bound >= best - 1e-9
            assert bound >= problem.value(greedy(problem, size, rest=np.zeros(11)).order) - 1e-9
            tight.append(bound / best if best > 0 else 1.0)
    assert np.mean(tight) < 3.0


def test_a_worth_below_nothing_does_not_break_the_bound() -> None:
    for seed in range(12):
        whole = some(4 * seed, n=9, m=5)
        problem = CoverageProblem(whole.lines, whole.start, whole.cap, np.random.default_rng(seed).normal(size=9))
        sparse = SparseCoverage.of(problem, 2)
        best = max(problem.value(np.array(chosen)) for chosen in combinations(range(9), 3))
        for chosen in combinations(range(9), 3):
            assert sparse.upper_bound(np.array(chosen)) >= best - 1e-9


def test_more_entries_lose_less() -> None:
    problem = some(1)
    ladder = [SparseCoverage.of(problem, keep) for keep in (1, 3, 9, 27, N)]
    dropped = [sparse.dropped for sparse in ladder]
    assert dropped == sorted(dropped, reverse=True) and dropped[0] > 0 == dropped[-1]
    values = [problem.value(greedy(sparse, 8, rest=np.zeros(N)).order) for sparse in ladder]
    assert values[0] < values[-1] and max(values) == values[-1]


def test_greedy_of_a_sparse_coverage_is_greedy_of_what_is_kept() -> None:
    for seed in range(8):
        problem = some(seed)
        sparse = SparseCoverage.of(problem, 4)
        kept = CoverageProblem(DenseLines(dense_of(sparse)), problem.start, problem.cap, problem.modular)
        rest = np.arange(float(N))
        limits = Limits(30.0, cost=np.arange(1.0, N + 1) % 5 + 1, kept=np.array([9]), closed=np.array([2, 3]))
        for budget in (20, limits):
            expected, found = greedy(kept, budget, rest=rest), greedy(sparse, budget, rest=rest)
            assert found.order.tolist() == expected.order.tolist() and found.positive == expected.positive
            np.testing.assert_allclose(found.gains, expected.gains, atol=1e-12)


def test_closed_candidates_and_masked_pairs_are_not_kept() -> None:
    base = some(1)
    closed = np.zeros(N, dtype=np.bool_)
    closed[[0, 5, 30]] = True
    sparse = SparseCoverage.of(CoverageProblem(ClosedLines(base.lines, closed), base.start), 6)
    assert not np.diff(sparse.starts)[closed].any()
    assert np.isfinite(sparse.values).all() and np.isfinite(sparse.beyond).all()


def test_bits_depend_on_neither_threads_nor_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = None
    for threads, block, computed in ((1, 1 << 18, False), (2, 1, True), (3, 300, True), (1, 1 << 20, True)):
        monkeypatch.setattr(surveying, "_AT_ONCE", block)
        sparse = SparseCoverage.of(some(2, tied=True, computed=computed), 5, threads=threads)
        ranking = greedy(sparse, 20, rest=np.zeros(N), search=Search(threads=threads))
        parts = (sparse.starts, sparse.rows, sparse.values, sparse.beyond, ranking.order, ranking.gains)
        found = [part.tobytes() for part in parts]
        expected = expected or found
        assert found == expected


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        SparseCoverage.of(some(1), 0)
    problem = some(1)
    matrix = matrix_of(problem)
    matrix[44, 3] = np.nan
    with pytest.raises(ModelError, match="no numbers"):
        SparseCoverage.of(CoverageProblem(DenseLines(matrix), problem.start), 3)
    nothing = SparseCoverage.of(CoverageProblem.of_scores(np.arange(4.0)), 2)
    assert len(nothing.values) == 0 and nothing.dropped == 0.0
    assert greedy(nothing, 2, rest=np.zeros(4)).order.tolist() == [3, 2]


def test_reasons_are_those_of_the_whole_kernel() -> None:
    problem = some(1)
    sparse = SparseCoverage.of(problem, 3)
    ranking = greedy(sparse, 5, rest=np.zeros(N))
    rows = [f"t{i}" for i in range(M)]
    found = explain(sparse, ranking, rows, np.zeros(N))
    assert found == explain(problem, ranking, rows, np.zeros(N)) and "best so far for" in found[0]
