"""What a user lets a subset hold, from options to the chosen rows: tokens, quotas, rows kept, back-ends and optimisers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.config import SelectConfig
from nncift.errors import ConfigError
from nncift.pipeline import route, select
from nncift.plan import plan
from nncift.progress import Silent
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, save_model, write_influences, write_rows

Run = Callable[..., Selection]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Rows of two topics, of three sources and of very different lengths."""
    corpus = make_corpus(tmp_path_factory.mktemp("corpus"))
    rows = [json.loads(line) for line in corpus.pool.read_text(encoding="utf-8").splitlines()]
    for k, row in enumerate(rows):
        row["completion"] += " so" * (k % 7)
        row["source"] = "abc"[k % 3]
    write_rows(corpus.pool, rows)
    return corpus


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Run:
    count = iter(range(100))

    def select(**options: Any) -> Selection:
        options = corpus.options(output=str(tmp_path / f"run{next(count)}"), budget="20%") | options
        return nncift.select(corpus.pool, **options)

    return select


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An influence that has to be estimated."""
    return {"influence": f"{write_influences(tmp_path, monkeypatch)}:Planted", "labels": "30%"}


@pytest.mark.parametrize("estimated", [False, True])
@pytest.mark.parametrize("objective", ["facility-location", "flcg", "fl1mi", "flcmi", "flvmi", "top-mean"])
def test_a_kernel_that_is_never_stored_chooses_the_same_rows(
    run: Run, corpus: Corpus, planted: dict[str, Any], objective: str, estimated: bool
) -> None:
    options = (planted if estimated else {}) | {"objective": objective}
    if objective in ("flcg", "flcmi"):
        options["existing"] = str(corpus.existing)
    stored, tiled = (run(backend=backend, **options) for backend in ("dense", "tiled"))
    assert stored.ids == tiled.ids
    np.testing.assert_allclose(stored.gains, tiled.gains, rtol=1e-6, atol=1e-6)
    assert stored.influences().values.shape == tiled.influences().values.shape == (len(corpus_ids(corpus)), 9)
    np.testing.assert_allclose(stored.influences().values, tiled.influences().values, rtol=1e-5, atol=1e-6)


def corpus_ids(corpus: Corpus) -> list[str]:
    return corpus.pool.read_text(encoding="utf-8").splitlines()


def test_what_cannot_be_kept_in_factors_says_so(run: Run) -> None:
    with pytest.raises(ConfigError, match="tiled cannot be used: `similarity` is no inner product"):
        run(backend="tiled", option={"measure": "rbf"})
    with pytest.raises(ConfigError, match="tiled cannot be used: `round-robin` needs the whole kernel"):
        run(backend="tiled", objective="round-robin")


def test_rows_that_are_kept_come_first_and_count(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    free = run()
    rows = [json.loads(line) for line in corpus_ids(corpus)]
    kept = write_rows(tmp_path / "kept.jsonl", [rows[40], rows[3]])
    picked = run(keep=str(kept))
    assert picked.rows[:2] == [rows[40], rows[3]] and len(picked) == len(free) == 16
    assert all("kept" in reason for reason in picked.reasons[:2]) and "kept" not in picked.reasons[2]
    assert picked.picks.kept == 2 and picked.resize(1).picks.kept == 1
    again = nncift.select(corpus.pool, **corpus.options(output=str(picked.folder), budget="20%", keep=str(kept)))
    assert again.ids == picked.ids and again.picks.kept == 2
    stranger = write_rows(tmp_path / "stranger.jsonl", [rows[3], {"prompt": "who", "completion": "me"}])
    with pytest.raises(ConfigError, match=r"stranger.jsonl, line 2: this row is not in the pool.*--existing"):
        run(keep=str(stranger))
    with pytest.raises(ConfigError, match="names 2 rows, more than the 1"):
        run(keep=str(kept), budget=1)


def test_no_group_has_more_than_its_quota(run: Run, corpus: Corpus) -> None:
    for quota, most in (("source=40%", 6), ("source=3", 3)):
        picked = run(quota=quota)
        sources = Counter(row["source"] for row in picked.rows)
        assert max(sources.values()) == most
        assert len(picked) == min(16, 3 * most)
    assert "quota" in picked.notes["budget"]
    for wrong, why in (("source", "not of the form"), ("source=0", "not of the form"), ("nowhere=5%", "no row")):
        with pytest.raises(ConfigError, match=why):
            run(quota=wrong)


def test_a_budget_in_tokens_is_never_exceeded(run: Run, tmp_path: Path) -> None:
    model = str(save_model(tmp_path / "model"))
    budgets = {}
    for tokens in (300, 1000):
        picked = run(budget=f"{tokens}tok", model=model, influence="similarity")
        spent = sum(
            len(example.text) for example in picked.examples
        )  # one token a character, some more for the template
        assert 0.5 * tokens < spent <= tokens
        assert not picked.notes.get("budget")
        budgets[tokens] = len(picked)
    assert budgets[1000] > 2 * budgets[300]
    assert run(budget="1ktok", model=model, influence="similarity").ids == picked.ids
    assert len(picked.resize(5)) == 5
    with pytest.raises(ConfigError, match="add --model"):
        run(budget="1ktok")
    with pytest.raises(ConfigError, match="no token at all"):
        run(budget="0tok", model=model)
    with pytest.raises(ConfigError, match="takes neither"):
        run(budget="1ktok", model=model, objective="round-robin", influence="similarity")


@pytest.mark.parametrize("optimizer", ["naive", "lazy", "stochastic", "threshold"])
def test_every_optimiser_by_name(run: Run, optimizer: str) -> None:
    exact = run()
    picked = run(optimizer=optimizer, epsilon=0.01)
    assert len(picked) == len(exact)
    if optimizer in ("naive", "lazy"):
        assert picked.ids == exact.ids and picked.gains.tobytes() == exact.gains.tobytes()
    assert picked.gains.sum() >= 0.9 * exact.gains.sum()
    assert run(parts=3).gains.sum() >= 0.9 * exact.gains.sum()
    with pytest.raises(ConfigError, match="--epsilon is 1"):
        run(epsilon=1.0)


def test_options_of_objectives_reach_them(run: Run, corpus: Corpus, planted: dict[str, Any]) -> None:
    plain = run(objective="graph-cut")
    spread = run(objective="graph-cut", objective_option={"redundancy": 5.0})
    assert plain.ids != spread.ids
    with pytest.raises(ConfigError, match=r"`graph-cut` has no option 'redundancie'. Did you mean 'redundancy'"):
        run(objective="graph-cut", objective_option=("redundancie=1",))
    with pytest.raises(ConfigError, match=r"has no option 'x'. It has none"):
        run(objective="top-mean", objective_option=("x=1",))
    with pytest.raises(ConfigError, match="symmetrise=true"):
        run(objective="graph-cut", **planted)
    assert len(run(objective="graph-cut", objective_option=("symmetrise=true",), **planted)) == 16


class Heard(Silent):
    """Keeps what stages say at their end."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def end(self, summary: str) -> None:
        self.said.append(summary)


def test_gains_that_may_be_negative_are_not_called_positive(corpus: Corpus, tmp_path: Path) -> None:
    said = {}
    for name, option in (("log-determinant", ("regularisation=0.1",)), ("facility-location", ())):
        options = corpus.options(objective=name, objective_option=option, budget="20%", output=str(tmp_path / name))
        heard = Heard()
        picked = select(SelectConfig.of({"pool": str(corpus.pool), **options}), heard)
        said[name] = next(text for text in heard.said if "picks" in text)
    assert "positive" in said["facility-location"] and said["log-determinant"] == "16 picks"
    assert len(picked) == 16


def test_the_plan_says_whether_the_kernel_is_stored_and_refuses_what_the_run_would(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"pool": str(corpus.pool), "budget": "20%", "output": "unused"}
    config = SelectConfig.of(corpus.options(**options))
    assert plan(config, Silent()).route.backend == "dense"
    planned = plan(SelectConfig.of(corpus.options(backend="tiled", **options)), Silent())
    assert planned.route.backend == "tiled" and any("line by line" in line for line in planned.lines())
    monkeypatch.setattr(route, "memory", lambda: 4 * 80 * 9)  # as much as the kernel takes
    assert plan(config, Silent()).route.backend == "tiled"
    whole = SelectConfig.of(corpus.options(objective="round-robin", **options))
    with pytest.raises(ConfigError, match="more than half of this machine"):
        plan(whole, Silent())


def test_the_plan_says_why_and_how_many_bytes_and_seconds_selection_takes(
    corpus: Corpus, planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = corpus.options(
        pool=str(corpus.pool), budget="20%", output="unused", estimator="paper", hidden="2", **planted
    )
    found = plan(SelectConfig.of(options), Silent())
    assert (found.route.shape, found.route.stored, found.route.bytes) == ((9, 80), 4 * 9 * 80, 4 * 9 * 80)
    assert "at most an eighth of this machine" in found.route.text()
    assert "select" in found.seconds and found.record()["route"]["factors"] == 4 * 2 * (9 + 80)
    large = replace(found.route, shape=(5_000, 100_000))
    few, many = (large.seconds(budget, factors=100, threads=1) for budget in (100, 50_000))
    assert 0 < few < many
    monkeypatch.setattr(route, "memory", lambda: 8 * 4 * 9 * 80 - 1)
    told = plan(SelectConfig.of(options), Silent()).route.text()
    assert "line by line from factors" in told and "stored they would take" in told
    monkeypatch.setattr(route, "memory", lambda: 2 * 4 * 2 * (9 + 80) - 1)
    with pytest.raises(
        ConfigError, match="even in factors of 2 numbers a row the kernels of 9 rows × 80 candidates take"
    ):
        plan(SelectConfig.of(options), Silent())
