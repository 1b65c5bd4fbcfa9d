"""Labels of a model behind a server are those of the same model on this machine."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift import registry
from nncift.config import SelectConfig
from nncift.errors import ConfigError, ModelError
from nncift.lm import server as served
from nncift.plan import plan
from nncift.progress import Silent
from toy_road import make_corpus, save_model, write_rows
from toy_scorer import toy_scorer

pytest.importorskip("openai", reason="openai is not installed")

M, N = 5, 11
KINDS = {
    "delift": ("delift", ()),
    "delift nll": ("delift", ("distance=nll",)),
    "perplexity": ("perplexity", ()),
    "ifd": ("ifd", ()),
}
CUT = {"delift": 215, "perplexity": 40, "ifd": 40}
"""Lengths at which rows lose text."""


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(served.connect.__kwdefaults__ or {}, "retries", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served") / "model")


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Any]:
    """Rows of every kind of length, one without a prompt."""
    draw = np.random.default_rng(7)

    def text(most: int) -> str:
        return "".join(draw.choice([*"abc dE?"], size=int(draw.integers(1, most))))

    def some(count: int, name: str) -> list[dict[str, str]]:
        return [{"id": f"{name}{k}", "prompt": f"say {text(40)}", "completion": f"x{text(25)}"} for k in range(count)]

    pool = write_rows(tmp_path / "pool.jsonl", some(N, "p"))
    target = write_rows(tmp_path / "target.jsonl", some(M, "t"))
    return {"pool": pool, "target": target, "labels": "all", "dtype": "float32"}


def label(rows: dict[str, Any], kind: str, model: object, output: Path, **more: Any) -> np.ndarray:
    influence, option = KINDS[kind]
    pairwise = registry.load("influence", influence)().traits.pairwise
    options = rows if pairwise else rows | {"target": None}
    labels = nncift.label(influence=influence, option=option, model=model, output=output, **options | more)
    return labels.dense()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("speaks", ["vllm", "sglang"])
@pytest.mark.parametrize("kind", KINDS)
def test_served_labels_equal_local_ones(
    kind: str, speaks: str, cut: bool, folder: Path, rows: dict[str, Any], tmp_path: Path
) -> None:
    length = CUT[KINDS[kind][0]] if cut else 1000
    local = label(rows, kind, folder, tmp_path / "local.npz", max_length=length)
    with toy_scorer(folder, speaks=speaks, room=length + 1) as server:
        found = label(rows, kind, server.model_name, tmp_path / "served.npz", max_length=length)
    assert np.ptp(local) > 1e-3
    np.testing.assert_allclose(found, local, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_cuts_are_cuts(kind: str, folder: Path, rows: dict[str, Any], tmp_path: Path) -> None:
    whole = label(rows, kind, folder, tmp_path / "whole.npz", max_length=1000)
    cut = label(rows, kind, folder, tmp_path / "cut.npz", max_length=CUT[KINDS[kind][0]])
    assert np.abs(whole - cut).max() > 1e-3


@pytest.mark.parametrize("speaks", ["vllm", "sglang"])
def test_a_whole_run_chooses_as_a_local_one_and_counts_its_calls(
    speaks: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = make_corpus(tmp_path / "data", n=30, m=7, beta=12)
    options = corpus.options(influence="delift", budget=5, labels="50%", dtype="float32", features="states")
    with toy_scorer(folder, speaks=speaks) as server:
        caplog.set_level(logging.WARNING)
        picked = nncift.select(corpus.pool, model=server.model_name, output=tmp_path / "run", **options)
        asked = len(server.scored)
    options["features"] = "embedding"
    local = nncift.select(corpus.pool, model=folder, output=tmp_path / "local", **options)
    assert picked.indices == local.indices
    spent, other = picked.costs["stages"]["label"], local.costs["stages"]["label"]
    assert spent["lm_forwards"] == other["lm_forwards"] == asked - (2 if speaks == "sglang" else 1)  # and the probes
    assert spent["lm_tokens"] > 0 and spent["flops"] == 0
    assert picked.costs["exact"] == pytest.approx(local.costs["exact"])
    assert "a server gives no states" in picked.notes["states"]
    assert not (tmp_path / "run" / "features").exists()
    assert json.loads((tmp_path / "run" / "done.json").read_text())["notes"]["states"]


def test_a_budget_in_tokens_and_phases_work_behind_a_server(folder: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=30, m=7, beta=12)
    options = corpus.options(influence="delift", budget="400tok", labels="all", dtype="float32", phases=2)
    with toy_scorer(folder) as server:
        picked = nncift.select(corpus.pool, model=server.model_name, output=tmp_path / "run", **options)
    local = nncift.select(corpus.pool, model=folder, output=tmp_path / "local", **options)
    assert picked.indices == local.indices
    names = ("selection.jsonl", "subset.jsonl", "subset.phase1.jsonl", "subset.phase2.jsonl")
    for name in names[1:]:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()


def test_a_plan_times_a_few_requests(folder: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data", n=30, m=7, beta=12)
    with toy_scorer(folder) as server:
        options = corpus.options(pool=str(corpus.pool), influence="delift", budget="5", labels="120")
        found = plan(SelectConfig.of(options | {"model": server.model_name}), Silent())
        asked = len(server.scored)
    assert found.lm_forwards == 127 and found.exact_lm_forwards == 7 + 210
    assert found.seconds["label"] > 0 and asked < 400


def test_what_was_labelled_before_the_server_went_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal knows the model by its name and tokenizer, so that another address goes on where the first ended."""
    corpus = make_corpus(tmp_path / "data", n=40, m=9, beta=12)
    options = {"target": corpus.target, "influence": "delift", "labels": "all", "dtype": "float32"}
    whole = nncift.label(corpus.pool, model=folder, output=tmp_path / "local.npz", **options)
    with toy_scorer(folder) as server:
        server.fault = lambda number, request: "cut" if number > 300 else None
        with pytest.raises(ModelError, match=r"does not answer.*labelled already is kept.*Start it"):
            nncift.label(corpus.pool, model=server.model_name, output=tmp_path / "l.npz", **options)
    blocks = sorted((tmp_path / "l.labelling").rglob("block-*.npz"))
    assert len(blocks) == 1
    with toy_scorer(folder, speaks="sglang") as server:
        found = nncift.label(corpus.pool, model=server.model_name, output=tmp_path / "l.npz", **options)
        assert len(server.scored) < 360 - 250 + 5
    np.testing.assert_allclose(found.dense(), whole.dense(), atol=1e-5)
    stored = json.loads(str(np.load(tmp_path / "l.npz")["meta"]))
    assert "127.0.0.1" not in json.dumps(stored)
    again = nncift.label(corpus.pool, model=server.model_name, output=tmp_path / "l.npz", **options)  # it is gone
    assert again.y.tobytes() == found.y.tobytes()


@pytest.mark.parametrize(
    "name", [name for name in registry.names("influence") if registry.load("influence", name)().traits.needs_model]
)
def test_what_a_server_cannot_answer_is_refused_before_it_is_asked(
    name: str, rows: dict[str, Any], tmp_path: Path
) -> None:
    ask: dict[str, Any] = rows | {"influence": name, "model": "openai://127.0.0.1:9/x", "output": tmp_path / "l.npz"}
    if registry.load("influence", name)().traits.servable:
        with pytest.raises(ModelError, match="tokenizer 'x' of the served model"):
            nncift.label(**ask)
        with pytest.raises(ConfigError, match="--quantize is for weights on this machine"):
            nncift.label(**ask | {"quantize": "4bit"})
        return
    sentence = rf"`{name}` needs (gradients|states or answers) of the .* use --influence delift, ifd or perplexity\."
    with pytest.raises(ConfigError, match=sentence):
        nncift.label(**ask)


def test_the_key_goes_to_the_server_and_nowhere_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    corpus = make_corpus(tmp_path / "data", n=20, m=7, beta=8)
    options = corpus.options(influence="delift", budget=5, labels="all")
    with toy_scorer(folder, key="sk-toy-secret") as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
        with pytest.raises(ModelError, match=r"wants a key \(HTTP 401\).*NNCIFT_SERVER_KEY") as refused:
            nncift.select(corpus.pool, model=server.model_name, output=tmp_path / "run", **options)
        monkeypatch.setenv("NNCIFT_SERVER_KEY", "sk-toy-secret")
        nncift.select(corpus.pool, model=server.model_name, output=tmp_path / "run", **options)
        assert all("sk-somebody-elses" not in str(request.headers) for request in server.scored)
    told = str(refused.value) + caplog.text
    told += "".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert "sk-toy-secret" not in told and "sk-somebody" not in told
