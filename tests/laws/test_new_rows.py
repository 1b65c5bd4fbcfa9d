"""New rows against a run: what its estimator says of them, and when it may not be believed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.errors import ConfigError
from nncift.estimator.features import embedding_features
from nncift.pipeline.scoring import unlike
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, run_cli, write_influences, write_rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Selection]:
    name = f"{write_influences(tmp_path, monkeypatch)}:Planted"
    return lambda **options: nncift.select(
        corpus.pool, **(corpus.options(output=str(tmp_path / "run"), influence=name, budget=10) | options)
    )


def newcomers(folder: Path, *, far: bool = False) -> dict[str, str]:
    """Twelve rows of either topic with vectors like the corpus's, or with vectors like nothing in it."""
    topics = ["alpha", "beta"] * 6
    rows = [{"prompt": f"{topic} question new {k}", "completion": f"{topic} answer"} for k, topic in enumerate(topics)]
    rng = np.random.default_rng(5)
    centre = {"alpha": np.eye(8)[0], "beta": np.eye(8)[1]}
    vectors = np.array([centre[topic] for topic in topics]) + 0.2 * rng.normal(size=(12, 8))
    np.save(folder / "new.npy", -np.abs(vectors) - 1 if far else vectors)
    return {"rows": str(write_rows(folder / "new.jsonl", rows)), "embedder": str(folder / "new.npy")}


def test_new_rows_are_ranked_as_the_influence_would_rank_them(run, tmp_path: Path) -> None:
    picked = run(labels="40%")
    found = nncift.score(run=picked, output=str(tmp_path / "scores.jsonl"), **newcomers(tmp_path))
    records = found.records()
    best = [record["id"] for record in records[:6]]
    assert {row.id for row in found.pool if row.text.startswith("beta")} == set(best)
    assert [record["rank"] for record in records] == list(range(1, 13))
    assert all(record["sd"] > 0 and not record["unlike_the_run"] for record in records)
    assert records[0]["above_share_of_pool"] > 0.5 > records[-1]["above_share_of_pool"]
    with (tmp_path / "scores.jsonl").open(encoding="utf-8") as stream:
        assert [json.loads(line) for line in stream] == records


def test_the_mean_is_that_of_the_kernel(run, corpus: Corpus, tmp_path: Path) -> None:
    picked = run(labels="40%")
    vectors = corpus.options()["embedder"].split(",")[0]
    found = nncift.score(corpus.pool, run=picked.folder, embedder=vectors)
    means = np.nanmean(run(labels="40%", known="predict", output=str(tmp_path / "other")).influences().values, axis=1)
    by_id = dict(zip((row.id for row in found.pool), found.means, strict=True))
    rows = picked.influences().pool
    assert [by_id[row.id] for row in rows] == pytest.approx(means.tolist(), abs=1e-5)


def test_rows_unlike_the_pool_are_told(run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picked = run(labels="40%")
    with caplog.at_level(logging.WARNING):
        found = nncift.score(run=picked, **newcomers(tmp_path, far=True))
    assert found.far.all()
    assert "12 of 12 rows are unlike anything in the run's pool" in caplog.text


def test_rows_that_cannot_be_used_are_told_and_kept(run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picked, new = run(labels="40%"), newcomers(tmp_path)
    with Path(new["rows"]).open("a", encoding="utf-8") as stream:
        stream.write("not json\n")
    with caplog.at_level(logging.WARNING):
        found = nncift.score(run=picked, output=str(tmp_path / "scores.jsonl"), **new)
    assert len(found.records()) == 12
    assert "1 of 13 new rows are left out" in caplog.text and "scores.rejected.jsonl" in caplog.text
    with (tmp_path / "scores.rejected.jsonl").open(encoding="utf-8") as stream:
        assert [json.loads(line)["line"] for line in stream] == [13]


def test_the_verb_prints_what_how_many_where(run, corpus: Corpus, tmp_path: Path) -> None:
    run(labels="40%")
    new = newcomers(tmp_path)
    words = ["score", new["rows"], "--run", "run", "-e", new["embedder"]]
    done = run_cli(*words, cwd=tmp_path, path=[tmp_path])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("12 rows scored in scores.jsonl; ")
    records = json.loads(run_cli(*words, "--json", cwd=tmp_path, path=[tmp_path]).stdout)
    with (tmp_path / "scores.jsonl").open(encoding="utf-8") as stream:
        assert [json.loads(line) for line in stream] == records


def test_what_cannot_be_scored_says_what_to_do(run, corpus: Corpus, tmp_path: Path) -> None:
    new = newcomers(tmp_path)
    estimated = run(labels="40%")
    with pytest.raises(ConfigError, match=r"--embedder NEW\.npy"):
        nncift.score(new["rows"], run=estimated)
    exact = run(labels="all", output=str(tmp_path / "exact"))
    with pytest.raises(ConfigError, match="has no estimator: every influence was computed"):
        nncift.score(run=exact, **new)


def test_rows_of_the_pool_are_like_it_and_far_rows_are_not() -> None:
    rng = np.random.default_rng(0)
    pool = embedding_features(rng.normal(size=(300, 6)).astype(np.float32))
    assert not unlike(pool, pool).any()
    assert unlike(pool, embedding_features((rng.normal(size=(20, 6)) + 30).astype(np.float32))).all()
    assert unlike(pool, embedding_features(rng.normal(size=(400, 6)).astype(np.float32))).mean() < 0.1


def test_an_estimator_that_reads_nothing_cannot_score(run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`means` reads no text"):
        nncift.score(run=run(labels="40%", estimator="means"), **newcomers(tmp_path))


def test_a_wrong_estimator_is_told_before_anything_is_labelled(run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'gaussian-process'"):
        run(labels="40%", estimator="gausian-process")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="no folder"):
        nncift.score(run=tmp_path, output=str(tmp_path / "not" / "there.jsonl"), **newcomers(tmp_path))


ESTIMATOR = '''
"""An estimator of a user's own."""
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
import torch
from nncift.kernel.lowrank import LowRankKernel


@dataclass(frozen=True, slots=True)
class FittedMine:
    kind: ClassVar[str] = "mine"
    mean: float
    labels: int
    pointwise: ClassVar[bool] = False
    weights: ClassVar[int] = 1
    flops: ClassVar[int] = 0

    def kernel(self, target, pool):
        shapes = len(target), len(pool)
        nothing = (np.zeros((rows, 0), dtype=np.float32) for rows in shapes)
        return LowRankKernel(self.mean, *map(np.zeros, shapes), *nothing)

    def summary(self):
        return "the mean"

    def record(self):
        return {"mean": self.mean, "labels": self.labels}

    def tensors(self):
        return {"none": torch.zeros(1)}

    @classmethod
    def restored(cls, record, tensors):
        return cls(record["mean"], record["labels"])


@dataclass(frozen=True, slots=True)
class Mine:
    fitted: ClassVar[type] = FittedMine
    reads: ClassVar[str] = "nothing"

    def fit(self, labels, target, pool, *, seed):
        return FittedMine(float(labels.y.mean()), len(labels))
'''


def test_an_estimator_of_ones_own_is_kept_and_read_again(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_estimator.py").write_text(ESTIMATOR, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = run(labels="40%", estimator="own_estimator:Mine")
    again = run(labels="40%", estimator="own_estimator:Mine")
    assert first.ids == again.ids and len(again) == 10
