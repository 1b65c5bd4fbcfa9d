"""Vectors by axis: whatever lies in whichever order, a row gets its own, and a file of them is never in memory whole."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.config import SelectConfig
from nncift.data import files
from nncift.data.arrays import write_blocks
from nncift.embed import base, precomputed
from nncift.errors import ConfigError
from nncift.pipeline import vectors
from nncift.pipeline.models import Models
from nncift.pipeline.preparing import prepare
from nncift.pipeline.setup import Setup
from nncift.pipeline.vectors import Embeddings, read_embeddings
from nncift.progress import Silent
from nncift.run import RunFolder, Work

COUNTS = {"pool": 23, "target": 9, "existing": 5}
D = 4


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of rows whose ids are in no order, one row of each rejected, and a vector for every row."""
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        rows = [{"id": f"{name[0]}{k * 4 % count:02d}", "text": f"{name} {k}"} for k in range(count)]
        rows.insert(2, {"id": "lost", "text": " "})
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(count + 1, D)))
    monkeypatch.chdir(tmp_path)
    for module in (precomputed, vectors, base):
        monkeypatch.setattr(module, "BLOCK", 4)
    return tmp_path


def set_up(**options: Any) -> Setup:
    names = ",".join(f"{name}.npy" for name in COUNTS)
    return prepare(SelectConfig.of({"pool": "pool.jsonl", "budget": 3, "embedder": names, "output": "run"} | options))


def expected(setup: Setup) -> Embeddings:
    """Every row's own vector, looked up by where the row lies in its file."""
    files_of = {name[0]: np.load(f"{name}.npy") for name in COUNTS}
    found = []
    for rows in (setup.axes.helped, setup.axes.columns):
        raw = [files_of[row.id[0]][row.number] for row in rows]
        found.append(np.array([vector / np.linalg.norm(vector) for vector in raw]).reshape(-1, D))
    return Embeddings(*found)


CASES: dict[str, dict[str, Any]] = {
    "own target": {"influence": "similarity"},
    "sampled own target": {"influence": "similarity", "max_targets": 6},
    "target": {"influence": "similarity", "target": "target.jsonl"},
    "sampled target": {"influence": "similarity", "target": "target.jsonl", "max_targets": 5},
    "existing": {"influence": "similarity", "target": "target.jsonl", "existing": "existing.jsonl"},
    "covered pool": {"influence": "similarity", "target": "target.jsonl", "objective": "fl1mi", "max_targets": 4},
    "pointwise": {"influence": "random"},
    "pointwise that reads a target": {"influence": "embedding", "target": "target.jsonl", "max_targets": 3},
}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_row_gets_its_own_vector(place: Path, case: str, stored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", -1 if stored else 10**12)
    setup = set_up(**CASES[case])
    laid = Models(setup, Silent()).embed(Work())
    want = expected(setup)
    assert (laid.rows.shape, laid.columns.shape) == (want.rows.shape, want.columns.shape)
    folder = RunFolder(place / "run")
    assert laid.write(folder) == ["embeddings/rows.npy", "embeddings/columns.npy"]
    kept, whole = read_embeddings(place / "run"), laid.whole()
    for name in ("rows", "columns"):
        np.testing.assert_allclose(getattr(whole, name), getattr(want, name), rtol=1e-6)
        np.testing.assert_array_equal(getattr(kept, name), getattr(whole, name))
        assert getattr(kept, name).dtype == np.float32
        saved = io.BytesIO()
        np.save(saved, getattr(whole, name))
        assert (place / "run" / "embeddings" / f"{name}.npy").read_bytes() == saved.getvalue()
    folder.close()


def test_a_bad_vector_is_named_with_its_row(place: Path) -> None:
    bad = np.load("pool.npy")
    bad[17, 1] = np.nan
    np.save("pool.npy", bad)
    setup = set_up(influence="similarity")
    row = next(row for row in setup.pool if row.number == 17)
    with pytest.raises(
        ConfigError, match=rf"row 17 \(0-based\) holds NaN or infinity; it belongs to the row '{row.id}'"
    ):
        Models(setup, Silent()).embed(Work()).whole()
    with pytest.raises(ConfigError, match=rf"row 17 .*'{row.id}'"):
        precomputed.Precomputed("pool.npy").rows(setup.pool)


def test_what_a_run_keeps_is_not_read_before_it_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    for name in ("rows", "columns"):
        np.save(tmp_path / "embeddings" / f"{name}.npy", np.ones((3000, 100), dtype=np.float32))
    tracemalloc.start()
    kept = read_embeddings(tmp_path)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 100_000 < kept.rows.nbytes
    kept.rows[0, 0] = 7  # torch must not warn of it, and the file stays as it is
    assert read_embeddings(tmp_path).rows[0, 0] == 1


@given(shape=st.tuples(st.integers(0, 9), st.integers(1, 12)), block=st.integers(1, 4))
def test_blocks_give_the_bytes_of_the_whole(shape: tuple[int, int], block: int) -> None:
    array = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    made, whole = io.BytesIO(), io.BytesIO()
    write_blocks(made, (array[k : k + block] for k in range(0, len(array), block)), shape)
    np.save(whole, array)
    assert made.getvalue() == whole.getvalue()
