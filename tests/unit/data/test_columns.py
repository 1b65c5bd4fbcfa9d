"""Columns beside the text, whatever form the row came in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nncift.data.columns import column
from nncift.data.files import load_pool

ROW = {"prompt": "p", "completion": "c", "task": "sums", "level": 3, "none": None, "empty": "", "odd": "\ud800 \x00"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("task", "sums"), ("level", "3"), ("none", None), ("absent", None), ("empty", ""), ("odd", "\ud800 \x00")],
)
def test_values_of_a_line_and_of_a_mapping(tmp_path: Path, name: str, expected: str | None) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    sources: tuple[Any, ...] = (path, [ROW])
    for source in sources:
        (row,) = load_pool(source).examples
        assert column(row, name) == expected
