"""Columns of a row beside its text, such as the task that it belongs to."""

from __future__ import annotations

import json
from typing import Any

from nncift.data.rows import Example


def column(row: Example, name: str) -> str | None:
    """A column of the row as it came, as text; None where the row has no such column or nothing in it."""
    raw: Any = row.raw
    if isinstance(raw, bytes):
        try:
            raw = json.loads(raw)
        except ValueError:
            return None
    value = raw.get(name) if isinstance(raw, dict) else None
    return None if value is None else str(value)
