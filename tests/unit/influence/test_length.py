"""Length by hand."""

from __future__ import annotations

from typing import Any

import pytest

import teaching
from nncift.influence.length import Length
from teaching import rows

POOL = rows(("add 2 and 3", "5"), ("who", "me and\n you"), ("", "größer als wir"))


@pytest.mark.parametrize(
    ("unit", "of", "expected"),
    [
        ("words", "response", [1, 3, 3]),
        ("characters", "response", [1, 11, 14]),
        ("words", "row", [5, 4, 3]),
        ("characters", "row", [13, 15, 14]),
    ],
)
def test_counted_by_hand(unit: Any, of: Any, expected: list[int]) -> None:
    assert teaching.ask(Length(unit=unit, of=of), (), POOL).y.tolist() == expected


def test_it_needs_nothing() -> None:
    traits = Length().traits
    assert traits.free and not traits.needs_model and not traits.needs_embeddings and not traits.uses_target
    assert teaching.ask(Length(), (), POOL).y.tolist() == [1, 3, 3]
