"""A grade is kept as it arrives, and what a kill cut is asked for again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nncift.data.rows import Turn
from nncift.evaluation.grades import GradeBook, answer_key
from teaching import rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grades" / "judge.jsonl"


def test_grades_are_on_the_disk_at_once(path: Path) -> None:
    book = GradeBook(path)
    assert book.get("a") is None and not path.exists()
    book.put("a", 4.25)
    assert GradeBook(path).get("a") == 4.25 == book.get("a")
    book.put("b", 1.0)
    assert (GradeBook(path).get("a"), GradeBook(path).get("b"), GradeBook(path).get("c")) == (4.25, 1.0, None)


def test_a_line_cut_anywhere_is_a_hole_and_what_follows_is_whole(path: Path) -> None:
    book = GradeBook(path)
    book.put("a", 2.0)
    book.put("b", 3.5)
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for cut in range(start, len(whole) - 1):
        path.write_bytes(whole[:cut])
        left = GradeBook(path)
        assert left.get("a") == 2.0
        assert left.get("b") is None, cut
        left.put("c", 5.0)
        again = GradeBook(path)
        assert (again.get("a"), again.get("b"), again.get("c")) == (2.0, None, 5.0)


def test_a_line_that_lacks_only_its_end_counts(path: Path) -> None:
    GradeBook(path).put("a", 2.0)
    path.write_bytes(path.read_bytes().rstrip())
    book = GradeBook(path)
    book.put("b", 3.0)
    assert (GradeBook(path).get("a"), GradeBook(path).get("b")) == (2.0, 3.0)


@pytest.mark.parametrize("line", ["[]", "3", "null", '{"answer": "a"}', '{"answer": "a", "grade": null}', "\xff\x00"])
def test_foreign_lines_are_left_out(path: Path, line: str) -> None:
    GradeBook(path).put("b", 2.0)
    path.write_bytes(path.read_bytes() + line.encode("latin-1") + b"\n")
    assert (GradeBook(path).get("a"), GradeBook(path).get("b")) == (None, 2.0)


def test_keys_tell_rows_and_answers_apart_and_nothing_else() -> None:
    one, other = rows(("river?", "rain"), ("river? rain", ""))[0], rows(("river?", "sun"))[0]
    keys = {answer_key(row, answer) for row in (one, other) for answer in ("", "x", "x ", "\ud800", "\0")}
    assert len(keys) == 10
    moved = replace(one, id="another", number=9, line=4, raw=b"")
    assert answer_key(moved, "x") == answer_key(one, "x")
    assert answer_key(replace(one, turns=(Turn("system", "river?"), one.turns[1])), "x") != answer_key(one, "x")
