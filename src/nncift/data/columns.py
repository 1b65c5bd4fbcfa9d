"""Columns of a row beside its text: task, source, whatever the user's file says."""

from __future__ import annotations

import json

from nncift.data.rows import Example


def column(row: Example, name: str) -> str | None:
    """The value of a column of the row as it came, as text; None where the column is absent or null."""
    columns = json.loads(row.raw) if isinstance(row.raw, bytes) else row.raw
    value = columns.get(name)
    return None if value is None else str(value)
