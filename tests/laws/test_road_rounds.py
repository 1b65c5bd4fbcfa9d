"""A run that labels in rounds, or for a time: killed in any of them it ends with the same bytes, and nothing is paid twice."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.config import SelectConfig
from nncift.data.arrays import read_npz
from nncift.estimator.schedule import Schedule
from nncift.pipeline import journal, pace, reopen
from nncift.plan import plan
from nncift.progress import Silent
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, run_cli, save_model, write_influences

ARTEFACTS = ("subset.jsonl", "selection.jsonl", "labels.npz", "estimator.safetensors", "fidelity.json", "learning.json")
BLOCK = 20


class Stopped(BaseException):
    """What a kill is like from inside."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=90, m=21, beta=36)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(journal, "BLOCK", BLOCK)
    return f"{write_influences(tmp_path, monkeypatch)}:Planted"


@pytest.fixture
def teacher(planted: str, monkeypatch: pytest.MonkeyPatch) -> "Teacher":
    return Teacher(planted, monkeypatch)


class Teacher:
    """Counts every pair and every target that a planted influence is asked for, and stops after so many more pairs."""

    def __init__(self, influence: str, monkeypatch: pytest.MonkeyPatch) -> None:
        session = importlib.import_module(influence.partition(":")[0]).Session
        label, prepare = session.label, session.prepare
        self.pairs: list[tuple[int, int]] = []
        self.targets: list[int] = []
        self.left: float = np.inf

        def counted(one: Any, i: np.ndarray, j: np.ndarray, prepared: dict[str, np.ndarray], **how: Any) -> np.ndarray:
            if self.left < 0:
                raise Stopped
            self.left -= len(i)
            self.pairs += zip(i.tolist(), j.tolist(), strict=True)
            assert np.all(np.diff(prepared["targets"]) > 0) and np.isin(i, prepared["targets"]).all()
            return label(one, i, j, prepared, **how)

        def prepared(one: Any, targets: np.ndarray, **how: Any) -> dict[str, np.ndarray]:
            self.targets += targets.tolist()
            return prepare(one, targets, **how)

        monkeypatch.setattr(session, "label", counted)
        monkeypatch.setattr(session, "prepare", prepared)


def select(corpus: Corpus, influence: str, folder: Path, **options: Any) -> Selection:
    options = {"budget": 9, "estimator": "means", "labels": "auto"} | options
    return nncift.select(corpus.pool, **corpus.options(influence=influence, output=str(folder), **options))


def artefacts(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ARTEFACTS}


@pytest.mark.parametrize(
    "options",
    [
        {"labels": "auto"},
        {"labels": "auto", "objective": "fl1mi"},
        {"labels": "320", "design": "adaptive", "estimator": "gaussian-process"},
    ],
    ids=["auto", "pool too", "adaptive"],
)
def test_killed_in_every_round_it_ends_with_the_same_bytes(
    corpus: Corpus, planted: str, teacher: Teacher, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = select(corpus, planted, tmp_path / "whole", **options)
    assert whole.learning is not None
    totals = [point["labels"] for point in whole.learning["rounds"]]
    assert len(totals) >= 3 and len(teacher.pairs) == totals[-1] == len(set(teacher.pairs))
    assert len(teacher.targets) == len(set(teacher.targets))  # no round prepares a target again
    alone = len(teacher.pairs)
    teacher.pairs.clear()
    folder, kills = tmp_path / "killed", 0
    for reached in totals:  # one kill inside of each round, but for its last block
        teacher.left = reached - len(set(teacher.pairs)) - 2.5 * BLOCK
        if teacher.left < 0:
            continue
        with pytest.raises(Stopped):
            select(corpus, planted, folder, **options)
        kills += 1
        assert not (folder / "done.json").exists() and not (folder / "labels.npz").exists()
        assert list(folder.glob("labels-*/round-*/block-*.npz"))
    assert kills >= 2
    teacher.left = np.inf
    ended = select(corpus, planted, folder, **options)
    assert len(teacher.pairs) == len(set(teacher.pairs)) == alone  # a stop between two blocks loses none
    assert artefacts(folder) == artefacts(whole.folder)
    assert not list(folder.glob("labels-*"))
    for one in (whole, ended):
        costs = one.costs["stages"]["label"]
        assert costs["lm_forwards"] == alone == sum(part["lm_forwards"] for part in one.costs["rounds"])
        assert costs["seconds"] >= sum(part["fit_seconds"] for part in one.costs["rounds"]) > 0


def test_a_finished_run_is_found_done_and_opens_again(
    corpus: Corpus, planted: str, teacher: Teacher, tmp_path: Path
) -> None:
    first = select(corpus, planted, tmp_path / "run")
    calls, before = len(teacher.pairs), artefacts(first.folder)
    again, opened = select(corpus, planted, tmp_path / "run"), reopen(tmp_path / "run")
    assert len(teacher.pairs) == calls and artefacts(first.folder) == before
    for other in (again, opened):
        assert other.ids == first.ids and other.costs == first.costs and other.summary() == first.summary()
    larger = select(corpus, planted, tmp_path / "run", budget=20)
    assert len(teacher.pairs) == calls and larger.ids[:9] == first.ids  # where rounds end does not depend on the subset
    assert (first.folder / "labels.npz").read_bytes() == before["labels.npz"]
    stages = json.loads((first.folder / "stages.json").read_text())
    assert stages["label"]["files"].keys() == {"labels.npz", "learning.json"}


def test_the_curve_tells_what_the_labels_file_holds(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    picked = select(corpus, planted, tmp_path / "run")
    curve = json.loads((picked.folder / "learning.json").read_text())
    assert curve == picked.learning == picked.summary()["learning"]
    stored = read_npz(picked.folder / "labels.npz")
    keys = stored["j"].astype(np.int64) * corpus.m + stored["i"]
    assert np.all(np.diff(keys) > 0) and len(keys) == curve["rounds"][-1]["labels"]
    assert Schedule(**curve["schedule"]) == Schedule.auto(corpus.m, corpus.n)
    assert curve["subset"] == {"rows": 9, "objective": "facility-location"}
    labels = [point["labels"] for point in curve["rounds"]]
    assert labels == np.cumsum([point["new"] for point in curve["rounds"]]).tolist()
    assert curve["rounds"][0]["ahead"] is None and set(curve["rounds"][1]["ahead"]) == {"r2", "spearman", "concordance"}
    assert json.loads(stored["meta"].item())["pairs"]["most"] == curve["schedule"]["most"]


@pytest.mark.parametrize("design", ["spread", "cross", "block"])
def test_other_designs_go_on_in_rounds(
    corpus: Corpus, planted: str, teacher: Teacher, tmp_path: Path, design: str
) -> None:
    picked = select(corpus, planted, tmp_path / "run", design=design)
    assert picked.learning is not None and picked.learning["design"] == design
    assert len(teacher.pairs) == len(set(teacher.pairs)) == picked.learning["rounds"][-1]["labels"]


def test_adaptive_goes_where_the_estimator_is_least_sure(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    options = {"labels": "320", "estimator": "gaussian-process"}
    plain, adaptive = (
        select(corpus, planted, tmp_path / design, design=design, **options) for design in ("auto", "adaptive")
    )
    first, second = (set(_pairs(picked)) for picked in (plain, adaptive))
    assert len(first) == len(second) == 320 and first != second
    assert plain.learning is None and adaptive.learning is not None and "design" not in adaptive.notes
    assert [point["labels"] for point in adaptive.learning["rounds"]] == [80, 160, 320]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "320", "estimator": "means"}, "but it does not say how sure it is: stripes went on instead"),
        ({"labels": "u=40%", "estimator": "means"}, "plays no part for `planted` here: nothing is fitted in between"),
        ({"labels": "30%", "influence": "similarity"}, "plays no part for `similarity` here: rows are what it costs"),
    ],
)
def test_where_adaptive_cannot_be_it_is_said(
    corpus: Corpus, planted: str, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    picked = select(corpus, options.pop("influence", planted), tmp_path / "run", design="adaptive", **options)
    assert words in picked.notes["design"]
    plain = select(corpus, picked_influence(picked), tmp_path / "plain", **options)
    if picked.learning is None:
        assert _pairs(picked) == _pairs(plain)


def picked_influence(picked: Selection) -> str:
    from nncift.recipe import read_recipe

    return read_recipe(picked.folder / "recipe.yaml").influence


def _pairs(picked: Selection) -> list[tuple[int, int]]:
    stored = read_npz(picked.folder / "labels.npz")
    return list(zip(stored["i"].tolist(), stored["j"].tolist(), strict=True))


def test_a_pointwise_influence_has_rounds_of_candidates(planted: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "many", n=700, m=5, beta=300)
    worth = planted.replace("Planted", "Worth")
    picked = select(corpus, worth, tmp_path / "run", estimator="gaussian-process")
    assert picked.learning is not None and picked.learning["design"] == "pointwise"
    stored = read_npz(picked.folder / "labels.npz")
    assert not stored["i"].any() and len(np.unique(stored["j"])) == len(stored["j"]) <= 140


Clock = Callable[[], float]


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A pace of so many seconds a pair (the first entry), whatever this machine does; counts how often it is measured."""
    found = [0.05, 0.0]

    def measured(setup: Any, models: Any, seen: Any, ledger: Any, *, at_most: float = 8.0) -> pace.Pace:
        found[1] += 1
        ledger.lm_forwards += 7
        return pace.Pace(probe=1.0, pair=found[0])

    monkeypatch.setattr(pace, "measure_pace", measured)
    return found


@pytest.mark.parametrize("design", ["auto", "adaptive"])
def test_a_time_is_decided_once_and_kept(
    corpus: Corpus, planted: str, teacher: Teacher, steady: list[float], tmp_path: Path, design: str
) -> None:
    options = {"labels": "20s", "design": design}
    whole = select(corpus, planted, tmp_path / "whole", **options)
    assert len(whole.costs["stages"]["pace"]) > 3 and whole.costs["stages"]["pace"]["lm_forwards"] == 7
    assert len(_pairs(whole)) == 342  # 0.9 · (20 s - 1 s) / 0.05 s
    assert whole.notes["labels"] == "20 s are enough for 342 exact influences at the pace that was measured"
    teacher.left = 100
    with pytest.raises(Stopped):
        select(corpus, planted, tmp_path / "killed", **options)
    steady[0] = 5.0  # the machine is slow today: what was decided stands
    teacher.left = np.inf
    ended = select(corpus, planted, tmp_path / "killed", **options)
    assert steady[1] == 2 and _pairs(ended) == _pairs(whole)
    names = [name for name in ARTEFACTS if (whole.folder / name).exists()]
    assert {name: (ended.folder / name).read_bytes() for name in names} == {
        name: (whole.folder / name).read_bytes() for name in names
    }
    assert (
        reopen(tmp_path / "killed").ids == whole.ids
        and select(corpus, planted, tmp_path / "killed", **options).ids == whole.ids
    )
    assert steady[1] == 2
    steady[0] = 0.05
    assert len(_pairs(select(corpus, planted, tmp_path / "killed", **options | {"labels": "10s"}))) == 162


def test_label_takes_a_time_and_keeps_its_file(
    corpus: Corpus, planted: str, steady: list[float], tmp_path: Path
) -> None:
    options = {"target": corpus.target, "influence": planted, "output": tmp_path / "l.npz"}
    first = nncift.label(corpus.pool, labels="11s", **options)
    before = (tmp_path / "l.npz").read_bytes()
    steady[0] = 0.5
    assert len(first) == 180 == len(nncift.label(corpus.pool, labels="11s", **options))
    assert steady[1] == 1 and (tmp_path / "l.npz").read_bytes() == before
    assert len(nncift.label(corpus.pool, labels="21s", **options)) == 36


def test_a_time_that_is_enough_for_all_needs_no_estimator(
    corpus: Corpus, planted: str, steady: list[float], tmp_path: Path
) -> None:
    picked = select(corpus, planted, tmp_path / "run", labels="2h")
    assert picked.fidelity is None and "values" in read_npz(picked.folder / "labels.npz")
    assert picked.ids == select(corpus, planted, tmp_path / "all", labels="all").ids == reopen(picked.folder).ids


def test_a_pace_is_measured_on_the_machine(corpus: Corpus, planted: str, tmp_path: Path) -> None:
    picked = select(corpus, planted, tmp_path / "run", labels="2s")
    stored = json.loads((picked.folder / "stages.json").read_text())["pace"]["facts"]
    assert stored["pace"]["pair"] > 0 and stored["pairs"] == len(_pairs(picked)) >= 100


def test_the_plan_states_the_most_and_the_least(corpus: Corpus, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    options = corpus.options(pool=str(corpus.pool), influence="delift", model=str(model), dtype="float32", budget=9)
    config = SelectConfig.of(options)
    planned = plan(config, Silent())
    schedule = Schedule.auto(corpus.m, corpus.n)
    assert schedule is not None and planned.least is not None
    assert (planned.labels, planned.least["labels"]) == (
        schedule.most,
        schedule.least,
    ) and schedule.least < schedule.most
    assert (planned.lm_forwards, planned.least["lm_forwards"]) == (schedule.most + 21, schedule.least + 21)
    assert f"Exact influences: {schedule.most:,} at most, in rounds; {schedule.least:,} where" in "\n".join(
        planned.lines()
    )
    fixed = plan(replace(config, labels="100calls"), Silent())
    assert fixed.least is None and fixed.lm_forwards == 100 and fixed.labels == 79


def test_from_the_command_line_with_a_model(corpus: Corpus, tmp_path: Path) -> None:
    small = make_corpus(tmp_path / "small", n=41, m=12, beta=14)
    model = save_model(tmp_path / "model")
    files = [small.pool, "-t", small.target, "-e", small.embeddings, "-i", "delift", "-m", model, "--dtype", "float32"]
    options = ["--features", "embedding", "--estimator", "means", "-b", "5"]
    done = run_cli("select", *files, *options, "--labels", "auto", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    curve = json.loads((tmp_path / "out" / "learning.json").read_text())
    last = curve["rounds"][-1]
    assert f"{last['labels']:,} labels in {len(curve['rounds'])} rounds: " in done.stdout
    assert all(f"round {k}" in done.stderr for k in range(1, len(curve["rounds"]) + 1))
    costs = json.loads((tmp_path / "out" / "costs.json").read_text())
    assert costs["stages"]["label"]["lm_forwards"] == last["lm_forwards"] == last["labels"] + small.m
    assert sum(part["lm_forwards"] for part in costs["rounds"]) == last["lm_forwards"]
    done = run_cli("select", *files, *options, "--labels", "60calls", "-o", "calls", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["costs"]["stages"]["label"]["lm_forwards"] == 60 and found["learning"] is None
    for labels, words in (
        ("5calls", "too few to teach"),
        ("10m", "600s, 10min or 2h"),
        ("0s", "nothing is labelled for none"),
    ):
        done = run_cli("select", *files, *options, "--labels", labels, "-o", "wrong", cwd=tmp_path)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
