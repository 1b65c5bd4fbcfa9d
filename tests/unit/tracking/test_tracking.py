"""What trackers are told of a run: read back from their own files, and nothing that is secret."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import nncift
from nncift.errors import ConfigError, MissingExtraError, RunError
from nncift.progress import Silent
from nncift.redact import STRUCK
from nncift.tracking import TRACKERS, check_tracker, story, tell, track, track_after
from nncift.tracking.public import public
from nncift.tracking.story import Story, story_of
from toy_evaluation import make_toy
from toy_road import INFLUENCES, make_corpus, run_cli

FOREIGN = pytest.mark.filterwarnings("default")  # their code warns of its own


def needs(name: str) -> Any:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of labels in rounds in `runs/a`."""
    place = tmp_path_factory.mktemp("tracking")
    (place / "planted_influences.py").write_text(INFLUENCES, encoding="utf-8")
    done = select(place, "runs/a")
    assert done.returncode == 0, done.stderr
    return place


def select(place: Path, output: str, *more: object) -> Any:
    corpus = make_corpus(place / "rows")
    options = ("-t", corpus.target, "-i", "planted_influences:Planted", "-e", corpus.embeddings, "-b", 12, "--json")
    return run_cli("select", corpus.pool, *options, "-o", output, *more, cwd=place, path=(place,))


@pytest.fixture(scope="module")
def told(place: Path) -> Story:
    return story_of(place / "runs" / "a")


def every_number(told: Story) -> dict[str, list[tuple[int, float]]]:
    """By name the steps and values that a tracker must hold."""
    found = {name: [(0, value)] for name, value in told.numbers.items()}
    for curve in told.curves:
        for step, values in curve.points:
            for name, value in values.items():
                found.setdefault(f"{curve.name}/{name}", []).append((step, value))
    return found


def test_a_story_is_what_the_folder_says(place: Path, told: Story) -> None:
    folder = place / "runs" / "a"
    costs, fidelity, learning = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("costs", "fidelity", "learning")
    )
    picks = [json.loads(line)["gain"] for line in (folder / "selection.jsonl").read_text().splitlines()]
    gains, rounds = told.curves
    assert (gains.along, rounds.along, told.numbers["rows"], told.numbers["of"]) == ("rank", "labels", 12, 80)
    assert gains.points[-1] == (12, {"gain": picks[-1], "value": pytest.approx(sum(picks))}) and len(gains.points) == 12
    assert [step for step, _ in rounds.points] == [one["labels"] for one in learning["rounds"]] and len(
        rounds.points
    ) > 1
    assert rounds.points[-1][1]["ahead/spearman"] == learning["rounds"][-1]["ahead"]["spearman"]
    assert rounds.points[0][1]["seconds"] == costs["rounds"][0]["seconds"]
    assert told.numbers["costs/label/lm_forwards"] == costs["stages"]["label"]["lm_forwards"] > 0
    assert all(f"costs/{stage}/seconds" in told.numbers for stage in (*costs["stages"], "total"))
    whole = fidelity["groups"][0]["measures"]["mse"]
    assert [told.numbers[f"fidelity/mse{end}"] for end in ("", "/low", "/high", "/strongest_guess")] == [
        whole["value"], whole["low"], whole["high"], whole["baselines"][fidelity["strongest_baseline"]]
    ]  # fmt: skip
    assert all(math.isfinite(value) for values in every_number(told).values() for _, value in values)
    assert told.recipe["influence"] == "planted_influences:Planted" and told.recipe["pool"] == "pool.jsonl"
    assert str(place) not in json.dumps(told.recipe)


def test_many_picks_are_thinned_and_keep_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "selection.jsonl"
    path.write_text("".join(json.dumps({"gain": 1 / (k + 1)}) + "\n" for k in range(5003)))
    points = story._gains(tmp_path).points
    assert len(points) == 1000 and (points[0][0], points[-1][0]) == (1, 5003)
    assert points[-1][1]["value"] == pytest.approx(sum(1 / (k + 1) for k in range(5003)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"api_key": "abc"}, {"api_key": STRUCK}),
        ({"option": ["token=abc", "rank=8", "matrix=/a/b/x.npz"]}, {"option": [f"token={STRUCK}", "rank=8", "matrix=x.npz"]}),
        ({"judge": "https://me:pw@host.org/v1?key=abc#x"}, {"judge": "https://host.org/v1"}),
        ({"pool": "/data/me/pool.jsonl", "target": "dev.jsonl"}, {"pool": "pool.jsonl", "target": "dev.jsonl"}),
        ({"embedder": "/a/b/p.npy,/a/b/t.npy"}, {"embedder": "p.npy,t.npy"}),
        ({"model": ["Qwen/Qwen2.5-0.5B#layers=6", "~/models/mine"]}, {"model": ["Qwen/Qwen2.5-0.5B#layers=6", "mine"]}),
        ({"format": "hf_abcdefghijklmnopqrst"}, {"format": STRUCK}),
        ({"deep": {"password": 7, "seed": 7}}, {"deep": {"password": STRUCK, "seed": 7}}),
        ({"max_new_tokens": 150, "keep": None, "key": None}, {"max_new_tokens": 150, "keep": None, "key": None}),
        ({"quota": "task=5%", "budget": "10%", "dedup": 0.0}, {"quota": "task=5%", "budget": "10%", "dedup": 0.0}),
    ],
)  # fmt: skip
def test_a_recipe_for_strangers(given: dict[str, Any], kept: dict[str, Any]) -> None:
    assert public(given) == kept


@needs("tensorboard")
@FOREIGN
def test_tensorboard_holds_it(place: Path, told: Story) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # told again, it replaces what it told
        assert track(place / "runs" / "a", "tensorboard") == f"tensorboard --logdir {place / 'runs'}"
    (events,) = (place / "runs" / "a" / "tensorboard").iterdir()
    held = EventAccumulator(str(events), size_guidance={"scalars": 0}).Reload()
    wanted = every_number(told)
    assert set(held.Tags()["scalars"]) == set(wanted)
    for name, values in wanted.items():
        found = [(one.step, one.value) for one in held.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in values], name
    (text,) = held.Tensors("recipe/text_summary")
    assert b"influence: planted_influences:Planted" in text.tensor_proto.string_val[0]
    assert str(place).encode() not in events.read_bytes()


@needs("trackio")
def test_trackio_holds_it(place: Path, told: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    done = run_cli("run", "runs/a/recipe.yaml", "--json", "--track", "trackio", cwd=place, path=(place,))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 12  # nothing else on standard output
    with sqlite3.connect(tmp_path / "nncift.db") as held:
        rows = [
            (step, json.loads(body)) for step, body in held.execute("SELECT step, metrics FROM metrics ORDER BY id")
        ]
        ((config,),) = held.execute("SELECT config FROM configs")
    found: dict[str, list[tuple[int, float]]] = {}
    for step, values in rows:
        for name, value in values.items():
            found.setdefault(name, []).append((step, value))
    assert {name: sorted(values) for name, values in found.items()} == every_number(told)
    assert json.loads(config)["influence"] == "planted_influences:Planted" and str(place).encode() not in config
    page = (place / "runs" / "a" / "report.html").read_bytes()
    assert page in [path.read_bytes() for path in tmp_path.rglob("blobs/**/*") if path.is_file()]


@needs("wandb")
def test_wandb_holds_it(place: Path, told: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    done = run_cli("run", "runs/a/recipe.yaml", "--track", "wandb", cwd=place, path=(place,))
    assert done.returncode == 0, done.stderr
    (held,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert f"track    wandb sync {held.parent}" in done.stderr
    from wandb.proto.wandb_internal_pb2 import Record

    history: dict[str, list[float]] = {}
    summary: dict[str, float] = {}
    config: dict[str, str] = {}
    for data in wandb_records(held):
        record = Record.FromString(data)
        for item in record.history.item:
            history.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
        summary |= {
            item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
        }
        config |= {item.key or "/".join(item.nested_key): item.value_json for item in record.run.config.update}
    assert {name: summary[name] for name in told.numbers} == told.numbers
    for curve in told.curves:
        assert history[f"{curve.name}/{curve.along}"] == [step for step, _ in curve.points]
        last = {name: values[name] for _, values in curve.points for name in values}
        assert {name: history[f"{curve.name}/{name}"][-1] for name in last} == last
    assert json.loads(config["influence"]) == "planted_influences:Planted"
    (page,) = held.parent.glob("files/media/html/report*.html")
    assert page.read_bytes() == (place / "runs" / "a" / "report.html").read_bytes()


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of wandb's own file: pieces with a header each, in blocks of 32 KiB, like LevelDB's log."""
    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece, at = data[at + 7 : at + 7 + length], at + 7 + length
        whole = piece if kind in (1, 2) else whole + piece  # whole, first; middle, last
        if kind in (1, 4):
            yield whole


@needs("tensorboard")
def test_it_changes_no_result_and_computes_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("TRACE", str(trace))
    done = select(place, "runs/b", "--track", "tensorboard")
    assert done.returncode == 0, done.stderr
    one, other = place / "runs" / "a", place / "runs" / "b"
    keys = [
        {name: stage["key"] for name, stage in json.loads((run / "stages.json").read_text()).items()}
        for run in (one, other)
    ]
    assert keys[0] == keys[1]
    for name in ("selection.jsonl", "subset.jsonl", "fidelity.json", "learning.json", "labels.npz", "done.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert (other / "recipe.yaml").read_text() == (one / "recipe.yaml").read_text().replace("runs/a", "runs/b")
    asked = trace.read_text()
    assert asked and select(place, "runs/b", "--track", "tensorboard").returncode == 0
    assert trace.read_text() == asked


def test_what_cannot_be_told_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "one"}, {"text": "two"}]
    with pytest.raises(ConfigError, match=r"--track is 'wandbb'\. Did you mean 'wandb'"):
        nncift.select(rows, budget=1, influence="random", output=str(tmp_path / "run"), track="wandbb")
    monkeypatch.setattr(tell, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(MissingExtraError, match=rf'pip install "nncift\[{name}\]"'):
            nncift.select(rows, budget=1, influence="random", output=str(tmp_path / "run"), track=name)
    assert not (tmp_path / "run").exists()
    check_tracker(None)


def test_every_tracker_has_an_extra() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert all(extras[name][0].startswith(f"{name}>=") for name in TRACKERS)


def test_a_tracker_that_fails_is_one_note(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def gone(told: Story) -> str:
        asked.append(told.name)
        raise OSError("no route to host")

    monkeypatch.setattr(tell, "TRACKERS", {"tensorboard": gone})
    monkeypatch.setattr(tell, "find_spec", lambda name: object())
    rows = [{"text": "one"}, {"text": "two"}]
    picked = nncift.select(rows, budget=1, influence="random", output=str(tmp_path / "run"), track="tensorboard")
    assert len(picked) == 1 and (tmp_path / "run" / "done.json").is_file()
    folders = [place / "rows", place / "runs" / "a", place / "runs" / "a"]  # the first has no story
    track_after(folders, "tensorboard", Silent(), group="grid")
    notes = [record.message for record in caplog.records if "no route to host" in record.message]
    assert asked == ["run", "a"] and len(notes) == 2 and notes[0].startswith("tensorboard was not told of it (OSError")


def test_folders_without_a_story(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds neither a run nor an evaluation"):
        story_of(tmp_path)
    (tmp_path / "recipe.yaml").write_text("verb: select\npool: x\n")
    with pytest.raises(RunError, match=r"done\.json is missing"):
        story_of(tmp_path)


def test_an_evaluation_with_controls_of_two_sizes(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "toy")
    small = toy.write("small.jsonl", [json.loads(line) for line in toy.subset.read_text().splitlines()[:5]])
    found = toy.evaluate("out", toy.subset, small, by="icl")
    told = story_of(found.folder)
    means = [record["mean"] for record in found.records]
    assert (
        told.recipe["verb"] == "evaluate"
        and told.recipe["subset"] == ["subset.jsonl", "small.jsonl"]
        and not told.curves
    )
    assert [value for name, value in told.numbers.items() if name.endswith("/mean")] == means
    record = next(one for one in found.records if one["subset"] == "small")
    assert told.numbers["icl/loss/small/diff_random"] == record["diff_random"]
    assert record["diff_ci"] == [told.numbers[f"icl/loss/small/diff_ci/{end}"] for end in ("low", "high")]
    assert told.numbers["icl/loss/random-5/rows"] == 5 and told.numbers["icl/loss/random-8/rows"] == 8
