"""The demo: the documented shares, short rows, and facts that agree with the files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nncift.data import demo
from nncift.data.demo import DemoFiles, write_demo
from nncift.data.demo_skills import SKILLS
from nncift.data.files import load_pool
from nncift.data.rows import same_text_pairs
from nncift.seeds import generator


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return write_demo(tmp_path_factory.mktemp("demo") / "new" / "folder")


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_both_files_load_without_a_rejected_row(files: DemoFiles) -> None:
    pool, target = load_pool(files.pool), load_pool(files.target, role="target")
    assert (len(pool), len(target)) == (360, 36)
    assert pool.layout == target.layout == "alpaca"
    assert not pool.rejected and not target.rejected
    assert set(pool.ids) == set(files.skill) and pool.ids[0] == "pool-001"


def test_the_shares_are_as_documented(files: DemoFiles) -> None:
    assert len(files.corrupted) == demo.CORRUPTED_ROWS == round(0.15 * 360)
    assert len(files.duplicate_of) == demo.DUPLICATE_ROWS == round(0.08 * 360)
    counts = Counter(files.skill.values())
    assert len(counts) == 12 and min(counts.values()) >= 24
    assert Counter(row["skill"] for row in rows_of(files.target)) == {skill: 12 for skill in files.target_skills}


def test_the_facts_agree_with_the_columns(files: DemoFiles) -> None:
    by_id = {row["id"]: row for row in rows_of(files.pool)}
    for name, row in by_id.items():
        assert row["skill"] == files.skill[name]
        assert row["corrupted"] == (name in files.corrupted)
        assert row["duplicate_of"] == files.duplicate_of.get(name)
    for copy, first in files.duplicate_of.items():
        assert all(
            by_id[copy][column] == by_id[first][column] for column in ("instruction", "input", "output", "skill")
        )
        assert first not in files.duplicate_of and not {copy, first} & files.corrupted


def test_no_question_is_asked_twice_but_in_copies(files: DemoFiles) -> None:
    rows = [row for row in rows_of(files.pool) if row["duplicate_of"] is None] + rows_of(files.target)
    assert len({(row["instruction"], row["input"]) for row in rows}) == len(rows) == 360 - 29 + 36
    assert not len(same_text_pairs(load_pool(files.target).examples, load_pool(files.pool).examples))


def test_rows_are_short(files: DemoFiles) -> None:
    for row in rows_of(files.pool) + rows_of(files.target):
        assert 2 <= len(row["output"].split()) <= 25
        assert len(f"{row['instruction']} {row['input']}".split()) <= 40


def test_corrupted_answers_are_wrong(files: DemoFiles) -> None:
    right: dict[tuple[str, str], str] = {}
    for skill, draw in SKILLS.items():
        rng = generator(0, f"demo/pool/{skill}")
        right |= {(instruction, extra): output for instruction, extra, output in (draw(rng) for _ in range(200))}
    wrong = [row for row in rows_of(files.pool) if row["output"] != right[row["instruction"], row["input"]]]
    assert {row["id"] for row in wrong} == files.corrupted


@pytest.mark.parametrize("skill", SKILLS)
def test_every_skill_has_enough_different_questions(skill: str) -> None:
    rng = generator(1, skill)
    drawn = [SKILLS[skill](rng) for _ in range(3_000)]
    assert len({(instruction, extra) for instruction, extra, _ in drawn}) >= 60
    answers: dict[tuple[str, str], str] = {}
    for instruction, extra, output in drawn:
        assert answers.setdefault((instruction, extra), output) == output


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, again, other = (write_demo(tmp_path / name, seed=seed) for name, seed in (("a", 3), ("b", 3), ("c", 4)))
    for part in ("pool", "target"):
        assert getattr(first, part).read_bytes() == getattr(again, part).read_bytes()
        assert getattr(first, part).read_bytes() != getattr(other, part).read_bytes()
    assert (first.skill, first.corrupted, first.duplicate_of) == (again.skill, again.corrupted, again.duplicate_of)
