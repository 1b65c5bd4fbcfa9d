"""What every registered objective must do, whatever its formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nncift import registry
from nncift.kernel.lines import MASKED, DenseLines, Lines
from nncift.objective.base import Kernels, Objective, Rule
from nncift.objective.greedy import Search, greedy
from nncift.objective.ranking import Ranking

N, M, E = 11, 7, 3


VARIED = ("log-determinant", "disparity-sum", "disparity-min")
"""Those that look for variety and at no influence on the target."""

HELPFUL = tuple(name for name in registry.names("objective") if name not in ("middle", *VARIED))
"""Those for which more influence is better; one more looks for what is neither high nor low."""

Chooser = Objective | Rule


@pytest.fixture(params=registry.names("objective"))
def objective(request: pytest.FixtureRequest) -> Chooser:
    return registry.load("objective", request.param)()


@pytest.fixture(params=HELPFUL)
def helpful(request: pytest.FixtureRequest) -> Chooser:
    return registry.load("objective", request.param)()


def some_kernels(seed: int) -> Kernels:
    rng = np.random.default_rng(seed)
    target, pool, existing, beside = (rng.normal(size=s).astype(np.float32) for s in ((N, M), (N, N), (E, M), (E, N)))
    return Kernels.dense(target, pool=pool, existing=existing, existing_pool=beside)


def values_of(lines: Lines | None) -> np.ndarray:
    assert isinstance(lines, DenseLines)
    return lines.values


def suited(objective: Chooser, kernels: Kernels) -> Kernels:
    """The same kernels, the pool's symmetric and positive semi-definite for an objective of pairs."""
    if kernels.pool is None or not hasattr(objective, "symmetrise"):
        return kernels
    values = values_of(kernels.pool)
    shown = np.where(np.isfinite(values), values, values[np.isfinite(values)].max(initial=0.0))
    mean = (shown + shown.T) / 2 + 2 * N * np.eye(len(shown), dtype=np.float32)
    return replace(kernels, pool=DenseLines(np.where(np.isfinite(values), mean, values)))


def ranked(objective: Chooser, kernels: Kernels, budget: int, threads: int = 0) -> Ranking:
    kernels = suited(objective, kernels)
    if isinstance(objective, Rule):
        ranking, reasons = objective.rank(kernels, budget, rows=[f"t{i}" for i in range(kernels.target.shape[1])])
        assert len(reasons) == len(ranking.order) and all(reasons)
        return ranking
    problem = objective.problem(kernels, eta=1.0, nu=1.0)
    return greedy(problem, budget, rest=kernels.means, search=Search(threads=threads))


def test_is_what_it_is_registered_as(objective: Chooser) -> None:
    assert isinstance(objective, Objective) != isinstance(objective, Rule)
    assert isinstance(objective.pointwise, bool)
    assert type(objective) is registry.load("objective", objective.name)


def test_does_without_the_kernels_it_does_not_ask_for(objective: Chooser) -> None:
    full = some_kernels(0)
    few = Kernels(
        full.target,
        full.pool if objective.needs_pool else None,
        full.existing if objective.needs_existing else None,
        full.existing_pool if objective.needs_existing and objective.needs_pool else None,
    )
    assert ranked(objective, few, N).order.tolist() == ranked(objective, full, N).order.tolist()


@pytest.mark.parametrize("best", [0, 4, N - 1])
def test_a_planted_best_candidate_comes_first(helpful: Chooser, best: int) -> None:
    for seed in range(5):
        kernels = some_kernels(seed)
        values_of(kernels.target)[best] += 10.0
        values_of(kernels.pool)[best] += 10.0
        assert ranked(helpful, kernels, 3).order[0] == best


def test_helping_counts_and_being_helped_does_not(helpful: Chooser) -> None:
    """Candidate 2 helps every row; row 5 is helped by every candidate. A transposed reading would pick 5 first."""
    for seed in range(5):
        kernels = some_kernels(seed)
        for values in (values_of(kernels.target), values_of(kernels.pool)):
            values *= 0.1
            values[:, 5] += 3.0
            values[2] += 2.0
        assert ranked(helpful, kernels, 1).order[0] == 2


def test_budgets_from_none_to_too_many(objective: Chooser) -> None:
    kernels = some_kernels(1)
    whole = ranked(objective, kernels, N)
    assert sorted(whole.order.tolist()) == list(range(N))
    for budget in (0, 1, 4, N - 1, N, N + 1, 1000):
        part = ranked(objective, kernels, budget)
        assert part.order.tolist() == whole.order[:budget].tolist()
        assert part.gains.tolist() == whole.gains[:budget].tolist()
        assert part.positive == min(budget, whole.positive)
        assert part.order.dtype == np.int64 and part.gains.dtype == np.float64


def of_one(one: np.ndarray) -> Kernels:
    """One number in every kernel but those of the existing rows, where it is 1."""
    others = {name: np.ones((1, 1), np.float32) for name in ("existing", "existing_pool")}
    return Kernels.dense(one, pool=one.copy(), **others)


def test_one_candidate_and_one_row(objective: Chooser) -> None:
    one = np.ones((1, 1), np.float32)
    assert ranked(objective, of_one(one), 1).order.tolist() == [0]


def test_a_lone_pair_of_the_same_text(helpful: Chooser) -> None:
    pair = np.zeros((1, 2), int)
    ranking = ranked(helpful, replace(of_one(np.full((1, 1), MASKED)), masked=pair, masked_pool=pair), 1)
    assert ranking.order.tolist() == [0] and ranking.gains[0] <= 0
    assert ranking.positive == 0 or hasattr(helpful, "symmetrise")  # sums over pairs follow gains below nothing too


def test_runs_repeat_to_the_bit(objective: Chooser) -> None:
    first = ranked(objective, some_kernels(2), N, threads=1)
    for threads in (1, 2, 3):
        again = ranked(objective, some_kernels(2), N, threads=threads)
        assert again.order.tobytes() == first.order.tobytes()
        assert again.gains.tobytes() == first.gains.tobytes()
        assert (again.positive, again.rest_rule) == (first.positive, first.rest_rule)


def test_positive_gains_come_first_and_never_grow(objective: Chooser) -> None:
    if isinstance(objective, Rule):
        pytest.skip("a rule does not pick by gain")
    for seed in range(5):
        ranking = ranked(objective, some_kernels(seed), N)
        function = objective.problem(suited(objective, some_kernels(seed)), eta=1.0, nu=1.0)
        head, tail = ranking.gains[: ranking.positive], ranking.gains[ranking.positive :]
        if function.exhaustible:
            assert (head > 0).all() and (tail <= 0).all()
        else:
            assert not len(tail)  # a gain below nothing is followed too
        if function.submodular:
            assert (np.diff(head) <= 1e-12).all()
        assert ranking.gains.sum() == pytest.approx(function.value(ranking.order), abs=1e-4)


def test_equal_candidates_come_in_the_order_of_their_ids(objective: Chooser) -> None:
    sizes = {"target": (N, M), "pool": (N, N), "existing": (E, M), "existing_pool": (E, N)}
    kernels = Kernels.dense(**{name: np.ones(size, np.float32) for name, size in sizes.items()})
    assert ranked(objective, kernels, N).order.tolist() == list(range(N))


def test_one_score_per_candidate_ranks_all_where_that_makes_sense(objective: Chooser) -> None:
    if not objective.pointwise:
        pytest.skip("needs an influence on every target")
    scores = np.random.default_rng(6).normal(size=(N, 1)).astype(np.float32)
    assert sorted(ranked(objective, Kernels.dense(scores), N).order.tolist()) == list(range(N))
