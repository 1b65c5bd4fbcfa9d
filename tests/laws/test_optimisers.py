"""Every optimiser against the plainest greedy under every limit, and every back-end against the stored kernel."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from nncift.errors import ConfigError
from nncift.kernel.corrected import CorrectedKernel
from nncift.kernel.factorised import FactorisedKernel
from nncift.kernel.lines import MASKED, ClosedLines, DenseLines, Lines, SomeLines
from nncift.kernel.lowrank import LowRankKernel
from nncift.objective import survey as surveying
from nncift.objective.base import Kernels
from nncift.objective.coverage import ConditionalGain, FacilityLocation, MutualInformation, VariantMutualInformation
from nncift.objective.greedy import Optimizer, Search, greedy
from nncift.objective.limits import Limits
from nncift.objective.problem import CoverageProblem
from nncift.objective.ranking import Ranking
from nncift.objective.survey import survey

N, M, E = 61, 23, 9


class Computed:
    """A matrix that gives lines as if it had to work for them, so that the batched way is taken."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def take(self, which: np.ndarray) -> np.ndarray:
        return self.values[which].copy()


def tied(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers: sums are exact and ties everywhere."""
    rng = np.random.default_rng(seed)
    return rng.integers(-2, 4, size=(N, M)).astype(np.float32), rng.integers(0, 3, size=N).astype(np.float64)


def some_limits(seed: int) -> Limits:
    rng = np.random.default_rng(seed)
    kind = seed % 4
    return Limits(
        float(rng.integers(5, 40)),
        cost=rng.integers(1, 6, size=N).astype(np.float64) if kind in (1, 3) else None,
        group=rng.integers(0, 4, size=N) if kind >= 2 else None,
        quota=rng.integers(1, 7, size=4) if kind >= 2 else None,
        kept=rng.permutation(N)[:2] if seed % 3 == 0 else None,
        closed=np.array([7, 11]) if seed % 2 and seed % 3 else None,
    )


def plainest(problem: CoverageProblem, limits: Limits, rest: np.ndarray, weight: np.ndarray) -> list[int]:
    """By the definition alone: values of sets, and counting."""
    cost = np.ones(N) if limits.cost is None else limits.cost
    chosen = [] if limits.kept is None else limits.kept.tolist()

    def fits(j: int) -> bool:
        if j in chosen or (limits.closed is not None and j in limits.closed):
            return False
        if limits.group is not None and limits.quota is not None:
            mine = sum(limits.group[k] == limits.group[j] for k in chosen)
            if mine >= limits.quota[limits.group[j]]:
                return False
        return cost[chosen].sum() + cost[j] <= limits.budget

    positive = True
    while left := [j for j in range(N) if fits(j)]:
        before = problem.value(np.array(chosen, dtype=int))
        gains = {j: problem.value(np.array([*chosen, j])) - before for j in left}
        best = max(left, key=lambda j: (gains[j] / weight[j], -j))
        positive = positive and gains[best] > 0
        chosen.append(best if positive else max(left, key=lambda j: (rest[j], -j)))
    return chosen


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("optimizer", ["naive", "lazy"])
@pytest.mark.parametrize("stored", [True, False])
def test_exact_greedy_is_the_plainest_greedy_under_every_limit(seed: int, optimizer: Optimizer, stored: bool) -> None:
    values, rest = tied(seed)
    limits = some_limits(seed)
    problem = CoverageProblem(DenseLines(values) if stored else Computed(values), np.zeros(M))
    found = greedy(problem, limits, rest=rest, search=Search(optimizer, threads=1 + seed % 2))
    weights = [np.ones(N)] if limits.cost is None else [np.ones(N), limits.cost]
    expected = [plainest(problem, limits, rest, weight) for weight in weights]
    best = max(expected, key=lambda order: problem.value(np.array(order)))
    if limits.cost is None:
        assert found.order.tolist() == best
    else:
        assert found.order.tolist() in expected and problem.value(found.order) == problem.value(np.array(best))
    assert found.kept == (0 if limits.kept is None else 2)
    assert found.gains.sum() == pytest.approx(problem.value(found.order))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("optimizer", ["lazy", "stochastic", "threshold"])
def test_no_optimiser_breaks_a_limit(seed: int, optimizer: Optimizer) -> None:
    values, rest = tied(seed)
    limits = some_limits(seed)
    search = Search(optimizer, seed=seed, parts=1 + seed % 3)
    order = greedy(CoverageProblem(DenseLines(values), np.zeros(M)), limits, rest=rest, search=search).order
    assert len(set(order.tolist())) == len(order)
    cost = np.ones(N) if limits.cost is None else limits.cost
    assert cost[order].sum() <= limits.budget
    if limits.group is not None and limits.quota is not None:
        assert (np.bincount(limits.group[order], minlength=4) <= np.maximum(limits.quota, 2)).all()
    if limits.kept is not None:
        assert order[:2].tolist() == limits.kept.tolist()
    if limits.closed is not None:
        assert not np.isin(order, limits.closed).any()
    left = np.setdiff1d(np.arange(N), order)
    if limits.group is None and limits.closed is None:
        assert not len(left) or cost[left].min() > limits.budget - cost[order].sum()  # nothing more would have fitted


def real_problem(seed: int, n: int = N, m: int = M) -> CoverageProblem:
    rng = np.random.default_rng(seed)
    return CoverageProblem(DenseLines(rng.normal(size=(n, m)).astype(np.float32)), np.full(m, -4.0))


@pytest.mark.parametrize("optimizer", ["stochastic", "threshold"])
@pytest.mark.parametrize("seed", range(8))
def test_cheaper_optimisers_keep_their_guarantee(optimizer: Optimizer, seed: int) -> None:
    problem = real_problem(seed, n=12, m=5)
    best = max(problem.value(np.array(chosen)) for chosen in combinations(range(12), 3))
    draws = [Search(optimizer, epsilon=0.1, seed=k) for k in range(10)]
    reached = [problem.value(greedy(problem, 3, rest=np.zeros(12), search=search).order) for search in draws]
    assert np.mean(reached) >= (1 - 1 / np.e - 0.1) * best
    assert max(reached) <= best + 1e-9


def test_stochastic_becomes_exact_and_its_seed_matters() -> None:
    problem = real_problem(1, n=300, m=90)
    exact = greedy(problem, 20, rest=np.zeros(300))
    tiny = greedy(problem, 20, rest=np.zeros(300), search=Search("stochastic", epsilon=1e-12))
    assert tiny.order.tolist() == exact.order.tolist()
    picks = [greedy(problem, 20, rest=np.zeros(300), search=Search("stochastic", seed=k)).order for k in (1, 1, 2)]
    assert picks[0].tolist() == picks[1].tolist() != picks[2].tolist()
    assert problem.value(picks[0]) > 0.95 * problem.value(exact.order)


def test_stochastic_and_threshold_compute_fewer_gains_than_naive() -> None:
    problem = real_problem(2, n=400, m=300)
    runs = {
        name: greedy(problem, 60, rest=np.zeros(400), search=Search(name)) for name in ("naive", "lazy", "stochastic")
    }
    assert runs["naive"].evaluations > 5 * runs["lazy"].evaluations
    assert runs["stochastic"].evaluations < runs["naive"].evaluations / 5


@pytest.mark.parametrize("seed", range(4))
def test_parts_keep_half_of_what_greedy_promises_and_usually_nearly_all(seed: int) -> None:
    problem = real_problem(seed, n=200, m=40)
    exact = problem.value(greedy(problem, 15, rest=np.zeros(200)).order)
    for parts in (2, 5):
        apart = greedy(problem, 15, rest=np.zeros(200), search=Search(parts=parts, seed=seed))
        assert len(apart.order) == 15
        assert problem.value(apart.order) > 0.97 * exact
    orders = [greedy(problem, 15, rest=np.zeros(200), search=Search(parts=3, threads=t)).order for t in (1, 4)]
    assert orders[0].tobytes() == orders[1].tobytes()


def test_what_is_not_sound_is_refused() -> None:
    with pytest.raises(ConfigError, match="epsilon"):
        Search(epsilon=0.0)
    with pytest.raises(ConfigError, match="parts"):
        Search(parts=0)
    with pytest.raises(ConfigError, match="above 0"):
        Limits(3, cost=np.zeros(4))


def test_equals_of_the_rest_follow_the_drawn_order() -> None:
    problem = CoverageProblem(DenseLines(np.zeros((4, 3), np.float32)), np.zeros(3))
    ranking = greedy(problem, 4, rest=np.array([1.0, 1, 2, 1]), ties=np.array([3, 1, 2, 0]))
    assert ranking.order.tolist() == [2, 3, 1, 0] and "drawn" in ranking.rest_rule


# ---- back-ends ----


def network(seed: int, n: int = N, m: int = M) -> FactorisedKernel:
    rng = np.random.default_rng(seed)
    pool, target, weights = (rng.normal(size=s).astype(np.float32) for s in ((n, 13), (m, 13), 13))
    return FactorisedKernel(pool, target, weights, 0.3, 2.0, -1.0)


def low_rank(seed: int, n: int = N, m: int = M) -> LowRankKernel:
    rng = np.random.default_rng(seed)
    pool, target = (rng.normal(size=(k, 7)).astype(np.float32) for k in (n, m))
    return LowRankKernel(0.5, rng.normal(size=m), rng.normal(size=n), target, pool)


def corrected(seed: int, kind: str, n: int = N, m: int = M) -> CorrectedKernel:
    rng = np.random.default_rng(seed + 100)
    base = network(seed, n, m) if kind == "network" else low_rank(seed, n, m)
    keys = rng.permutation(n * m)[: n * m // 5]
    cut = len(keys) // 4
    i, j = keys % m, keys // m
    masked = np.stack([i[:cut], j[:cut]], axis=1)
    return CorrectedKernel(base, i[cut:], j[cut:], rng.normal(size=len(keys) - cut), masked)


def stored(kernel: CorrectedKernel) -> DenseLines:
    values = kernel.fill()
    values[kernel.masked[:, 1], kernel.masked[:, 0]] = MASKED
    return DenseLines(values)


@pytest.mark.parametrize("kind", ["network", "low-rank"])
def test_lines_are_the_filled_kernel_and_so_is_their_survey(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = corrected(1, kind)
    lines, values = kernel.lines(), stored(kernel).values
    which = np.array([3, 3, 60, 0, 41])
    assert lines.take(which).tobytes() == values[which].tobytes()
    expected = survey(stored(kernel), threads=1)
    counted = np.where(values == MASKED, np.nan, values).astype(np.float64)
    np.testing.assert_allclose(expected.means, np.nanmean(counted, axis=1))
    assert expected.counts.tolist() == np.isfinite(counted).sum(axis=1).tolist()
    for found, reference in (
        (expected.best, np.nanmax(counted, axis=1)),
        (expected.lowest, np.nanmin(counted, axis=0)),
        (expected.highest, np.nanmax(counted, axis=0)),
    ):
        assert found.tolist() == reference.tolist()
    for threads, block in ((2, 1), (5, 100), (1, 1 << 20)):
        monkeypatch.setattr(surveying, "_AT_ONCE", block)
        again = survey(lines, threads=threads)
        for name in ("sums", "counts", "best", "lowest", "highest"):
            assert getattr(again, name).tobytes() == getattr(expected, name).tobytes()
    np.testing.assert_allclose(kernel.candidate_means(), expected.means, atol=1e-6)


def kernels_of(kind: str, *, dense: bool) -> Kernels:
    target, pool, existing = corrected(1, kind), corrected(2, kind, m=N), corrected(3, kind, n=E)
    parts: list[Lines] = [stored(kernel) if dense else kernel.lines() for kernel in (target, pool, existing)]
    return Kernels(parts[0], parts[1], parts[2], masked=target.masked, masked_pool=pool.masked)


@pytest.mark.parametrize("kind", ["network", "low-rank"])
@pytest.mark.parametrize(
    "objective", [FacilityLocation(), ConditionalGain(), MutualInformation(), VariantMutualInformation()]
)
def test_a_kernel_that_is_never_stored_gives_the_same_bits(
    kind: str, objective: FacilityLocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = np.arange(N, dtype=np.float64)
    reference = greedy(objective.problem(kernels_of(kind, dense=True), eta=0.8, nu=0.6), 30, rest=rest)
    assert reference.positive > 2
    for threads, block in ((1, 1 << 18), (2, 64), (3, 1)):
        monkeypatch.setattr(surveying, "_AT_ONCE", block)
        problem = objective.problem(kernels_of(kind, dense=False), eta=0.8, nu=0.6)
        found: Ranking = greedy(problem, 30, rest=rest, search=Search(threads=threads))
        assert found.order.tobytes() == reference.order.tobytes()
        assert found.gains.tobytes() == reference.gains.tobytes()
        assert problem.value(found.order) == pytest.approx(reference.gains.sum(), rel=1e-9)


def test_closed_and_some_lines() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    closed = ClosedLines(DenseLines(values), np.array([False, True, False, False]))
    taken = closed.take(np.array([1, 2]))
    assert taken[0].tolist() == [-np.inf] * 3 and taken[1].tolist() == [6, 7, 8] and values[1, 0] == 3
    some = SomeLines(DenseLines(values), np.array([3, 0]))
    assert some.shape == (2, 3) and some.take(np.array([1, 0])).tolist() == values[[0, 3]].tolist()
