"""`nncift select NEWPOOL --estimator RUN` in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toy_road import Corpus, make_corpus, run_cli, write_rows

ROWS = 44


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=60, m=9, beta=24)


def test_an_estimator_is_reused_on_other_rows(corpus: Corpus, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    topics = ["alpha", "beta"] * (ROWS // 2)
    write_rows(
        tmp_path / "new.jsonl", [{"prompt": f"{t} ask {k}", "completion": f"{t} say"} for k, t in enumerate(topics)]
    )
    centre = {"alpha": np.eye(8)[0], "beta": np.eye(8)[1]}
    np.save(tmp_path / "new.npy", np.array([centre[t] for t in topics]) + 0.25 * rng.normal(size=(ROWS, 8)))
    options = [
        "-t",
        corpus.target,
        "-i",
        "similarity",
        "-e",
        corpus.embeddings,
        "--labels",
        "200",
        "--design",
        "stripes",
        "-b",
        "10",
    ]
    old = run_cli("select", corpus.pool, *options, "-o", "old", cwd=tmp_path)
    assert old.returncode == 0, old.stderr

    vectors = f"new.npy,{corpus.embeddings.split(',')[1]}"
    words = ["select", "new.jsonl", "--estimator", "old", "-e", vectors, "-b", "10"]
    planned = run_cli(*words, "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "Exact influences: 64." in planned.stdout and "training one anew would take 200" in planned.stdout

    done = run_cli(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "check    a Gaussian process over 200 labels, reused from" in done.stderr
    assert "It carries over to these data." in done.stdout and "68% of that is saved" in done.stdout
    (folder,) = (tmp_path / "runs").glob("new-similarity-*")
    chosen = [json.loads(line) for line in (folder / "subset.jsonl").read_text().splitlines()]
    assert len(chosen) == 10 and sum(row["prompt"].startswith("beta") for row in chosen) >= 9
    assert (folder / "estimator.safetensors").read_bytes() == (tmp_path / "old" / "estimator.safetensors").read_bytes()

    again = run_cli("run", folder / "recipe.yaml", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["subset"] == str(folder / "subset.jsonl"), again.stderr
    wrong = run_cli("select", "new.jsonl", "--estimator", "olds/", "-e", vectors, cwd=tmp_path)
    assert wrong.returncode == 2 and "nncift: --estimator 'olds/': there is no such folder" in wrong.stderr
