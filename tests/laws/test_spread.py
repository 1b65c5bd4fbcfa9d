"""Workers change how long a run takes, and nothing else: every artefact is that of one worker, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import nncift
from cluster import two_workers
from nncift.cachedir import cache_in
from nncift.embed import cache, states
from nncift.errors import RunError
from nncift.pipeline.features import STATES
from nncift.pipeline.journal import Journal
from toy_encoder import WORDS, make_toy_encoder
from toy_road import Corpus, cli_environment, make_corpus, save_model, write_influences, write_rows

RESULTS = ("labels.npz", "learning.json", "selection.jsonl", "subset.jsonl", "estimator.safetensors")


@pytest.fixture(scope="module")
def ray_up() -> Iterator[None]:
    with two_workers():
        yield


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> str:
    """The parameter of a test; where it is `ray`, a cluster is up."""
    if request.param == "ray":
        request.getfixturevalue("ray_up")
    return request.param


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=90, m=11)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model") / "lm"))


def run(corpus: Corpus, place: Path, executor: str, **options: Any) -> dict[str, bytes]:
    """The results of a run, by name; facts of its stages under `facts`."""
    workers = 0 if executor == "serial" else 2
    with cache_in(place.with_name(f"{place.name}.cache")):  # what one run computed is not found by the other
        nncift.select(corpus.pool, **corpus.options(output=str(place), executor=executor, workers=workers, **options))
    return {name: (place / name).read_bytes() for name in RESULTS if (place / name).is_file()}


def facts(place: Path) -> dict[str, Any]:
    stages = json.loads((place / "stages.json").read_text())
    return {name: stage["facts"].get("shards") for name, stage in stages.items()}


@pytest.mark.parametrize(
    ("executor", "options"),
    [
        ("threads", {"influence": "delift", "labels": "all"}),
        ("threads", {"influence": "delift"}),
        ("threads", {"influence": "ifd"}),
        ("threads", {"influence": "rds"}),
        ("threads", {"influence": "delift", "labels": "all", "device": "cpu,cpu"}),
        ("ray", {"influence": "delift"}),
        ("threads", {"influence": "less", "option": ("epochs=2", "r=64")}),
        ("threads", {"influence": "gradsim", "option": ("r=64",), "labels": "all"}),
        ("ray", {"influence": "less", "option": ("epochs=2", "r=64")}),
    ],
    ids=[
        "every pair",
        "in rounds",
        "pointwise",
        "by row",
        "on two devices",
        "in rounds on a cluster",
        "gradients after training",
        "gradients",
        "gradients after training, on a cluster",
    ],
    indirect=["executor"],
)
def test_labels_of_two_workers_are_those_of_one(
    corpus: Corpus, model: str, tmp_path: Path, executor: str, options: dict[str, Any]
) -> None:
    options = {"model": model, "max_length": 200, "budget": 9, **options}
    alone = run(corpus, tmp_path / "alone", "serial", **options | {"device": "cpu"})
    assert "labels.npz" in alone
    assert run(corpus, tmp_path / "two", executor, **options) == alone
    told = facts(tmp_path / "two")["label"]
    assert (told["executor"], told["workers"]) == (executor, 2) and told["shards"] > 1 and told["peak_memory"] > 0
    assert facts(tmp_path / "alone")["label"] is None
    spent = [json.loads((tmp_path / name / "costs.json").read_text())["stages"]["label"] for name in ("alone", "two")]
    assert spent[0]["lm_forwards"] <= spent[1]["lm_forwards"] <= spent[0]["lm_forwards"] + 64  # a chunk of `rds` twice
    assert options["influence"] == "rds" or spent[0]["lm_forwards"] == spent[1]["lm_forwards"]


@pytest.mark.parametrize("executor", ["threads", "ray"], indirect=True)
def test_states_of_two_workers_are_those_of_one(
    corpus: Corpus, model: str, tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_CHUNK", 16)
    options = {
        "influence": "delift",
        "model": model,
        "max_length": 200,
        "estimator": "gaussian-process",
        "features": "states",
        "labels": 200,
        "budget": 9,
    }
    alone = run(corpus, tmp_path / "alone", "serial", **options)
    kept = [(tmp_path / "alone" / name).read_bytes() for name in STATES]
    assert run(corpus, tmp_path / "two", executor, **options) == alone
    assert [(tmp_path / "two" / name).read_bytes() for name in STATES] == kept
    told = facts(tmp_path / "two")["states"]
    assert (told["executor"], told["workers"], told["shards"]) == (executor, 2, 7) and told["peak_memory"] > 0
    spent = [json.loads((tmp_path / name / "costs.json").read_text())["stages"]["states"] for name in ("alone", "two")]
    assert spent[0]["lm_forwards"] == spent[1]["lm_forwards"] > 0 and spent[0]["lm_tokens"] == spent[1]["lm_tokens"]
    if executor == "threads":  # rows that the run has not seen
        new = str(make_corpus(tmp_path / "new", n=40, m=5).pool)
        vectors = str(Path(new).with_suffix(".npy"))
        means = []
        for who, workers in (("serial", 0), (executor, 2)):
            with cache_in(tmp_path / f"{who}.scores"):
                scores = nncift.score(new, run=str(tmp_path / "alone"), embedder=vectors, executor=who, workers=workers)
            means.append(scores.means.tolist())
        assert means[0] == means[1]


@pytest.mark.parametrize("executor", ["threads", "ray"], indirect=True)
def test_vectors_of_two_workers_are_those_of_one(
    tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 16)
    texts = [" ".join(WORDS[(k * s) % len(WORDS)] for s in range(1, 2 + k % 9)) for k in range(70)]
    rows = [{"prompt": text, "completion": f"{k} rain"} for k, text in enumerate(texts)]
    pool = write_rows(tmp_path / "pool.jsonl", rows + rows[:5])
    new = write_rows(tmp_path / "new.jsonl", [row | {"completion": "a river"} for row in rows[:50]])
    model = make_toy_encoder(tmp_path / "model")
    found = {}
    for who, workers in (("serial", 0), (executor, 2)):
        place = tmp_path / who
        own = {"executor": who, "workers": workers}
        with cache_in(tmp_path / f"{who}.cache"):
            nncift.select(pool, influence="similarity", embedder=model, budget=7, labels=400, output=str(place), **own)
            scores = [] if executor == "ray" else nncift.score(str(new), run=str(place), **own).means.tolist()
        costs = json.loads((place / "stages.json").read_text())["embed"]["costs"]
        files = [place / "embeddings" / "columns.npy", place / "subset.jsonl"]
        found[who] = (
            [path.read_bytes() for path in files],
            scores,
            costs["encoder_forwards"],
            costs["flops"],
        )
    assert found["serial"] == found[executor] and found[executor][2] == 70
    told = facts(tmp_path / executor)["embed"]
    assert (told["executor"], told["workers"], told["shards"]) == (executor, 2, 5) and told["peak_memory"] > 0


@pytest.mark.usefixtures("ray_up")
def test_scores_and_parts_of_two_workers_are_those_of_one(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    influence = f"{write_influences(tmp_path, monkeypatch)}:Planted"
    options = {"influence": influence, "estimator": "paper", "labels": 300, "backend": "tiled", "budget": 9}
    alone = run(corpus, tmp_path / "alone", "serial", parts=3, **options)
    assert run(corpus, tmp_path / "two", "ray", parts=3, **options) == alone
    told = facts(tmp_path / "two")["select"]
    assert (told["executor"], told["workers"]) == ("ray", 2)
    assert told["shards"] == 8 + 3 and told["peak_memory"] < 1.5e9


DYING = '''
import os, signal
from dataclasses import dataclass
from typing import ClassVar
import planted_influences
from nncift.influence.base import Traits


@dataclass(frozen=True, slots=True)
class Dying(planted_influences.Planted):
    """Its worker is killed when it has labelled some; in the parent never."""
    traits: ClassVar[Traits] = Traits(name="dying", pairwise=True, objective="facility-location", uses_target=True)
    parent: int = 0
    place: str = ""

    def start(self, context):
        session, label = planted_influences.Planted.start(self, context), planted_influences.Session.label

        class Short(planted_influences.Session):
            def label(own, i, j, prepared, *, on_progress):
                y = label(own, i, j, prepared, on_progress=on_progress)
                if os.getpid() != self.parent and not os.path.exists(self.place) and int(j.min()) > 20:
                    open(self.place, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                return y

        return Short(self, context)
'''


def test_a_worker_that_is_killed_changes_nothing(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_up: None
) -> None:
    write_influences(tmp_path, monkeypatch)
    (tmp_path / "dying.py").write_text(DYING)
    options: dict[str, Any] = {"influence": "dying:Dying", "labels": "all", "budget": 9}
    flag = tmp_path / "killed"
    options["option"] = {"parent": os.getpid(), "place": str(flag)}
    alone = run(corpus, tmp_path / "alone", "serial", **options)
    assert not flag.exists()
    assert run(corpus, tmp_path / "two", "ray", **options) == alone
    assert flag.exists()


def test_a_run_goes_on_under_another_executor(
    corpus: Corpus, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": model, "max_length": 200, "budget": 9, "influence": "delift", "labels": "all"}
    alone = run(corpus, tmp_path / "alone", "serial", **options)
    real, filed = Journal.file, list[str]()

    def until_two(self: Journal, name: str, *rest: Any) -> None:
        if len(filed) == 2:
            raise RunError("the head of the Ray cluster does not answer any more")
        filed.append(name)
        real(self, name, *rest)

    monkeypatch.setattr(Journal, "file", until_two)
    with pytest.raises(RunError, match="does not answer"):
        run(corpus, tmp_path / "two", "threads", **options)
    monkeypatch.setattr(Journal, "file", lambda self, name, *rest: (filed.append(name), real(self, name, *rest)))
    assert run(corpus, tmp_path / "two", "serial", **options) == alone
    assert len(filed) == len(set(filed))  # no shard that was done is done again


def test_a_lost_head_is_said_and_the_same_command_goes_on(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, which starts the cluster: its head is killed while labels are computed."""
    module = write_influences(tmp_path, monkeypatch)
    options: list[Any] = ["--target", corpus.target, "--influence", f"{module}:Planted", "--labels", "all", "--seed", 3]
    command = ["label", corpus.pool, *options, "--executor", "ray", "--workers", 2, "-o", "labels.npz"]
    slow = cli_environment(tmp_path, SLOW="2", TRACE=str(tmp_path / "trace"), NNCIFT_CACHE=str(tmp_path / "cache"))
    arguments = [sys.executable, "-m", "nncift", *map(str, command)]
    with subprocess.Popen(arguments, cwd=tmp_path, env=slow, stderr=subprocess.PIPE, text=True) as process:
        assert until(lambda: len(list(tmp_path.glob("labels.labelling/labels-*/block-*.npz"))) == 1)
        (head,) = [pid for pid in descendants(process.pid) if "gcs_server" in command_of(pid)]
        os.kill(head, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in errors
    assert "the head of the Ray cluster of --executor ray does not answer any more" in errors
    assert "start the same command again" in errors
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("labels.labelling/labels-*/block-*.npz")}
    assert kept
    monkeypatch.chdir(tmp_path)
    found = nncift.label(
        corpus.pool, target=corpus.target, influence=f"{module}:Planted", labels="all", seed=3, output="labels.npz"
    )
    whole = nncift.label(
        corpus.pool, target=corpus.target, influence=f"{module}:Planted", labels="all", seed=3, output="whole.npz"
    )
    assert (found.y == whole.y).all() and (tmp_path / "labels.npz").read_bytes() == (
        tmp_path / "whole.npz"
    ).read_bytes()


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something came about in time."""
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.05)
    return what()


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
    found, more = [], [pid]
    while more:
        more = [child for child, parent in parents.items() if parent in more]
        found += more
    return found


def command_of(pid: int) -> str:
    """How a process was started."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()
    return ""
