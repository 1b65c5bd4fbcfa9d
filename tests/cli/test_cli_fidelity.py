"""`nncift fidelity` as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toy_rehearsal import Known, make_known
from toy_road import make_corpus, run_cli


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return make_known(tmp_path_factory.mktemp("known"))


def arguments(known: Known, *more: str) -> list[str]:
    files = ["--pool", str(known.folder / "pool.jsonl"), "--target", str(known.folder / "target.jsonl")]
    return ["fidelity", str(known.folder / "labels.npz"), *files, "-e", known.embedder, "--labels", "20%", *more]


def test_json_is_one_list_on_standard_output(known: Known, tmp_path: Path) -> None:
    more = ["--estimator", "means", "--unseen", "50%", "--repeats", "2", "--json", "--predictions", "out"]
    done = run_cli(*arguments(known, *more), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert [(one["design"], one["estimator"], one["candidates"]) for one in records] == [
        ("stripes", "means", "all"),
        ("-", "predict the mean", "all"),
        ("stripes", "means", "unseen"),
        ("-", "predict the mean", "unseen"),
    ]
    assert set(records[0]) == {
        *("design", "estimator", "default", "labels", "candidates", "mse", "r2", "spearman", "row_spearman"),
        *("candidate_spearman", "top30_overlap", "coverage90", "objective_gain", "seconds", "learning", "quadrants"),
    }
    assert set(records[0]["objective_gain"]) == {"1%", "5%", "10%", "30%"}
    assert set(records[0]["r2"]) == {"mean", "se"}
    assert done.stderr.splitlines() == [
        "note: 4 of 360 pairs have no finite influence: they are neither labelled nor scored"
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stripes-means-0.npz", "stripes-means-1.npz"]


def test_the_table_has_a_row_for_each_and_ends_with_what_and_where(known: Known, tmp_path: Path) -> None:
    done = run_cli(*arguments(known, "--estimator", "all", "--unseen", "50%", "--repeats", "1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "all candidates" and "candidates without any label" in lines
    starts = [line.split()[:2] for line in lines]
    for name in ("gaussian-process", "network", "paper", "means", "auto"):
        assert starts.count(["stripes", name]) == 2
    assert starts.count(["-", "predict"]) == 2
    assert sum("gaussian-process *" in line for line in lines) == 2
    assert lines[-1].startswith("5 combinations of design and estimator, 1 repeat each, on ")
    assert all(stage in done.stderr for stage in ("embed", "42 rows", "5 fits"))


@pytest.mark.parametrize(("influence", "design"), [("similarity", "stripes"), ("length", "pointwise")])
def test_it_reads_what_label_writes(tmp_path: Path, influence: str, design: str) -> None:
    corpus = make_corpus(tmp_path / "corpus", n=30, beta=12)
    rows = [*corpus.pool.read_text().splitlines(), corpus.target.read_text().splitlines()[0]]
    corpus.pool.write_text("\n".join(rows) + "\n")  # a candidate that is a target too: its pair has no influence
    np.save(tmp_path / "pool.npy", np.load(tmp_path / "corpus" / "pool.npy")[[*range(30), 0]])
    files = [str(corpus.pool), "--target", str(corpus.target), "-e", f"pool.npy,{corpus.target.with_suffix('.npy')}"]
    done = run_cli("label", *files, "-i", influence, "--labels", "all", "-o", "labels.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    more = ["--labels", "40%", "--repeats", "2", "--estimator", "means", "--json"]
    done = run_cli("fidelity", "labels.npz", "--pool", *files, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)[0]
    assert first["design"] == design and first["labels"] == round(0.4 * 31 * (9 if design == "stripes" else 1))
    assert ("1 of 279 pairs have no finite influence" in done.stderr) == (design == "stripes")


def test_one_sentence_for_what_cannot_work(known: Known, tmp_path: Path) -> None:
    for more, words in (
        (["--estimator", "gaussian"], "Did you mean 'gaussian-process'?"),
        (["--design", "crosses"], "Did you mean 'cross'?"),
        (["--repeats", "0"], "--repeats is 0"),
        (["--labels", "1"], "--labels 1 is 1 exact influence"),
    ):
        done = run_cli(*arguments(known, *more), cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 2
    done = run_cli("fidelity", str(known.folder / "labels.npz"), cwd=tmp_path)
    assert done.returncode == 2 and "--pool" in done.stderr
