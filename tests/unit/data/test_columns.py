"""Columns beside the text, whatever the row came as."""

from __future__ import annotations

from typing import Any

import pytest

from nncift.data.columns import column
from nncift.data.rows import Example, Turn


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b'{"task": "sum", "output": "x"}', "sum"),
        ({"task": "sum"}, "sum"),
        (b'{"task": 3}', "3"),
        ({"task": None}, None),
        ({"other": "sum"}, None),
        (b'{"output": "x"}', None),
        (b'["task"]', None),
        (b"task", None),
        (b"\xff\xfe", None),
    ],
)
def test_a_column_is_text_or_none(raw: bytes | dict[str, Any], wanted: str | None) -> None:
    assert column(Example("x", (Turn("assistant", "a"),), 0, 1, raw), "task") == wanted
