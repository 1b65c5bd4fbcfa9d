"""A run whose rows stay in their files leaves, byte for byte, what a run in memory leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nncift
from nncift.data import files
from nncift.data.rows import Indexed
from nncift.pipeline.reopening import reopen
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, write_influences

RUNS: dict[str, dict[str, Any]] = {
    "estimated": {"influence": "{module}:Planted", "labels": "20%"},
    "exact": {"influence": "{module}:Planted", "labels": "all", "max_targets": 4},
    "own target": {"influence": "similarity", "target": None, "max_targets": 7},
    "continual": {"influence": "similarity", "existing": "{existing}"},
    "covered pool": {"influence": "{module}:Planted", "labels": "20%", "objective": "fl1mi"},
    "pointwise": {"influence": "{module}:Worth", "labels": "20"},
    "columns": {"influence": "balanced-random", "phases": 2, "difficulty": "length"},
    "random": {"influence": "random"},
}
TIMES = {"costs", "sha256", "environment.json", "recipe.yaml", "costs.json"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def left_behind(picked: Selection) -> dict[str, Any]:
    """Everything but times and the place itself."""
    stages = json.loads((picked.folder / "stages.json").read_text(encoding="utf-8"))
    every = {name: {key: value for key, value in record.items() if key not in TIMES} for name, record in stages.items()}
    paths = (path for path in sorted(picked.folder.rglob("*")) if path.is_file() and path.name not in TIMES)
    found = {str(path.relative_to(picked.folder)): path.read_bytes() for path in paths if path.name != "stages.json"}
    return found | {"stages": every, "ids": picked.ids, "rows": picked.rows, "indices": picked.indices}


@pytest.mark.parametrize("case", RUNS)
def test_a_run_from_disk(case: str, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = write_influences(tmp_path, monkeypatch)
    words = {"module": module, "existing": str(corpus.existing)}
    options = {key: value.format(**words) if isinstance(value, str) else value for key, value in RUNS[case].items()}
    found: dict[int, dict[str, Any]] = {}
    for large in (10**12, -1):
        monkeypatch.setattr(files, "LARGE", large)
        given = corpus.options(output=str(tmp_path / f"run{large}"), budget="20%") | options
        picked = nncift.select(corpus.pool, **given)
        assert isinstance(picked.pool.examples, Indexed) == (large < 0)
        found[large] = left_behind(picked)
        again = reopen(picked.folder)
        assert again.ids == picked.ids and again.rows == picked.rows and again.resize(2).ids == picked.ids[:2]
        assert picked.export(tmp_path / "out").read_bytes().count(b"\n") == len(picked)
        seen = picked.influences()
        assert seen.values.shape == (len(seen.pool), max(1, len(seen.targets)))
        assert [row.id for row in seen.pool] == sorted(picked.pool.ids)
    assert found[-1] == found[10**12]
