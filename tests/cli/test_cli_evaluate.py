"""`nncift evaluate` as a user starts it: records, kills, wrong words, and a key that stays where it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nncift.config import SelectConfig, flag
from nncift.data.files import load_pool
from nncift.evaluation.options import EvaluateConfig
from nncift.pipeline import select
from tiny import tiny_lm
from toy_evaluation import TEST, Toy, make_toy, read_rows
from toy_road import cli_environment, run_cli
from toy_server import Reply, toy_server

FIELDS = {"subset", "by", "metric", "mean", "ci", "n", "n_scored", "seeds", "diff_random", "diff_ci"}
KEY = "sk-secret-4711-never-shown"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The toy with a model that was trained a little, and a run folder beside it."""
    toy = make_toy(tmp_path_factory.mktemp("cli") / "toy")
    lm = tiny_lm(load_pool(str(toy.pool)).examples, epochs=2)
    lm.model.save_pretrained(toy.model)
    lm.tokenizer.save_pretrained(toy.model)
    options = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 6}
    select(SelectConfig.of(options | {"device": "cpu", "output": str(toy.folder / "run")}))
    return toy


def arguments(toy: Toy, *subsets: object, **more: object) -> list[str]:
    """Quick options, each of which can be replaced, or left out with None."""
    quick: dict[str, object] = {
        "pool": toy.pool, "test": toy.test, "model": toy.model, "embedder": toy.encoder, "by": "icl,lora",
        "controls": "initial,random", "seeds": 1, "draws": 2, "epochs": 1, "rank": 2, "learning_rate": 1e-2, "shots": 2,
        "max_new_tokens": 4, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    given = [[flag(name), str(value)] for name, value in (quick | more).items() if value is not None]
    return ["evaluate", *map(str, subsets or (toy.subset,)), *(word for pair in given for word in pair)]


def evaluate(toy: Toy, cwd: Path, *subsets: object, json_: bool = False, **more: object) -> Any:
    return run_cli(*arguments(toy, *subsets, **more), *(["--json"] if json_ else []), cwd=cwd)


def test_a_run_folder_and_a_file_by_both_routes(toy: Toy, tmp_path: Path) -> None:
    done = evaluate(toy, tmp_path, toy.folder / "run", toy.subset, json_=True, metrics="loss,rouge", output="out")
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and all(record.keys() >= FIELDS for record in records)
    named = [(record["subset"], record["by"], record["metric"]) for record in records]
    wanted = [
        (name, by, metric)
        for by in ("icl", "lora")
        for name in ("run", "subset", "initial", "random", "random")
        for metric in ("loss", "rouge1", "rouge2", "rougeL")
    ]
    assert sorted(named) == sorted(wanted)
    for record in records:
        assert record["n_scored"] == record["n"] == TEST * record["cells"]
        assert record["ci"][0] <= record["mean"] <= record["ci"][1]
        compared = record["control"] is None  # the two sizes leave `initial` nothing to be compared with
        assert (record["diff_random"] is not None) == (record["diff_ci"] is not None) == compared
    assert json.loads((tmp_path / "out" / "results.json").read_text())["records"] == records
    again = evaluate(toy, tmp_path, toy.folder / "run", toy.subset, metrics="loss,rouge", output="out")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].startswith(f"{len(wanted)} results on {TEST} test rows in out")
    assert "loss by lora, nats" in again.stdout and "one training on it takes" in again.stdout


def test_a_run_folder_knows_its_pool_and_results_have_a_place(toy: Toy, tmp_path: Path) -> None:
    done = evaluate(toy, tmp_path, toy.folder / "run", pool=None, by="icl", controls="top-mean,full,embedding")
    assert done.returncode == 0, done.stderr
    assert "top-mean" in done.stdout and "embedding" in done.stdout
    (results,) = (tmp_path / "runs").glob("run-evaluation-*/results.json")  # a place of its own, the same the next time
    assert str(results.relative_to(tmp_path)) in done.stdout


def test_killed_in_the_middle_it_goes_on_where_it_was(toy: Toy, tmp_path: Path) -> None:
    words = arguments(toy, output="out", draws=4, epochs=3)
    command = [sys.executable, "-m", "nncift", *words]
    process = subprocess.Popen(command, cwd=tmp_path, env=cli_environment(), stderr=subprocess.DEVNULL)
    cells, ended = tmp_path / "out" / "cells", time.monotonic() + 60
    while len(list(cells.glob("*.json"))) < 7 and process.poll() is None and time.monotonic() < ended:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.name: path.read_bytes() for path in cells.glob("*.json")}
    assert process.returncode == -signal.SIGKILL and 7 <= len(kept) < 12
    assert not (tmp_path / "out" / "results.json").exists()
    again = run_cli(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"12, {len(kept)} of them kept from before" in again.stderr
    assert {name: (cells / name).read_bytes() for name in kept} == kept
    assert not list((tmp_path / "out").rglob("*.part"))
    whole = toy.evaluate(tmp_path / "whole", by="icl,lora", draws=4, epochs=3)
    one, two = ((tmp_path / name / "results.json").read_bytes() for name in ("out", "whole"))
    assert one == two and len(whole.records) == 6


def test_help_shows_every_option(toy: Toy, tmp_path: Path) -> None:
    shown = run_cli("evaluate", "--help", cwd=tmp_path)
    assert shown.returncode == 0
    for item in fields(EvaluateConfig):
        assert item.name == "subset" or f"{flag(item.name)} " in shown.stdout, item.name
        assert item.metadata["help"].split()[0] in shown.stdout
    assert "subset" in shown.stdout and "--json" in shown.stdout


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"test": None}, "no test rows: add --test FILE"),
        ({"pool": None}, "no pool is known: add --pool FILE"),
        ({"by": "lra"}, "--by names 'lra'. Did you mean 'lora'"),
        ({"metrics": "bleu"}, "--metrics names 'bleu'."),
        ({"controls": "randm"}, "--controls names 'randm'. Did you mean 'random'"),
        ({"metrics": "judge"}, "--judge-model"),
        ({"test": "nowhere.jsonl"}, "there is no test file nowhere.jsonl"),
        ({"model": "./nowhere"}, "no model folder at './nowhere'"),
        ({"seeds": 0}, "--seeds is 0; it must be at least 1."),
        ({"nosuch": 1}, "no such option: --nosuch"),
    ],
)
def test_what_cannot_work_is_one_sentence_and_exit_code_2(
    toy: Toy, tmp_path: Path, more: dict[str, object], told: str
) -> None:
    done = evaluate(toy, tmp_path, **more)
    assert done.returncode == 2 and told in done.stderr, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("nncift: ")] == done.stderr.splitlines()[-1:]


def test_the_judges_key_is_nowhere(toy: Toy, tmp_path: Path) -> None:
    """Not in what is printed nor in any file, even where the server tells it back."""
    pytest.importorskip("openai", reason="openai is not installed (extra `judge`)")
    refused = Reply(status=401, body=json.dumps({"error": {"message": f"bad key {KEY}"}}).encode())
    words = {read_row["prompt"].split()[0] for read_row in read_rows(toy.test)}
    with toy_server(lambda item: [refused] if item == min(words) else [Reply()]) as server:
        options = {"metrics": "judge", "judge": server.url, "judge_model": "m", "output": "out", "by": "icl"}
        command = [sys.executable, "-m", "nncift", *arguments(toy, controls="none", **options)]
        environment = cli_environment(NNCIFT_JUDGE_KEY=KEY)
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "401" in done.stderr and {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert KEY not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert any("grades" in path.parts for path in files)
