"""Counts on real data sets, where they are at hand beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncift.data.files import load_pool
from nncift.data.write import write_rows

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")
@pytest.mark.parametrize(
    ("name", "layout", "usable", "rejected"),
    [
        ("alpaca_pool", "alpaca", 3498, 2),
        ("alpaca_target", "alpaca", 500, 0),
        ("gsm8k_train", "messages", 1500, 0),
        ("gsm8k_test", "messages", 300, 0),
        ("t0_mix", "prompt-completion", 1900, 100),
    ],
)
def test_real_files(tmp_path: Path, name: str, layout: str, usable: int, rejected: int) -> None:
    path = DATA / f"{name}.jsonl"
    pool = load_pool(path)
    assert (pool.layout, len(pool), len(pool.rejected)) == (layout, usable, rejected)
    assert {bad.reason for bad in pool.rejected} <= {"empty response"}
    assert len(set(pool.ids)) == usable
    write_rows(pool, range(usable), tmp_path / "all")
    lost = {bad.line for bad in pool.rejected}
    kept = [
        line for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1) if number not in lost
    ]
    assert (tmp_path / "all").read_bytes().splitlines() == [line.rstrip(b"\r\n") for line in kept]
