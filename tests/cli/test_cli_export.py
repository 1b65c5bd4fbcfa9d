"""`nncift export` and `nncift select --dedup` in a process of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toy_road import run_cli, write_rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of 12 rows, two of which are a copy of another, three of several turns."""
    draw = np.random.default_rng(2)
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"id": f"{k:02}", "messages": talk * (2 if k in (1, 4, 6) else 1)} for k in range(12)]
    vectors = draw.normal(size=(12, 32))
    vectors[[10, 11]] = vectors[0]
    write_rows(tmp_path / "pool.jsonl", rows)
    np.save(tmp_path / "pool.npy", vectors)
    done = run_cli(
        *("select", "pool.jsonl", "-e", "pool.npy", "-b", "90%", "--dedup", "0.95", "-o", "run"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "dedup    2 of 12 rows are near-copies (cosine 0.95 or more)" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("9 of 10 rows by facility-location")
    return tmp_path / "run"


def test_the_last_line_says_what_how_many_where(run: Path) -> None:
    done = run_cli("export", "run", "--trainer", "litgpt", "-o", "out", cwd=run.parent)
    assert done.returncode == 0
    kept = len((run.parent / "out" / "litgpt.jsonl").read_text().splitlines())
    assert done.stdout.splitlines() == ["Beside it: litgpt.yaml.", f"{kept} rows for litgpt: out/litgpt.jsonl"]
    assert done.stderr.startswith(f"note: {9 - kept} of 9 rows are left out") and 6 <= kept <= 7


def test_json_and_wrong_words(run: Path) -> None:
    done = run_cli("export", "run", "--json", "--card", cwd=run.parent)
    found = json.loads(done.stdout)
    assert (found["rows"], found["trainer"], found["data"]) == (9, "trl", "run/export/trl.jsonl")
    assert Path(run.parent / found["card"]).is_file() and done.stderr == ""
    wrong = run_cli("export", "run", "--trainer", "axolotls", cwd=run.parent)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "nncift: unknown trainer 'axolotls'. Did you mean 'axolotl'?\n",
    )


def test_shards_in_the_run_and_in_the_export(run: Path) -> None:
    again = run_cli(
        *("select", "pool.jsonl", "-e", "pool.npy", "-b", "90%", "--dedup", "0.95", "-o", "run", "--shard-rows", "4"),
        cwd=run.parent,
    )
    assert again.returncode == 0 and "(--shard-rows)" in again.stderr
    assert again.stdout.splitlines()[-1].endswith(": run/subset (3 shards)")
    done = run_cli("export", "run", "--shard-rows", "2", "-o", "out", cwd=run.parent)
    assert done.stdout.splitlines()[-1] == "9 rows for trl: out/trl (5 shards)", done.stderr
    wrong = run_cli("export", "run", "--trainer", "litgpt", "--shard-rows", "2", cwd=run.parent)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "nncift: litgpt reads its rows from one file, and --shard-rows writes several. Leave it out for litgpt.\n",
    )
