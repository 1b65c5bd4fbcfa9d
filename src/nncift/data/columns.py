"""Columns of a row beside its text: task, source, whatever the user's file says."""

from __future__ import annotations

import json
from collections.abc import Sequence

from nncift.data.rows import Example, Indexed

TASK = "task"
"""The column that tells rows apart by what they are for; of rows that stay in their file it is kept in memory."""


def column(row: Example, name: str) -> str | None:
    """The value of a column of the row as it came, as text; None where the column is absent or null."""
    columns = json.loads(row.raw) if isinstance(row.raw, bytes) else row.raw
    return text_of(columns.get(name))


def column_values(rows: Sequence[Example], name: str) -> list[str | None]:
    """The values of a column of all rows, in their order; only where they are not kept, the rows are read once."""
    known = rows.column(name) if isinstance(rows, Indexed) else None
    return [column(row, name) for row in rows] if known is None else known


def text_of(value: object) -> str | None:
    """The value of a column as text."""
    return None if value is None else str(value)
