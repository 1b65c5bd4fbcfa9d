"""Concave coverage, graph cut, log-determinant and disparity: formulas, brute force, and what must not matter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

import numpy as np
import pytest

from nncift.errors import ConfigError, ModelError
from nncift.kernel.lines import DenseLines
from nncift.objective import alike as likeness
from nncift.objective import survey as surveying
from nncift.objective.base import Kernels, Objective
from nncift.objective.concave import ConcaveCoverage, row_means
from nncift.objective.determinant import LogDeterminant
from nncift.objective.disparity import DisparityMin, DisparitySum
from nncift.objective.functions import SetFunction
from nncift.objective.graph_cut import GraphCut, GraphCutFunction
from nncift.objective.greedy import Search, greedy
from nncift.objective.limits import Limits
from nncift.objective.modular import TopMean
from nncift.objective.problem import CoverageProblem
from nncift.objective.reasons import explain

N, M = 9, 6
LAMBDA, RIDGE = 0.15, 1.5

CONCAVE = [ConcaveCoverage("sqrt"), ConcaveCoverage("log"), ConcaveCoverage("ratio")]
SYMMETRIC = [GraphCut(LAMBDA), LogDeterminant(RIDGE), DisparitySum(), DisparityMin()]
SUBMODULAR = [*CONCAVE, GraphCut(LAMBDA), LogDeterminant(RIDGE)]
EVERY = [*CONCAVE, *SYMMETRIC]


def names(objective: Objective) -> str:
    return f"{objective.name} {getattr(objective, 'shape', '')}".strip()


class Computed:
    """A matrix that gives lines as if it had to work for them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.taken = values, 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def take(self, which: np.ndarray) -> np.ndarray:
        self.taken += len(which)
        return self.values[which].copy()


@dataclass(frozen=True)
class Matrices:
    """Dense kernels of which the pool's is symmetric and positive semi-definite, and what is masked."""

    target: np.ndarray
    pool: np.ndarray
    masked: np.ndarray
    masked_pool: np.ndarray

    def kernels(self, *, computed: bool = False) -> Kernels:
        dense = Kernels.dense(
            self.target.copy(), pool=self.pool.copy(), masked=self.masked, masked_pool=self.masked_pool
        )
        if not computed:
            return dense
        assert isinstance(dense.target, DenseLines) and isinstance(dense.pool, DenseLines)
        return replace(dense, target=Computed(dense.target.values), pool=Computed(dense.pool.values))


def some(seed: int, *, n: int = N, m: int = M, masked: bool = True) -> Matrices:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, m)).astype(np.float32)
    vectors = rng.normal(size=(n, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if masked:  # candidates 1 and 2 have one text
        vectors[2], target[2] = vectors[1], target[1]
    pool = (vectors @ vectors.T).astype(np.float32)
    pool = np.maximum(pool, pool.T)
    pairs = np.argwhere(rng.random((m, n)) < 0.2) if masked else np.empty((0, 2), int)
    own = np.stack([np.arange(n)] * 2, axis=1) if masked else np.empty((0, 2), int)
    if masked:
        own = np.concatenate([own, [[1, 2], [2, 1]]])
    target[pairs[:, 1], pairs[:, 0]] = 99.0
    pool[own[:, 1], own[:, 0]] = 99.0
    return Matrices(target, pool, pairs, own)


def definition(objective: Objective, given: Matrices, chosen: list[int]) -> float:
    """f(A) by the formula in the objective's docstring, in plain loops."""
    n, m = given.target.shape
    k = {(int(i), int(j)): float(given.target[j, i]) for j, i in np.ndindex(n, m)}
    p = {(int(a), int(b)): float(given.pool[a, b]) for a, b in np.ndindex(n, n)}
    for i, j in given.masked:
        del k[int(i), int(j)]
    for i, j in given.masked_pool:
        del p[int(j), int(i)]
    same, low = max(p.values()), min([*k.values(), *p.values()])
    if isinstance(objective, GraphCut):
        helps = sum(k[i, j] - low for j in chosen for i in range(m) if (i, j) in k)
        return n / m * helps - LAMBDA * sum(p.get((a, b), same) - low for a in chosen for b in chosen)
    if isinstance(objective, LogDeterminant):
        square = np.array([[p.get((a, b), same) + RIDGE * (a == b) for b in chosen] for a in chosen])
        return float(np.log(np.linalg.det(square)))
    if isinstance(objective, DisparitySum | DisparityMin):
        far = [same - p.get((a, b), same) for a, b in combinations(chosen, 2)]
        return sum(far) if isinstance(objective, DisparitySum) else min(far, default=0.0)
    assert isinstance(objective, ConcaveCoverage)
    rows = [[v for (row, _), v in k.items() if row == i] for i in range(m)]
    floors = [float(np.mean(row)) for row in rows]
    unit = float(np.mean([max(row) - floor for row, floor in zip(rows, floors, strict=True)]))
    g = {"sqrt": np.sqrt, "log": np.log1p, "ratio": lambda x: x / (1 + x)}[objective.shape]
    mass = [sum(max(k.get((i, j), -inf) - floors[i], 0.0) for j in chosen) for i in range(m)]
    return unit * float(sum(g(x / unit) for x in mass))


def gains_along(function: SetFunction, order: list[int]) -> list[float]:
    chosen, found = function.begin(1), []
    for j in order:
        found.append(float(chosen.gains(np.array([j]))[0]))
        chosen.add(j)
    return found


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_equals_its_formula_and_gains_are_differences_of_it(objective: Objective, masked: bool, computed: bool) -> None:
    for seed in range(6):
        given = some(seed, masked=masked)
        function = objective.problem(given.kernels(computed=computed), eta=1.0, nu=1.0)
        order = np.random.default_rng(seed).permutation(N)[:6].tolist()
        values = [0.0, *(definition(objective, given, order[: k + 1]) for k in range(6))]
        found = [function.value(np.array(order[: k + 1])) for k in range(6)]
        assert found == pytest.approx(values[1:], abs=2e-5)
        assert gains_along(function, order) == pytest.approx(np.diff(values).tolist(), abs=2e-5)


@pytest.mark.parametrize("objective", SUBMODULAR, ids=names)
def test_no_gain_ever_grows_not_by_a_rounding_error(objective: Objective) -> None:
    """Masses and likenesses of very unlike size, where a difference of two sums would round up and down."""
    rng = np.random.default_rng(4)
    for seed in range(4):
        given = some(seed, n=80, m=37, masked=False)
        given = replace(given, target=(given.target * 10.0 ** rng.integers(-6, 6, size=(80, 1))).astype(np.float32))
        chosen = objective.problem(given.kernels(), eta=1.0, nu=1.0).begin(1)
        before = chosen.gains(np.arange(80))
        for j in rng.permutation(80)[:60].tolist():
            left = np.setdiff1d(np.arange(80), [j])
            chosen.gains(np.array([j]))
            chosen.add(j)
            now = before.copy()
            now[left] = chosen.gains(left)
            assert (now <= before).all()
            before = now


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("objective", SUBMODULAR, ids=names)
def test_lazy_is_naive_to_the_bit(objective: Objective, computed: bool) -> None:
    for seed in range(8):
        given = some(seed, n=40, m=11)
        given.target[20:23] = given.target[3]  # ties
        function = objective.problem(given.kernels(computed=computed), eta=1.0, nu=1.0)
        rest = np.arange(40.0)
        plain = greedy(function, 30, rest=rest, search=Search("naive", threads=1))
        quick = greedy(function, 30, rest=rest, search=Search("lazy", threads=1 + seed % 3))
        assert quick.order.tobytes() == plain.order.tobytes()
        assert quick.gains.tobytes() == plain.gains.tobytes()
        assert quick.evaluations <= plain.evaluations
        assert plain.gains.sum() == pytest.approx(function.value(plain.order), rel=1e-6)


@pytest.mark.parametrize("objective", [*CONCAVE, LogDeterminant(1.0)], ids=names)
@pytest.mark.parametrize("seed", range(6))
def test_monotone_ones_keep_the_promise_of_greedy(objective: Objective, seed: int) -> None:
    function = objective.problem(some(seed, masked=False).kernels(), eta=1.0, nu=1.0)
    for budget in (2, 4):
        best = max(function.value(np.array(chosen)) for chosen in combinations(range(N), budget))
        ranking = greedy(function, budget, rest=np.zeros(N))
        reached = function.value(ranking.order)
        assert (1 - 1 / np.e) * best <= reached <= best + 1e-9
        assert (ranking.gains >= 0).all()


@pytest.mark.parametrize("objective", [DisparitySum(), DisparityMin()], ids=names)
@pytest.mark.parametrize("seed", range(6))
def test_dispersion_reaches_half_of_the_optimum_where_distances_are_metric(objective: Objective, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(N, 2))
    far = np.linalg.norm(points[:, None] - points[None], axis=2)
    pool = (10.0 - far).astype(np.float32)
    function = objective.problem(Kernels.dense(np.ones((N, M), np.float32), pool=pool), eta=1.0, nu=1.0)
    for budget in (2, 3, 5):
        best = max(function.value(np.array(chosen)) for chosen in combinations(range(N), budget))
        order = greedy(function, budget, rest=np.zeros(N)).order
        assert order[0] == 0 and 0.5 * best <= function.value(order) <= best + 1e-6


def test_disparity_cannot_be_lazy() -> None:
    function = DisparitySum().problem(some(0).kernels())
    assert greedy(function, 4, rest=np.zeros(N)).order.tolist() == naive_order(function, 4)
    with pytest.raises(ConfigError, match="not sound for this objective"):
        greedy(function, 4, rest=np.zeros(N), search=Search("lazy"))


def naive_order(function: SetFunction, budget: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < budget:
        left = [j for j in range(function.size) if j not in chosen]
        chosen.append(max(left, key=lambda j: (function.value(np.array([*chosen, j])), -j)))
    return chosen


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_greedy_is_the_plainest_greedy_of_its_values(objective: Objective) -> None:
    for seed in range(4):
        function = objective.problem(some(seed).kernels(), eta=1.0, nu=1.0)
        ranking = greedy(function, N, rest=np.zeros(N))
        made = ranking.positive
        assert made == N or function.exhaustible
        assert ranking.order[:made].tolist() == naive_order(function, made)


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_limits_are_kept_and_kept_rows_come_first(objective: Objective) -> None:
    function = objective.problem(some(3).kernels(), eta=1.0, nu=1.0)
    cost = np.arange(1.0, N + 1)
    limits = Limits(20.0, cost=cost, kept=np.array([4, 0]), closed=np.array([7]))
    ranking = greedy(function, limits, rest=np.zeros(N))
    assert ranking.order[:2].tolist() == [4, 0] and 7 not in ranking.order
    assert cost[ranking.order].sum() <= 20.0
    assert ranking.gains.sum() == pytest.approx(function.value(ranking.order), abs=1e-6)


def order_of(objective: Objective, given: Matrices) -> list[int]:
    return greedy(objective.problem(given.kernels(), eta=1.0, nu=1.0), 12, rest=np.zeros(30)).order.tolist()


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_what_stands_in_a_masked_pair_does_not_matter(objective: Objective) -> None:
    given = some(5, n=30, m=17)
    expected = order_of(objective, given)
    for filler in (-99.0, 0.0):
        given.target[given.masked[:, 1], given.masked[:, 0]] = filler
        given.pool[given.masked_pool[:, 1], given.masked_pool[:, 0]] = filler
        assert order_of(objective, given) == expected


@pytest.mark.parametrize("objective", [*CONCAVE, GraphCut(LAMBDA), DisparitySum(), DisparityMin()], ids=names)
def test_a_common_scale_and_a_common_offset_change_no_pick(objective: Objective) -> None:
    for seed in range(5):
        given = some(seed, n=30, m=17, masked=False)
        for change in (lambda matrix: 4.0 * matrix, lambda matrix: matrix + 2.0):
            moved = replace(given, target=change(given.target), pool=change(given.pool))
            assert order_of(objective, moved) == order_of(objective, given)


@pytest.mark.parametrize("objective", CONCAVE, ids=names)
def test_concave_coverage_does_not_see_row_offsets(objective: ConcaveCoverage) -> None:
    for seed in range(5):
        given = some(seed, n=30, m=17)
        offsets = np.random.default_rng(seed).normal(scale=20.0, size=17)
        moved = replace(given, target=(3.5 * given.target + offsets).astype(np.float32))
        assert order_of(objective, moved) == order_of(objective, given)


def test_a_given_floor_is_the_floor_of_every_row() -> None:
    kernels = Kernels.dense(np.array([[1.0, -2.0], [3.0, 0.5], [2.0, 0.0]], np.float32))
    function = ConcaveCoverage().problem(kernels, floor=0.5)
    assert function.floors.tolist() == [0.5, 0.5]
    assert function.unit == 2.5
    assert function.value(np.array([0, 1])) == pytest.approx(np.sqrt(2.5 * 3.0))


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_new_labels_give_the_same_picks(objective: Objective) -> None:
    for seed in range(4):
        given = some(seed, n=30, m=17, masked=False)
        order, rows = np.random.default_rng(seed).permutation(30), np.random.default_rng(seed + 9).permutation(17)
        sizes = np.random.default_rng(seed + 5).uniform(0.5, 2.0, 30).astype(np.float32)  # no two alike: no ties
        given = replace(given, pool=given.pool * np.multiply.outer(sizes, sizes))
        if isinstance(objective, DisparitySum | DisparityMin):
            order = np.concatenate([[0], order[order != 0]])  # the first pick is the lowest id
        moved = replace(given, target=given.target[order][:, rows].copy(), pool=given.pool[order][:, order].copy())
        assert order[order_of(objective, moved)].tolist() == order_of(objective, given)


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_bits_depend_on_neither_threads_nor_blocks_nor_storage(
    objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = some(7, n=70, m=23)

    def found(threads: int, *, computed: bool) -> tuple[bytes, bytes]:
        kernels = replace(given.kernels(computed=computed), threads=threads)
        ranking = greedy(
            objective.problem(kernels, eta=1.0, nu=1.0), 40, rest=np.zeros(70), search=Search(threads=threads)
        )
        return ranking.order.tobytes(), ranking.gains.tobytes()

    expected = found(1, computed=False)
    for threads, block in ((1, 64), (2, 1), (3, 1 << 20)):
        monkeypatch.setattr(surveying, "_AT_ONCE", block)
        for computed in (False, True):
            assert found(threads, computed=computed) == expected


# ---- what they mean ----


def test_graph_cut_without_redundancy_is_the_mean_and_with_more_it_repeats_less() -> None:
    given = some(11, n=40, m=13)
    kernels = given.kernels()
    rest = np.zeros(40)
    means = greedy(TopMean().problem(kernels), 10, rest=rest).order
    full = some(11, n=40, m=13, masked=False)
    plain = greedy(GraphCut(0.0).problem(full.kernels()), 10, rest=rest).order
    assert plain.tolist() == greedy(TopMean().problem(full.kernels()), 10, rest=rest).order.tolist()
    repeated = []
    for redundancy in (0.0, 0.2, 1.0, 5.0):
        order = greedy(GraphCut(redundancy).problem(kernels), 10, rest=rest).order
        repeated.append(full.pool[np.ix_(order, order)][np.triu_indices(10, k=1)].sum())
    assert repeated == sorted(repeated, reverse=True) and repeated[0] > repeated[-1] and len(means) == 10


def test_the_target_of_a_pool_that_is_its_own_serves_both() -> None:
    """The textbook's graph cut, monotone up to λ = 0.5."""
    given = some(2, n=20, masked=False)
    lines = DenseLines(given.pool.copy())
    kernels = Kernels(lines, lines)
    assert kernels.of_pool is kernels.of_target
    low = float(given.pool.min())
    above = given.pool.astype(np.float64) - low
    function = GraphCut(0.5).problem(kernels)
    order = np.array([3, 8, 1])
    expected = above[order].sum() - 0.5 * above[np.ix_(order, order)].sum()
    assert function.value(order) == pytest.approx(expected)
    assert (greedy(function, 20, rest=np.zeros(20)).gains >= -1e-9).all()


@pytest.mark.parametrize("objective", [LogDeterminant(), DisparitySum(), DisparityMin(), GraphCut(50.0)], ids=names)
def test_one_text_is_not_chosen_twice_while_there_is_another(objective: Objective) -> None:
    for seed in range(5):
        given = some(seed)  # candidates 1 and 2 have one text
        given.target[1:3] = 0.0
        order = greedy(objective.problem(given.kernels(), eta=1.0, nu=1.0), 4, rest=np.zeros(N)).order.tolist()
        assert not {1, 2} <= set(order)


def test_concave_coverage_goes_on_where_one_candidate_covers_a_row() -> None:
    """Rows 0 and 1 are best served by candidate 0; candidates 1 and 2 help them nearly as much, 3 and 4 little."""
    line = np.array([4.0, 4.0], np.float32)
    kernels = Kernels.dense(np.stack([line, line * 0.95, line * 0.9, line * 0.1, line * 0.0]))
    misleading = np.arange(5.0)
    concave = greedy(ConcaveCoverage().problem(kernels), 3, rest=misleading)
    assert concave.order.tolist() == [0, 1, 2] and concave.positive == 3
    covered = CoverageProblem(kernels.target, np.zeros(2))
    assert greedy(covered, 3, rest=misleading).order.tolist() == [0, 4, 3]


def test_shapes_saturate_one_more_than_the_other() -> None:
    kernels = some(1, n=400).kernels()
    shares = []
    for objective in CONCAVE:
        function = objective.problem(kernels)
        shares.append(function.value(np.arange(400)) / function.value(np.arange(200)))
    assert shares[0] > shares[1] > shares[2] > 1
    with pytest.raises(ConfigError, match="one of sqrt, log, ratio"):
        ConcaveCoverage("cube")  # pyright: ignore[reportArgumentType]


def test_row_means_leave_masked_pairs_out() -> None:
    given = some(3, n=300, m=7)
    kernels = given.kernels()
    values = given.target.astype(np.float64)
    values[given.masked[:, 1], given.masked[:, 0]] = np.nan
    np.testing.assert_allclose(row_means(kernels.target, threads=2), np.nanmean(values, axis=0))
    assert row_means(kernels.target, threads=3).tobytes() == row_means(kernels.target, threads=1).tobytes()


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_nan_is_never_selected(objective: Objective) -> None:
    given = some(1, masked=False)
    matrix = given.pool if objective.needs_pool else given.target
    matrix[4, 2] = np.nan
    if objective.needs_pool:
        matrix[2, 4] = np.nan
    expected = [2, 4] if objective.needs_pool else [4]
    with pytest.raises(ModelError) as caught:
        greedy(objective.problem(given.kernels(), eta=1.0, nu=1.0), 9, rest=np.zeros(N))
    assert f"{len(expected)} of {N} " in str(caught.value)
    assert f"positions {expected}" in str(caught.value)


# ---- symmetry ----


@pytest.mark.parametrize("objective", SYMMETRIC, ids=names)
@pytest.mark.parametrize("computed", [False, True])
def test_a_kernel_with_a_direction_is_refused_by_the_pair_that_is_worst(objective: Objective, computed: bool) -> None:
    given = some(2)
    given.pool[6, 3] += 0.25
    given.pool[8, 4] += 0.125
    low, high = given.pool[3, 6], given.pool[6, 3]
    with pytest.raises(ConfigError, match="needs a kernel that is symmetric") as caught:
        objective.problem(given.kernels(computed=computed), eta=1.0, nu=1.0)
    assert f"6 → 3 is {high:.6g} and 3 → 6 is {low:.6g}, 0.25 apart" in str(caught.value)
    given.pool[6, 3] -= 0.25
    given.pool[8, 4] -= 0.125 - 5e-6  # within the tolerance
    objective.problem(given.kernels(computed=computed), eta=1.0, nu=1.0)


def test_a_large_computed_kernel_is_looked_through_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    given = some(2, n=50)
    given.pool[:] = np.random.default_rng(0).normal(size=(50, 50))
    monkeypatch.setattr(likeness, "_SAMPLE", 7)
    with pytest.raises(ConfigError, match="symmetric"):
        DisparitySum().problem(given.kernels(computed=True))


@pytest.mark.parametrize("objective", SYMMETRIC, ids=names)
def test_the_mean_of_both_directions_is_taken_where_it_is_asked_for(objective: GraphCut) -> None:
    """Said by f: the same as of the symmetric kernel, which is taken as it is."""
    rng = np.random.default_rng(8)
    given = some(8, n=30)
    skew = np.triu(rng.integers(-8, 9, size=(30, 30)) / 1024).astype(np.float32)  # halves and sums are exact
    plain = replace(given, pool=np.round(given.pool * 1024).astype(np.float32) / 1024)
    askew = replace(plain, pool=plain.pool + skew - skew.T)
    averaged = replace(objective, symmetrise=True)
    order = np.arange(0, 30, 3)
    expected = objective.problem(plain.kernels())
    found = averaged.problem(askew.kernels())
    if not isinstance(objective, GraphCut):  # whose floor is the smallest of both directions
        shift = found.alike.same - expected.alike.same
        assert shift >= 0
    assert found.alike.among(order)[0, 1] == expected.alike.among(order)[0, 1]
    mask = ~np.isclose(expected.alike.among(order), expected.alike.same)
    assert (found.alike.among(order)[mask] == expected.alike.among(order)[mask]).all()
    with pytest.raises(ConfigError, match="--backend dense"):
        averaged.problem(askew.kernels(computed=True))


def test_only_lines_of_picks_are_taken_of_a_computed_kernel() -> None:
    given = some(1, n=60)
    for objective in (GraphCut(), DisparitySum(), DisparityMin(), LogDeterminant()):
        kernels = given.kernels(computed=True)
        function = objective.problem(kernels)
        assert isinstance(kernels.pool, Computed)
        before = kernels.pool.taken
        greedy(function, 10, rest=np.zeros(60))
        assert kernels.pool.taken - before == 10


def test_log_determinant_refuses_what_spans_less_than_nothing() -> None:
    given = some(1, masked=False)
    given.pool[:] = 1.0
    np.fill_diagonal(given.pool, 0.0)
    with pytest.raises(ConfigError, match="not positive semi-definite"):
        greedy(LogDeterminant(0.5).problem(given.kernels()), 5, rest=np.zeros(N))
    assert len(greedy(LogDeterminant(3.0).problem(given.kernels()), 5, rest=np.zeros(N)).order) == 5
    for wrong in (0.0, -1.0, inf, float("nan")):
        with pytest.raises(ConfigError, match="regularisation is"):
            LogDeterminant(wrong).problem(given.kernels())
    with pytest.raises(ConfigError, match="redundancy is -1"):
        GraphCut(-1.0).problem(given.kernels())


def test_the_factor_grows_past_its_first_columns() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(200, 300))
    pool = (vectors @ vectors.T / 300).astype(np.float32)
    function = LogDeterminant(0.1).problem(Kernels.dense(np.ones((200, 3), np.float32), pool=np.maximum(pool, pool.T)))
    ranking = greedy(function, 200, rest=np.zeros(200))
    assert ranking.gains.sum() == pytest.approx(function.value(np.arange(200)), rel=1e-6)
    assert (np.diff(ranking.gains) <= 0).all()


# ---- reasons ----

ROWS = [f"p{j}" for j in range(N)]


def reasons_of(objective: Objective, budget: int = 4, **limits: np.ndarray) -> tuple[tuple[str, ...], list[int]]:
    function = objective.problem(some(2).kernels(), eta=1.0, nu=1.0)
    ranking = greedy(function, Limits(budget, **limits), rest=np.zeros(N))
    return explain(function, ranking, ROWS, np.zeros(N)), ranking.order.tolist()


@pytest.mark.parametrize(
    ("objective", "first", "later"),
    [
        (GraphCut(LAMBDA), "helps by ", "repeats"),
        (LogDeterminant(), "100% of it is new", "most like"),
        (DisparitySum(), "comes first", "from the nearest pick before it"),
        (DisparityMin(), "comes first", "from the nearest pick before it"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_reasons_name_the_pick_that_is_nearest(objective: Objective, first: str, later: str) -> None:
    found, order = reasons_of(objective)
    assert found[0].startswith(first) and len(found) == 4
    assert all(later in sentence for sentence in found[1:])
    pool = objective.problem(some(2).kernels(), eta=1.0, nu=1.0)
    assert not isinstance(pool, CoverageProblem)
    for place in range(1, 4):
        near = max(order[:place], key=lambda j: (likeness_of(j, order[place]), -order.index(j)))
        assert repr(f"p{near}") in found[place]
    kept, _ = reasons_of(objective, kept=np.array([5]))
    assert kept[0].startswith("kept") and later in kept[1]


def likeness_of(a: int, b: int) -> float:
    given = some(2)
    masked = {(int(i), int(j)) for i, j in given.masked_pool}
    return np.inf if (a, b) in masked else float(given.pool[a, b])


def test_reasons_of_concave_coverage_count_the_rows_above_the_floor() -> None:
    kernels = Kernels.dense(np.array([[4.0, 1.0, 1.0], [0.0, 1.0, 4.0], [2.0, 1.0, 1.0]], np.float32))
    function = ConcaveCoverage().problem(kernels)  # the mean of the rows is 2, 1, 2
    ranking = greedy(function, 3, rest=np.zeros(3))
    found = explain(function, ranking, ["a", "b", "c"], np.zeros(3))
    assert ranking.order.tolist() == [0, 1, 2] and ranking.positive == 2
    assert found == (
        "above the floor for 1 of 3 rows, adds most to 'a' (+2)",
        "above the floor for 1 of 3 rows, adds most to 'c' (+2)",
        "no row is covered better; next by mean influence (0)",
    )


def test_graph_cut_counts_what_is_repeated() -> None:
    pool = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.25], [0.0, 0.25, 1.0]], np.float32)
    function = GraphCut(0.5).problem(Kernels.dense(pool.copy(), pool=pool))
    assert isinstance(function, GraphCutFunction)
    ranking = greedy(function, 2, rest=np.zeros(3))
    assert ranking.order.tolist() == [1, 0]
    assert explain(function, ranking, ["a", "b", "c"], np.zeros(3)) == (
        "helps by 1.75",
        "helps by 1.5, repeats 0.5 of what is chosen, most of 'b'",
    )
