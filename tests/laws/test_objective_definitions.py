"""Every objective against its formula in plain loops, masked pairs included, and the changes that must not matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from nncift.objective.base import Kernels, Objective
from nncift.objective.coverage import (
    ConditionalGain,
    ConditionalMutualInformation,
    FacilityLocation,
    MutualInformation,
    VariantMutualInformation,
)
from nncift.objective.greedy import greedy
from nncift.objective.modular import TopMax, TopMean
from nncift.objective.problem import CoverageProblem

COVERAGE = [
    FacilityLocation(), ConditionalGain(), MutualInformation(), VariantMutualInformation(), ConditionalMutualInformation(),
]  # fmt: skip
EVERY = [*COVERAGE, TopMean(), TopMax()]
ETA, NU = 0.75, 0.5

Entry = Callable[[int, int], float]


def names(objective: Objective) -> str:
    return objective.name


@dataclass(frozen=True)
class Matrices:
    """Dense kernels and what is masked; an objective gets copies."""

    target: np.ndarray
    pool: np.ndarray | None = None
    existing: np.ndarray | None = None
    existing_pool: np.ndarray | None = None
    masked: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))
    masked_pool: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))

    def kernels(self) -> Kernels:
        parts = {"pool": self.pool, "existing": self.existing, "existing_pool": self.existing_pool}
        copies = {name: None if matrix is None else matrix.copy() for name, matrix in parts.items()}
        return Kernels.dense(self.target.copy(), **copies, masked=self.masked, masked_pool=self.masked_pool)


def random_kernels(seed: int, *, n: int = 9, m: int = 6, e: int = 4, masked: bool = True) -> Matrices:
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((m, n)) < 0.2) if masked else np.empty((0, 2), int)
    pool_pairs = np.stack([np.arange(n), np.arange(n)], axis=1) if masked else pairs[:0]
    sizes = ((n, m), (n, n), (e, m), (e, n))
    target, pool, existing, existing_pool = (rng.normal(size=size).astype(np.float32) for size in sizes)
    for matrix, where in ((target, pairs), (pool, pool_pairs)):
        matrix[where[:, 1], where[:, 0]] = 99.0  # a self-pair looks wonderful, and must not count
    return Matrices(target, pool, existing, existing_pool, pairs, pool_pairs)


def unmasked(matrix: np.ndarray, pairs: np.ndarray) -> dict[tuple[int, int], float]:
    """K[i, j] of every pair that counts."""
    out = {(int(i), int(j)): float(matrix[j, i]) for j, i in np.ndindex(*matrix.shape)}
    for i, j in pairs:
        del out[int(i), int(j)]
    return out


def definition(objective: Objective, kernels: Matrices, chosen: list[int]) -> float:
    """f(A) by the formula in the objective's docstring."""
    n, m = kernels.target.shape
    assert kernels.pool is not None and kernels.existing is not None
    k = unmasked(kernels.target, kernels.masked)
    p = unmasked(kernels.pool, kernels.masked_pool)
    e = unmasked(kernels.existing, kernels.masked[:0])
    if objective.name == "facility-location":
        floors = [min(v for (row, _), v in k.items() if row == i) for i in range(m)]
        return sum(max(k.get((i, j), floors[i]) for j in chosen) - floors[i] for i in range(m))
    if objective.name == "flcg":
        low = min([*k.values(), *e.values()])
        known = [max(e[i, x] - low for x in range(len(kernels.existing))) for i in range(m)]
        return sum(max(max(k.get((i, j), low) - low for j in chosen) - NU * known[i], 0.0) for i in range(m))
    if objective.name == "fl1mi":
        low = min([*k.values(), *p.values()])
        worth = [max(k.get((q, i), low) - low for q in range(m)) for i in range(n)]
        return sum(min(max(p.get((i, j), low) - low for j in chosen), ETA * worth[i]) for i in range(n))
    if objective.name == "flcmi":
        assert kernels.existing_pool is not None
        b = unmasked(kernels.existing_pool, kernels.masked[:0])
        low = min([*k.values(), *p.values(), *b.values()])
        worth = [max(k.get((q, i), low) - low for q in range(m)) for i in range(n)]
        known = [max(b[i, x] - low for x in range(len(kernels.existing_pool))) for i in range(n)]
        best = [max(p.get((i, j), low) - low for j in chosen) for i in range(n)]
        return sum(max(min(best[i], ETA * worth[i]) - NU * known[i], 0.0) for i in range(n))
    if objective.name == "flvmi":
        low = min(k.values())
        covered = sum(max(k.get((q, j), low) - low for j in chosen) for q in range(m))
        return covered + ETA * sum(max(k.get((q, j), low) - low for q in range(m)) for j in chosen)
    columns = [[v for (_, j), v in k.items() if j == candidate] for candidate in range(n)]
    summary = np.mean if objective.name == "top-mean" else np.max
    lowest = min(float(summary(c)) for c in columns if c)
    return sum(float(summary(columns[j])) if columns[j] else lowest for j in chosen)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_equals_its_formula(objective: Objective, masked: bool) -> None:
    for seed in range(10):
        kernels = random_kernels(seed, masked=masked)
        rng = np.random.default_rng(seed + 1000)
        subsets = [rng.permutation(9)[: 1 + k].tolist() for k in (0, 1, 3, 8)]
        expected = [definition(objective, kernels, chosen) for chosen in subsets]
        problem = objective.problem(kernels.kernels(), eta=ETA, nu=NU)
        assert [problem.value(np.array(chosen)) for chosen in subsets] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("objective", COVERAGE, ids=names)
def test_what_stands_in_a_masked_pair_does_not_matter(objective: Objective) -> None:
    rankings = []
    for filler in (99.0, -99.0, 0.0):
        kernels = random_kernels(3)
        kernels.target[kernels.masked[:, 1], kernels.masked[:, 0]] = filler
        assert kernels.pool is not None
        kernels.pool[kernels.masked_pool[:, 1], kernels.masked_pool[:, 0]] = filler
        ranking = greedy(objective.problem(kernels.kernels(), eta=ETA, nu=NU), 9, rest=np.zeros(9))
        rankings.append((ranking.order.tolist(), ranking.gains.tolist()))
    assert rankings[0] == rankings[1] == rankings[2]


def test_a_row_with_only_masked_pairs_counts_for_nobody() -> None:
    for objective in COVERAGE:
        kernels = random_kernels(4, masked=False)
        kernels = replace(kernels, masked=np.array([[2, j] for j in range(9)]))
        with_row = greedy(objective.problem(kernels.kernels(), eta=ETA, nu=NU), 9, rest=np.zeros(9))
        assert kernels.existing is not None
        fewer = Matrices(
            np.delete(kernels.target, 2, axis=1),
            kernels.pool,
            np.ascontiguousarray(np.delete(kernels.existing, 2, axis=1)),
            kernels.existing_pool,
        )
        floor = float(min(fewer.target.min(), kernels.existing.min())) if objective.name == "flcg" else None
        without = greedy(objective.problem(fewer.kernels(), eta=ETA, nu=NU, floor=floor), 9, rest=np.zeros(9))
        assert with_row.order.tolist() == without.order.tolist()


def changed(kernels: Matrices, change: Callable[[np.ndarray], np.ndarray]) -> Matrices:
    def apply(matrix: np.ndarray | None) -> np.ndarray | None:
        return None if matrix is None else np.ascontiguousarray(change(matrix).astype(np.float32))

    target = apply(kernels.target)
    assert target is not None
    return replace(
        kernels,
        target=target,
        pool=apply(kernels.pool),
        existing=apply(kernels.existing),
        existing_pool=apply(kernels.existing_pool),
    )


def picks(objective: Objective, kernels: Matrices) -> tuple[list[int], int]:
    n = len(kernels.target)
    ranking = greedy(objective.problem(kernels.kernels(), eta=ETA, nu=NU), n, rest=-np.arange(float(n)))
    return ranking.order.tolist(), ranking.positive


@pytest.mark.parametrize("masked", [False, True])
def test_facility_location_does_not_see_row_offsets_nor_scale(masked: bool) -> None:
    for seed in range(10):
        kernels = random_kernels(seed, n=30, m=17, masked=masked)
        offsets = np.random.default_rng(seed).normal(scale=20.0, size=17)
        moved = replace(kernels, target=(3.5 * kernels.target + offsets).astype(np.float32))
        assert picks(FacilityLocation(), kernels) == picks(FacilityLocation(), moved)


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_a_common_scale_changes_no_pick(objective: Objective) -> None:
    for seed in range(5):
        kernels = random_kernels(seed, n=30, m=17)
        assert picks(objective, kernels)[0] == picks(objective, changed(kernels, lambda matrix: 4.0 * matrix))[0]


@pytest.mark.parametrize("objective", COVERAGE, ids=names)
def test_a_common_offset_changes_no_pick(objective: Objective) -> None:
    for seed in range(5):
        kernels = random_kernels(seed, n=30, m=17)
        assert picks(objective, kernels) == picks(objective, changed(kernels, lambda matrix: matrix + 8.0))


@pytest.mark.parametrize("objective", [ConditionalGain(), MutualInformation()], ids=names)
def test_scaling_one_kernel_alone_does_matter(objective: Objective) -> None:
    """Why both kernels must come on one scale: stretching one of them gives another subset."""
    differ = 0
    for seed in range(5):
        kernels = random_kernels(seed, n=30, m=17)
        differ += picks(objective, kernels) != picks(objective, replace(kernels, target=4.0 * kernels.target))
    assert differ


@pytest.mark.parametrize("objective", EVERY, ids=names)
def test_new_labels_give_the_same_picks(objective: Objective) -> None:
    n, m = 30, 17
    for seed in range(5):
        kernels = random_kernels(seed, n=n, m=m)
        rng = np.random.default_rng(seed + 500)
        pool_order, target_order = rng.permutation(n), rng.permutation(m)
        new_pool, new_target = np.argsort(pool_order), np.argsort(target_order)
        assert kernels.pool is not None and kernels.existing is not None and kernels.existing_pool is not None
        moved = Matrices(
            np.ascontiguousarray(kernels.target[pool_order][:, target_order]),
            np.ascontiguousarray(kernels.pool[pool_order][:, pool_order]),
            np.ascontiguousarray(kernels.existing[:, target_order]),
            np.ascontiguousarray(kernels.existing_pool[:, pool_order]),
            np.stack([new_target[kernels.masked[:, 0]], new_pool[kernels.masked[:, 1]]], axis=1),
            new_pool[kernels.masked_pool],
        )
        eta = 2.0  # caps so low that several candidates reach the last one would be ties, and ties go by index
        plain = greedy(objective.problem(kernels.kernels(), eta=eta, nu=NU), n, rest=np.zeros(n))
        other = greedy(objective.problem(moved.kernels(), eta=eta, nu=NU), n, rest=np.zeros(n))
        assert plain.positive == other.positive > 1
        assert pool_order[other.order[: other.positive]].tolist() == plain.order[: plain.positive].tolist()


def test_weights_0_and_1_round_nothing_away() -> None:
    """With ν = 1 a candidate that only repeats an existing example gains exactly nothing, not a rounding error."""
    for seed in range(20):
        kernels = random_kernels(seed, masked=False)
        assert kernels.existing is not None
        kernels.existing[0, 0] = -1e9  # so far below that subtracting it would round the others
        copies = Matrices(np.repeat(kernels.existing, 2, axis=0), existing=kernels.existing)
        assert greedy(ConditionalGain().problem(copies.kernels(), nu=1.0), 8, rest=np.zeros(8)).positive == 0
        forgotten = ConditionalGain().problem(kernels.kernels(), nu=0.0, floor=-9.0)
        assert isinstance(forgotten, CoverageProblem) and (forgotten.start == -9.0).all()


def test_no_existing_examples_is_facility_location_from_one_floor() -> None:
    kernels = random_kernels(5, masked=False)
    nothing = replace(kernels, existing=np.empty((0, 6), np.float32))
    assert picks(ConditionalGain(), nothing)[0][:3] == picks(FacilityLocation(), kernels)[0][:3]
