"""A finished run says again what it said, and nothing in its folder changes; a run that is not what it was is refused."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.data.demo import write_demo
from nncift.errors import ConfigError, DataError, RunError
from nncift.pipeline import reopen
from nncift.selection import Selection


@pytest.fixture
def run(tmp_path: Path) -> Selection:
    demo = write_demo(tmp_path / "demo", seed=0)
    rng = np.random.default_rng(0)
    for file, rows in ((demo.pool, 360), (demo.target, 36)):
        np.save(file.with_suffix(".npy"), rng.normal(size=(rows, 6)))
    vectors = f"{demo.pool.with_suffix('.npy')},{demo.target.with_suffix('.npy')}"
    return nncift.select(
        demo.pool, target=demo.target, influence="similarity", embedder=vectors, labels="600", budget=9,
        output=tmp_path / "run",
    )  # fmt: skip


def _hashes(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def test_it_says_the_same_and_changes_nothing(run: Selection) -> None:
    before = _hashes(run.folder)
    again = reopen(run.folder)
    assert again.ids == run.ids and again.reasons == run.reasons and again.costs == run.costs
    assert again.summary() == run.summary()
    assert again.resize(30).ids == run.resize(30).ids
    np.testing.assert_array_equal(again.influences().values, run.influences().values)
    assert again.influences().values.shape == (360, 36)
    assert _hashes(run.folder) == before


def test_exact_influences_are_read_without_an_estimator(tmp_path: Path) -> None:
    rows = [{"text": f"row {k}"} for k in range(7)]
    run = nncift.select(rows, influence="length", budget=2, output=tmp_path / "run")
    again = reopen(tmp_path / "run")
    assert again.ids == run.ids and again.fidelity is None
    assert again.influences().values.shape == (7, 1) and again.influences().targets == ()


def test_files_may_move(run: Selection, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "demo", tmp_path / "elsewhere")
    (tmp_path / "demo" / "pool.jsonl").unlink()
    with pytest.raises(DataError, match="pool"):
        reopen(run.folder)
    assert reopen(run.folder, pool=str(tmp_path / "elsewhere" / "pool.jsonl")).ids == run.ids


def test_other_rows_are_refused(run: Selection) -> None:
    path = Path(run.pool.source)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(RunError, match="nncift run"):
        reopen(run.folder)


def test_a_damaged_file_and_an_unfinished_run_are_refused(run: Selection, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "done.json").unlink()
    with pytest.raises(RunError, match="did not finish"):
        reopen(tmp_path / "unfinished")
    with (run.folder / "selection.jsonl").open("a") as stream:
        stream.write("\n")
    with pytest.raises(RunError, match="not what they were"):
        reopen(run.folder)
    with pytest.raises(ConfigError, match="no recipe"):
        reopen(tmp_path)
