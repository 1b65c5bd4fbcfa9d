"""Killed, repeated, replayed, changed a little: what was paid for is not paid twice, and the bytes stay the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import nncift
from nncift.data.arrays import read_npz
from nncift.errors import RunError
from nncift.selection import Selection
from toy_road import Corpus, cli_environment, make_corpus, run_cli, save_model, write_influences

SMALL_BLOCKS = """
import sys
from nncift.pipeline import journal
journal.BLOCK = 20
from nncift.cli import main
main()
"""
ARTEFACTS = (
    "subset.jsonl",
    "selection.jsonl",
    "labels.npz",
    "estimator.safetensors",
    "fidelity.json",
    "rejected.jsonl",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=60, beta=24)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    return f"{write_influences(tmp_path, monkeypatch)}:Planted"


def labelled(tmp_path: Path) -> list[str]:
    """Every pair that was ever labelled, in order."""
    trace = tmp_path / "trace"
    return trace.read_text().splitlines() if trace.exists() else []


def artefacts(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ARTEFACTS}


def select(corpus: Corpus, influence: str, folder: Path, **options: object) -> Selection:
    options = corpus.options(influence=influence, output=str(folder), labels="30%", budget=12) | options
    return nncift.select(corpus.pool, **options)


def _command(corpus: Corpus, influence: str, folder: Path) -> list[str]:
    options = ["--target", corpus.target, "--embedder", corpus.embeddings, "--labels", "30%", "-b", "12"]
    options += ["--influence", influence]
    return [sys.executable, "-c", SMALL_BLOCKS, "select", str(corpus.pool), *map(str, options), "-o", str(folder)]


def test_a_kill_loses_at_most_one_block(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    whole = select(corpus, planted, tmp_path / "whole", threads=1)
    total = len(labelled(tmp_path))
    (tmp_path / "trace").unlink()
    environment = cli_environment(tmp_path, SLOW="0.2")
    folder = tmp_path / "killed"
    kills = 0
    while kills < 2:
        process = subprocess.Popen(
            _command(corpus, planted, folder), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = len(labelled(tmp_path))
        deadline = time.monotonic() + 60
        while len(labelled(tmp_path)) < before + 50 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert not (folder / "done.json").exists() and not (folder / "labels.npz").exists()
        assert list(folder.glob("labels-*/block-*.npz"))
    assert before < len(labelled(tmp_path)) < total
    finished = subprocess.run(
        _command(corpus, planted, folder), env=cli_environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    times = Counter(labelled(tmp_path))
    assert len(times) == total
    assert sum(times.values()) - total <= kills * (20 + corpus.m)  # a block ends where a candidate ends
    assert artefacts(folder) == artefacts(whole.folder)
    record = json.loads((folder / "stages.json").read_text())["label"]
    assert record["costs"]["lm_forwards"] == total and not list(folder.glob("labels-*"))


def test_a_killed_labelling_resumes(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    whole = nncift.label(
        corpus.pool, target=corpus.target, influence=planted, labels="all", output=tmp_path / "whole.npz"
    )
    (tmp_path / "trace").unlink()
    out = tmp_path / "killed.npz"
    arguments = ["label", str(corpus.pool), "--target", str(corpus.target), "--influence", planted, "--labels", "all"]
    command = [sys.executable, "-c", SMALL_BLOCKS, *arguments, "-o", str(out)]
    process = subprocess.Popen(command, env=cli_environment(tmp_path, SLOW="0.2"), stderr=subprocess.DEVNULL)
    while len(labelled(tmp_path)) < 60:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    subprocess.run(command, env=cli_environment(tmp_path), check=True, capture_output=True)
    assert len(labelled(tmp_path)) <= len(whole) + 20 + corpus.m
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_repeating_a_run_computes_nothing(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    first = select(corpus, planted, tmp_path / "run")
    calls, before = len(labelled(tmp_path)), artefacts(first.folder)
    stamps = {name: (first.folder / name).stat().st_mtime_ns for name in ARTEFACTS[:5]}
    second = select(corpus, planted, tmp_path / "run")
    assert len(labelled(tmp_path)) == calls and artefacts(second.folder) == before
    assert {name: (first.folder / name).stat().st_mtime_ns for name in ARTEFACTS[:5]} == stamps
    assert second.ids == first.ids and second.notes == first.notes and second.costs == first.costs
    assert second.reasons == first.reasons and second.summary() == first.summary()


def test_another_budget_reuses_labels_and_estimator(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    first = select(corpus, planted, tmp_path / "run")
    calls, before = len(labelled(tmp_path)), artefacts(first.folder)
    stages = json.loads((first.folder / "stages.json").read_text())
    second = select(corpus, planted, tmp_path / "run", budget=20)
    after = json.loads((second.folder / "stages.json").read_text())
    assert len(labelled(tmp_path)) == calls
    for name in ("embed", "label", "estimate"):
        assert after[name] == stages[name]
    assert after["select"]["key"] != stages["select"]["key"]
    assert second.ids[:12] == first.ids and len(second) == 20
    for name in ("labels.npz", "estimator.safetensors", "fidelity.json"):
        assert (second.folder / name).read_bytes() == before[name]


@pytest.mark.parametrize("options", [{"objective": "flvmi"}, {"known": "predict"}, {"eta": 0.5, "objective": "flvmi"}])
def test_other_ways_to_select_relabel_nothing(
    corpus: Corpus, planted: str, tmp_path: Path, options: dict[str, object]
) -> None:
    first = select(corpus, planted, tmp_path / "run")
    calls = len(labelled(tmp_path))
    second = select(corpus, planted, tmp_path / "run", **options)
    assert len(labelled(tmp_path)) == calls
    assert list(second.gains) != list(first.gains)


@pytest.mark.parametrize("options", [{"seed": 1}, {"labels": "40%"}, {"option": ("gap=2.0",)}, {"max_targets": 5}])
def test_what_labels_depend_on_relabels(
    corpus: Corpus, planted: str, tmp_path: Path, options: dict[str, object]
) -> None:
    select(corpus, planted, tmp_path / "run")
    calls = len(labelled(tmp_path))
    second = select(corpus, planted, tmp_path / "run", **options)
    fresh = select(corpus, planted, tmp_path / "fresh", **options)
    assert len(labelled(tmp_path)) > calls
    assert artefacts(second.folder) == artefacts(fresh.folder)


def test_another_model_in_the_same_folder_relabels(corpus: Corpus, tmp_path: Path) -> None:
    small = make_corpus(tmp_path / "small", n=12, m=5, beta=4)
    model = save_model(tmp_path / "model")
    options = small.options(influence="delift", model=str(model), labels="all", dtype="float32", budget=3)
    first = nncift.select(small.pool, **options, output=str(tmp_path / "run"))
    values = read_npz(first.folder / "labels.npz")["values"]
    save_model(model, uniform=True)
    second = nncift.select(small.pool, **options, output=str(tmp_path / "run"))
    assert abs(values).max() > 1e-3 and abs(read_npz(second.folder / "labels.npz")["values"]).max() < 1e-6


def test_a_damaged_artefact_is_made_again_alike(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    first = select(corpus, planted, tmp_path / "run")
    before = artefacts(first.folder)
    for name in ("labels.npz", "estimator.safetensors", "subset.jsonl", "embeddings/rows.npy"):
        (first.folder / name).write_bytes(b"damaged")
        second = select(corpus, planted, tmp_path / "run")
        assert artefacts(second.folder) == before


def test_a_recipe_replays_itself(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    first = select(corpus, planted, tmp_path / "run", seed=3, known="predict", option=("gap=2.0",))
    before, calls = artefacts(first.folder), len(labelled(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    again = run_cli(
        "run", first.folder / "recipe.yaml", "-o", tmp_path / "new", cwd=tmp_path / "elsewhere", path=[tmp_path]
    )
    assert again.returncode == 0, again.stderr
    assert artefacts(tmp_path / "new") == before
    assert len(labelled(tmp_path)) == 2 * calls
    in_place = run_cli("run", first.folder / "recipe.yaml", cwd=tmp_path / "elsewhere", path=[tmp_path])
    assert in_place.returncode == 0, in_place.stderr
    assert artefacts(first.folder) == before and len(labelled(tmp_path)) == 2 * calls


def test_a_folder_at_work_is_refused(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(corpus, planted, tmp_path / "run"),
        env=cli_environment(tmp_path, SLOW="0.5"),
        stderr=subprocess.DEVNULL,
    )
    while not labelled(tmp_path):
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(RunError, match="in use by another process"):
        select(corpus, planted, tmp_path / "run")
    process.kill()
    process.wait()


def _heed_interrupts() -> None:
    """A suite that a shell started in the background ignores SIGINT, and its children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_says_how_to_go_on(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        _command(corpus, planted, tmp_path / "run"),
        env=cli_environment(tmp_path, SLOW="0.5"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    while not labelled(tmp_path):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and out == ""
    assert errors.splitlines()[-1] == "nncift: stopped; the same command continues where it left off"
    assert "Traceback" not in errors
