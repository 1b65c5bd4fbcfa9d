"""A run says where another way did better in our measurements, and nothing where none did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nncift

ROWS = [{"text": f"row {k} of some words"} for k in range(24)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"objective": "facility-location"}, {"advice_target"}),
        ({"objective": "top-mean"}, {"advice_rule", "advice_target"}),
        ({"objective": "facility-location", "labels": "60"}, {"advice_labels", "advice_target"}),
        ({"objective": "top-mean", "labels": "60"}, {"advice_rule", "advice_labels", "advice_target"}),
        ({"influence": "length"}, {"advice_target"}),
        ({"influence": "random", "objective": "top-mean"}, set()),
    ],
)
def test_advice_is_given_where_it_applies(options: dict[str, str], told: set[str], tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", np.random.default_rng(0).normal(size=(24, 6)))
    rest = {"influence": "similarity", "embedder": str(tmp_path / "pool.npy")} if "influence" not in options else {}
    picked = nncift.select(ROWS, budget=5, output=tmp_path / "run", **(rest | options))
    assert {kind for kind in picked.notes if kind.startswith("advice")} == told
