"""Columns of a row that are neither prompt nor response."""

from __future__ import annotations

import json

from nncift.data.rows import Example


def column(row: Example, name: str) -> str | None:
    """The value of a column of a row as it came, as text; None where it is absent or null."""
    values = json.loads(row.raw) if isinstance(row.raw, bytes) else row.raw
    value = values.get(name) if isinstance(values, dict) else None
    return None if value is None else str(value)
