"""Balanced random: every group gives its share, whatever its size."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
import teaching
from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.influence.balanced import BalancedRandom
from nncift.influence.random import Random
from toy_road import write_rows

SIZES = {"big": 40, "small": 3, "middle": 10, None: 6}


def mixture() -> list[dict[str, Any]]:
    named = [(task, k) for task, size in SIZES.items() for k in range(size)]
    return [
        {"id": f"r{k:03d}", "text": f"row {k}"} | ({} if task is None else {"task": task})
        for k, (task, _) in enumerate(named)
    ]


def pool() -> tuple[Example, ...]:
    return load_pool(mixture()).by_id().examples


def order(seed: int, rows: tuple[Example, ...], **options: Any) -> list[str | None]:
    """The groups of the rows, best first."""
    tasks = {row["id"]: row.get("task") for row in mixture()}
    y = teaching.ask(BalancedRandom(**options), (), rows, seed=seed).y
    assert len(np.unique(y)) == len(y) and y.min() > 0 and y.max() < 1
    return [tasks[rows[k].id] for k in np.argsort(-y, kind="stable")]


@pytest.mark.parametrize("seed", range(5))
def test_groups_give_one_row_each_until_they_have_no_more(seed: int) -> None:
    groups = order(seed, pool())
    left = Counter(SIZES)
    at = 0
    while at < len(groups):
        alive = {task for task, count in left.items() if count}
        turn = groups[at : at + len(alive)]
        assert set(turn) == alive
        left.subtract(turn)
        at += len(alive)


def test_rows_of_a_group_and_the_first_group_are_random() -> None:
    firsts = Counter(order(seed, pool())[0] for seed in range(200))
    assert all(25 < firsts[task] < 80 for task in SIZES)  # 50 each in the mean: size gives no right of way
    rows = pool()
    chosen = Counter(int(teaching.ask(BalancedRandom(), (), rows, seed=seed).y.argmax()) for seed in range(200))
    assert len(chosen) > 25


def test_the_order_of_the_file_plays_no_part() -> None:
    rows = pool()
    moved = [int(k) for k in np.random.default_rng(0).permutation(len(rows))]
    plain = teaching.ask(BalancedRandom(), (), rows, seed=2).y
    assert teaching.ask(BalancedRandom(), (), tuple(rows[k] for k in moved), seed=2).y.tolist() == plain[moved].tolist()


def test_another_column(caplog: pytest.LogCaptureFixture) -> None:
    rows = load_pool([row | {"source": int(row["id"][1:]) % 2} for row in mixture()]).by_id().examples
    y = teaching.ask(BalancedRandom(by="source"), (), rows).y
    sources = [int(rows[k].id[1:]) % 2 for k in np.argsort(-y)]
    assert all(sum(sources[at : at + 2]) == 1 for at in range(0, 58, 2))
    assert not caplog.records


def test_without_the_column_it_is_random_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    rows = pool()
    with caplog.at_level(logging.WARNING):
        balanced = teaching.ask(BalancedRandom(by="nothing"), (), rows, seed=4).y
    assert "no row has the column 'nothing'" in caplog.text
    plain = teaching.ask(Random(), (), rows, seed=4).y
    assert np.argsort(-balanced).tolist() == np.argsort(-plain).tolist()


def test_equal_shares_through_a_run(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pool.jsonl", mixture())
    picked = nncift.select(path, influence="balanced-random", budget=12, output=str(tmp_path / "run"))
    lines = [json.loads(line) for line in picked.subset.read_text().splitlines()]  # pyright: ignore
    assert Counter(line.get("task") for line in lines) == {"big": 3, "small": 3, "middle": 3, None: 3}
