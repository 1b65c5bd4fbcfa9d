"""The rules against their definitions in plain loops, and round-robin through a whole run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.errors import ConfigError
from nncift.objective import round_robin
from nncift.objective.base import Kernels
from nncift.objective.middle import Middle
from nncift.objective.modular import TopMax
from nncift.objective.round_robin import RoundRobin
from toy_road import make_corpus, share_of_beta


def kernels_of(rows: list[list[float]], masked: list[tuple[int, int]] | None = None) -> Kernels:
    """K as it is written: rows are targets."""
    pairs = np.array(masked or [], dtype=np.int64).reshape(-1, 2)
    return Kernels.dense(np.ascontiguousarray(np.array(rows, dtype=np.float32).T), masked=pairs)


def names(m: int) -> list[str]:
    return [f"t{i}" for i in range(m)]


def taken_in_turn(kernels: Kernels, budget: int) -> list[tuple[int, int]]:
    """(candidate, row) by the definition, one comparison at a time."""
    n, m = kernels.target.shape
    forbidden = {(int(i), int(j)) for i, j in kernels.masked}
    left, picks, idle, i = set(range(n)), [], 0, 0
    while len(picks) < min(budget, n) and idle < m:
        mine = [j for j in left if (i, j) not in forbidden]
        if mine:
            best = min(mine, key=lambda j: (-kernels.dense_target()[j, i], j))
            left.remove(best)
            picks.append((best, i))
            idle = 0
        else:
            idle += 1
        i = (i + 1) % m
    return picks


def test_the_second_query_takes_its_next_choice() -> None:
    a, b, c = 0, 1, 2
    kernels = kernels_of([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]])
    ranking, reasons = RoundRobin().rank(kernels, 3, rows=["first", "second"])
    assert ranking.order.tolist() == [a, c, b]
    assert ranking.gains.tolist() == [3.0, 2.0, 2.0]
    assert (ranking.positive, ranking.merit) == (3, "")
    assert "gain" not in ranking.rest_rule
    assert reasons[1] == "the best left for 'second' (2)"


@pytest.mark.parametrize("first", [1, 3, 64])
def test_equals_the_definition(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_robin, "_FIRST", first)
    monkeypatch.setattr(round_robin, "_MOST", max(4, first))
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(1, 40)), int(rng.integers(1, 8))
        values = rng.integers(0, 1 + 3 ** (seed % 4), size=(n, m)).astype(np.float32)  # from all ties to few
        masked = np.argwhere(rng.random((m, n)) < (seed % 3) * 0.4)
        rng.shuffle(masked)
        kernels = Kernels.dense(values, masked=masked)
        for budget in (0, 1, n // 2, n, n + 3):
            expected = taken_in_turn(kernels, budget)
            ranking, reasons = RoundRobin().rank(kernels, budget, rows=names(m))
            assert ranking.positive == len(expected)
            assert ranking.order[: ranking.positive].tolist() == [j for j, _ in expected]
            assert ranking.gains[: ranking.positive].tolist() == [values[j, i] for j, i in expected]
            assert all(f"'t{i}'" in reason for reason, (_, i) in zip(reasons, expected, strict=False))
            assert len(ranking.order) == len(reasons) == min(budget, n) == len(set(ranking.order.tolist()))


def tasks_in_turn(kernels: Kernels, budget: int) -> list[tuple[int, int]]:
    """(candidate, row it helps most) by the definition for tasks, one comparison at a time."""
    assert kernels.groups is not None
    forbidden = {(int(i), int(j)) for i, j in kernels.masked}
    codes = sorted(set(kernels.groups.tolist()))
    left, picks, idle, turn = set(range(kernels.target.shape[0])), [], 0, 0
    while left and len(picks) < budget and idle < len(codes):
        worth = {}
        for j in left:
            for i, code in enumerate(kernels.groups.tolist()):
                if code == codes[turn] and (i, j) not in forbidden:
                    worth[j] = max(worth.get(j, (-np.inf, 0)), (float(kernels.dense_target()[j, i]), -i))
        if worth:
            best = min(worth, key=lambda j: (-worth[j][0], j))
            left.remove(best)
            picks.append((best, -worth[best][1]))
        idle = 0 if worth else idle + 1
        turn = (turn + 1) % len(codes)
    return picks


@pytest.mark.parametrize("first", [1, 3, 64])
def test_tasks_equal_the_definition(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_robin, "_FIRST", first)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n, m = int(rng.integers(1, 30)), int(rng.integers(1, 9))
        values = rng.integers(0, 1 + 3 ** (seed % 4), size=(n, m)).astype(np.float32)
        masked = np.argwhere(rng.random((m, n)) < (seed % 3) * 0.45)
        rng.shuffle(masked)
        kernels = Kernels.dense(values, masked=masked, groups=rng.choice([9, 2, 5], size=m))
        for budget in (0, 1, n // 2, n + 3):
            expected = tasks_in_turn(kernels, budget)
            ranking, reasons = RoundRobin().rank(kernels, budget, rows=names(m))
            assert ranking.positive == len(expected)
            assert ranking.order[: ranking.positive].tolist() == [j for j, _ in expected]
            assert ranking.gains[: ranking.positive].tolist() == [values[j, i] for j, i in expected]
            assert all(f"the task of 't{i}'" in reason for reason, (_, i) in zip(reasons, expected, strict=False))
            assert len(ranking.order) == len(reasons) == min(budget, n) == len(set(ranking.order.tolist()))


def test_a_task_of_many_rows_gets_no_more_turns() -> None:
    rng = np.random.default_rng(2)
    groups = np.array([4] * 17 + [1] * 2 + [8])
    kernels = Kernels.dense(rng.normal(size=(60, 20)).astype(np.float32), groups=groups)
    _, reasons = RoundRobin().rank(kernels, 31, rows=names(20))
    turns = [int(groups[int(reason.split("'")[1][1:])]) for reason in reasons]
    assert turns == [1, 4, 8] * 10 + [1]


def test_tasks_of_one_row_are_as_rows_without_tasks() -> None:
    rng = np.random.default_rng(7)
    kernels = Kernels.dense(rng.normal(size=(23, 5)).astype(np.float32), masked=np.argwhere(rng.random((5, 23)) < 0.3))
    alone = dataclasses.replace(kernels, groups=np.arange(5))
    plain, tasked = (RoundRobin().rank(some, 23, rows=names(5))[0] for some in (kernels, alone))
    assert plain.order.tolist() == tasked.order.tolist() and plain.gains.tolist() == tasked.gains.tolist()


def test_a_candidate_with_the_text_of_one_row_serves_the_others_of_its_task() -> None:
    rows = [[9.0, 1.0, 0.0], [2.0, 3.0, 1.0]]
    kernels = dataclasses.replace(kernels_of(rows, [(0, 0), (0, 1), (1, 1)]), groups=np.zeros(2, dtype=np.int64))
    ranking, reasons = RoundRobin().rank(kernels, 3, rows=names(2))
    assert ranking.order.tolist() == [0, 2, 1] and ranking.gains.tolist() == [2.0, 1.0, 0.0]
    assert "'t1'" in reasons[0] and "no row may take it" in reasons[2]


def test_a_long_row_of_equal_values_goes_by_id() -> None:
    ranking, _ = RoundRobin().rank(Kernels.dense(np.ones((700, 3), np.float32)), 700, rows=names(3))
    assert ranking.order.tolist() == list(range(700))


def test_a_row_without_candidates_is_passed_over() -> None:
    kernels = kernels_of([[9.0, 8.0, 7.0, 6.0]] * 3, [(1, j) for j in range(4)])
    ranking, reasons = RoundRobin().rank(kernels, 2, rows=names(3))
    assert ranking.order.tolist() == [0, 1] and "'t2'" in reasons[1]


def test_candidates_that_no_row_may_take_come_last() -> None:
    kernels = kernels_of([[1.0, 9.0, -2.0], [5.0, 9.0, 0.0]], [(0, 1), (1, 1)])
    ranking, reasons = RoundRobin().rank(kernels, 7, rows=names(2))
    assert ranking.order.tolist() == [0, 2, 1] and ranking.gains.tolist() == [1.0, 0.0, 0.0]
    assert ranking.positive == 2 and "text" in reasons[2]
    assert ranking.rest_rule == "Pick 3 had no positive gain and follows mean influence, then the lowest id."


def test_the_scale_of_a_row_does_not_matter_to_round_robin() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(30, 7)).astype(np.float32)
    bent = (values * rng.uniform(0.5, 2.0, 7) + rng.normal(size=7)).astype(np.float32)
    plain, other = (RoundRobin().rank(Kernels.dense(v), 30, rows=names(7))[0].order for v in (values, bent))
    assert plain.tolist() == other.tolist()


def test_what_stands_in_a_masked_pair_does_not_matter_to_round_robin() -> None:
    rng = np.random.default_rng(8)
    values, masked = rng.normal(size=(20, 6)).astype(np.float32), np.argwhere(rng.random((6, 20)) < 0.3)
    orders = []
    for filler in (-99.0, 99.0):
        values[masked[:, 1], masked[:, 0]] = filler
        orders.append(RoundRobin().rank(Kernels.dense(values, masked=masked), 20, rows=names(6))[0].order.tolist())
    assert orders[0] == orders[1]


def test_a_negative_budget_is_an_error() -> None:
    for rule in (RoundRobin(), Middle()):
        with pytest.raises(ConfigError, match="the budget is -1"):
            rule.rank(kernels_of([[1.0, 2.0]]), -1, rows=names(1))


def test_middle_starts_at_the_median_and_goes_outwards() -> None:
    scores = [50.0, 10.0, 40.0, 20.0, 30.0]
    ranking, reasons = Middle().rank(kernels_of([scores]), 4, rows=names(1))
    assert ranking.order.tolist() == [4, 2, 3, 0]  # 30, then 40 and 20 by index, then 50 before 10
    assert ranking.gains.tolist() == [0.0, -1.0, -1.0, -2.0]
    assert str(ranking.gains[0]) == "0.0" and ranking.positive == 4
    assert reasons[0] == "score 30 is 3 of 5 from below"


def test_middle_of_an_even_number_and_with_ties() -> None:
    assert Middle().rank(kernels_of([[4.0, 1.0, 2.0, 3.0]]), 2, rows=names(1))[0].order.tolist() == [2, 3]
    tied = [0.0, 5.0, 5.0, 5.0, 9.0]
    ranking, _ = Middle().rank(kernels_of([tied]), 5, rows=names(1))
    assert ranking.order.tolist() == [1, 2, 3, 0, 4]
    assert ranking.gains.tolist() == [0.0, 0.0, 0.0, -2.0, -2.0]


def test_middle_sees_ranks_only() -> None:
    scores = np.random.default_rng(1).normal(size=(23, 1)).astype(np.float32)
    plain, bent = (Middle().rank(Kernels.dense(s), 23, rows=names(1))[0].order for s in (scores, np.exp(3 * scores)))
    assert plain.tolist() == bent.tolist()


def by_task(kernels: Kernels, groups: np.ndarray, j: int) -> float | None:
    """The largest of the tasks' mean influences, entry by entry."""
    forbidden = {(int(i), int(k)) for i, k in kernels.masked}
    means = []
    for task in set(groups.tolist()):
        kept = [
            float(kernels.dense_target()[j, i])
            for i in range(len(groups))
            if groups[i] == task and (i, j) not in forbidden
        ]
        means += [sum(kept) / len(kept)] if kept else []
    return max(means, default=None)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_top_max_over_tasks_of_unequal_size(share: float) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        n, groups = 9, np.array([7, 2, 7, 7, 0, 2, 7])
        masked = np.argwhere(rng.random((7, n)) < share)
        kernels = Kernels.dense(rng.normal(size=(n, 7)).astype(np.float32), masked=masked, groups=groups)
        found = [by_task(kernels, groups, j) for j in range(n)]
        lowest = min((value for value in found if value is not None), default=0.0)
        expected = [lowest if value is None else value for value in found]
        problem = TopMax().problem(kernels)
        assert problem.modular is not None
        np.testing.assert_allclose(problem.modular, expected, atol=1e-12)


def test_tasks_of_one_row_are_no_tasks_and_one_task_is_the_mean() -> None:
    rng = np.random.default_rng(3)
    kernels = Kernels.dense(rng.normal(size=(11, 5)).astype(np.float32), masked=np.argwhere(rng.random((5, 11)) < 0.2))
    each = dataclasses.replace(kernels, groups=np.array([3, 1, 4, 0, 2]))
    one = dataclasses.replace(kernels, groups=np.zeros(5, dtype=np.int64))
    plain, alone, mean = (TopMax().problem(some).modular for some in (kernels, each, one))
    np.testing.assert_array_equal(np.asarray(plain), np.asarray(alone))
    np.testing.assert_allclose(np.asarray(mean), kernels.means, atol=1e-12)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"groups has shape \(3,\)"):
        Kernels.dense(np.ones((4, 2), np.float32), groups=np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize("labels", ["all", "15%"])
def test_round_robin_chooses_the_targets_topic_in_a_run(tmp_path: Path, labels: str) -> None:
    corpus = make_corpus(tmp_path / "data")
    options = corpus.options(influence="similarity", objective="round-robin", labels=labels)
    picked = nncift.select(corpus.pool, budget=20, output=str(tmp_path / "run"), **options)
    assert len(picked) == len(set(picked.ids)) == 20
    assert share_of_beta([example.text for example in picked.examples]) > 0.9
    assert (picked.fidelity is None) == (labels == "all")
    assert len({reason.split("'")[1] for reason in picked.reasons}) == corpus.m  # every row had its turn
    assert picked.resize(7).ids == picked.ids[:7]
    assert picked.resize(35).ids[:20] == picked.ids
    again = nncift.select(corpus.pool, budget=20, output=str(tmp_path / "again"), **options)
    assert (again.folder / "selection.jsonl").read_bytes() == (picked.folder / "selection.jsonl").read_bytes()


def test_the_pool_as_its_own_target_takes_no_row_for_itself(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=24, m=5, beta=9)
    options = corpus.options(target=None, influence="similarity", objective="round-robin")
    picked = nncift.select(corpus.pool, budget=24, output=str(tmp_path / "run"), **options)
    takers = [reason.split("'")[1] for reason in picked.reasons]
    assert sorted(picked.ids) == sorted(takers)
    assert not any(row == taker for row, taker in zip(picked.ids, takers, strict=True))


def test_rules_know_which_influences_suit_them(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=24, m=5, beta=9)
    with pytest.raises(ConfigError, match="gives each row one score"):
        nncift.select(corpus.pool, influence="random", objective="round-robin", budget=3, output=str(tmp_path / "run"))
    picked = nncift.select(corpus.pool, influence="random", objective="middle", budget=3, output=str(tmp_path / "m"))
    assert len(picked) == 3 and "of 24 from below" in picked.reasons[0]
