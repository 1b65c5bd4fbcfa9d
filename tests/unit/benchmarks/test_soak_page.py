"""The table of the page on reliability is that of its record, and the record is of a campaign that nothing failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE, RESULT = ROOT / "docs" / "reliability.md", ROOT / "docs" / "results" / "soak.json"


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are no part of the package: they are found from the root of the checkout."""
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_page_shows_the_record(tmp_path: Path) -> None:
    from benchmarks.soak.table import write_page

    record = json.loads(RESULT.read_text(encoding="ascii"))
    copy = tmp_path / "page.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page(copy, record)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert "faults tried" in PAGE.read_text(encoding="utf-8")


def test_nothing_failed_and_no_row_was_lost() -> None:
    lines = json.loads(RESULT.read_text(encoding="ascii"))["lines"]
    assert lines and all(line["survived"] == line["tried"] and line["lost"] == line["left"] == 0 for line in lines)
    assert all(line["failures"] == [] for line in lines)


def test_a_failure_is_told_and_counted() -> None:
    from benchmarks.soak.table import failures, markdown

    line = {"fault": "SIGKILL", "work": "select", "tried": 2, "survived": 1, "lost": 3, "again": 1, "left": 0}
    lines = [line | {"skipped": "", "failures": ["moment 7: 3 rows lost"]}]
    record = {"seed": 5, "minutes": 1.0, "machine": "2 cores", "lines": lines}
    assert failures(lines) == ["SIGKILL, select: moment 7: 3 rows lost"]
    assert "| SIGKILL | `select` | 2 | 1 | 3 | 1 | 0 |" in markdown(record) and "seed 5" in markdown(record)
