"""The estimator of another run on new data: nothing is trained, a few labels check it, and it says when to mistrust it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.config import SelectConfig
from nncift.errors import ConfigError, RunError
from nncift.estimator import gaussian
from nncift.pipeline import reopen
from nncift.pipeline.donor import Donor
from nncift.plan import plan
from nncift.progress import Silent
from nncift.recipe import read_recipe
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, share_of_beta, write_influences, write_rows

N, M = 70, 11


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Selection]:
    """A run on the corpus."""
    name = f"{write_influences(tmp_path, monkeypatch)}:Planted"
    return lambda **options: nncift.select(
        corpus.pool,
        **(corpus.options(output=str(tmp_path / "old"), influence=name, budget=10, labels="40%") | options),
    )


def new_data(folder: Path, *, far: bool = False, seed: int = 3) -> dict[str, Any]:
    """Other rows of the two topics, and another target, with vectors like the corpus's or in a place of their own."""
    rng = np.random.default_rng(seed)
    centre = {"alpha": np.eye(8)[0], "beta": np.eye(8)[1]}
    files = {"pool": ["alpha", "beta"] * (N // 2), "target": ["beta"] * M}
    for name, topics in files.items():
        rows = [
            {"prompt": f"{topic} {name} novel {k}", "completion": f"{topic} reply {k}"}
            for k, topic in enumerate(topics)
        ]
        write_rows(folder / f"new-{name}.jsonl", rows)
        vectors = np.array([centre[topic] for topic in topics]) + 0.25 * rng.normal(size=(len(topics), 8))
        np.save(folder / f"new-{name}.npy", (vectors @ np.eye(8)[::-1] if far else vectors).astype(np.float32))
    vectors = ",".join(str(folder / f"new-{name}.npy") for name in files)
    return {"pool": folder / "new-pool.jsonl", "target": folder / "new-target.jsonl", "embedder": vectors}


def reuse(folder: Path, old: object, **options: Any) -> Selection:
    """The estimator of a run on new data."""
    given = new_data(folder) | {"estimator": old, "budget": 10, "output": folder / "new"} | options
    return nncift.select(given.pop("pool"), **given)


@pytest.mark.parametrize("estimator", ["gaussian-process", "network", "paper"])
def test_on_the_same_rows_it_is_the_run_itself(run, corpus: Corpus, tmp_path: Path, estimator: str) -> None:
    old = run(estimator=estimator, known="predict")
    new = nncift.select(
        corpus.pool, estimator=old, embedder=corpus.embeddings, budget=10, labels="none", output=tmp_path / "new"
    )
    assert new.ids == old.ids and new.picks.reasons == old.picks.reasons
    np.testing.assert_array_equal(new.influences().values, old.influences().values)
    files = [(place / "estimator.safetensors").read_bytes() for place in (old.folder, new.folder)]
    assert files[0] == files[1]
    assert read_recipe(new.folder / "recipe.yaml").target == str(corpus.target)  # none was given


def test_nothing_is_trained_and_it_chooses_well(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = run()

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(gaussian.GaussianProcess, "fit", never)
    new = reuse(tmp_path, old.folder, labels="none")
    assert share_of_beta([row.text for row in new.examples]) == 1
    assert new.fidelity is not None and new.fidelity["verdict"] == "unknown"
    assert "unchecked" in new.notes and not (new.folder / "labels.npz").exists()
    assert "label" not in new.costs["stages"] and new.costs["total"]["pair_predictions"] == N * M
    assert new.costs["training_anew"] == {
        "run": str(old.folder), "labels": round(0.4 * N * M), "lm_forwards": 0, "lm_backwards": 0, "saved": 1.0,
    }  # fmt: skip


def test_a_probe_of_the_same_influence_checks_it(run, tmp_path: Path) -> None:
    old = run()
    new = reuse(tmp_path, old)
    stored = np.load(new.folder / "labels.npz")
    assert len(stored["y"]) == 64 and len(np.unique(stored["i"])) == 8 and len(np.unique(stored["j"])) >= 12
    assert new.fidelity is not None and (new.fidelity["verdict"], new.fidelity["held_out"]) == ("beats", 64)
    assert "It carries over to these data." in new.fidelity["sentence"]
    order = new.fidelity["groups"][0]["measures"]["concordance"]
    assert order["value"] > 0.7 and order["baselines"]["row + column means"] < 0.6
    assert not {"carried", "novel_pool", "novel_target", "unchecked"} & new.notes.keys()
    assert new.costs["training_anew"]["saved"] == pytest.approx(1 - 64 / round(0.4 * N * M))
    exact = {(i, j): y for i, j, y in zip(stored["i"], stored["j"], stored["y"], strict=True)}
    values = new.influences().values
    assert all(values[j, i] == y for (i, j), y in exact.items())  # --known keep
    assert read_recipe(new.folder / "recipe.yaml").influence == read_recipe(old.folder / "recipe.yaml").influence


def test_an_influence_that_is_turned_round_is_told(run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = run(option=("flip=true",))
    rows = new_data(tmp_path)
    lines = Path(rows["target"]).read_text().replace("beta target", "alpha target")
    Path(rows["target"]).write_text(lines)  # alpha rows with the vectors of beta rows
    with caplog.at_level(logging.WARNING):
        new = nncift.select(
            rows["pool"], target=rows["target"], embedder=rows["embedder"], estimator=old, budget=10, labels="200",
            output=tmp_path / "new",
        )  # fmt: skip
    assert new.fidelity is not None and new.fidelity["verdict"] == "worse"
    assert "It does not carry over" in new.notes["carried"]
    assert "Train anew: nncift select" in new.notes["carried"] and new.notes["carried"].endswith("--labels 40%")
    assert "--option flip=true" in new.notes["carried"] and new.notes["carried"] in caplog.text


def test_rows_of_another_kind_are_told_without_a_label(run, tmp_path: Path) -> None:
    old = run()
    near, rows = reuse(tmp_path, old, labels="none"), new_data(tmp_path, far=True)
    far = nncift.select(
        rows["pool"], target=rows["target"], embedder=rows["embedder"], estimator=old, budget=10, labels="none",
        output=tmp_path / "far",
    )  # fmt: skip
    assert near.fidelity is not None and far.fidelity is not None
    assert not near.fidelity["new_rows"]["pool"]["alarming"] and far.fidelity["new_rows"]["pool"]["alarming"]
    assert "not of the kind that the estimator was trained on" in far.notes["novel_pool"]


def test_what_is_done_is_not_done_again_and_another_estimator_is(run, tmp_path: Path) -> None:
    old = run()
    first = reuse(tmp_path, old)
    stages = json.loads((first.folder / "stages.json").read_text())
    again = reuse(tmp_path, old)
    assert json.loads((first.folder / "stages.json").read_text()) == stages and again.ids == first.ids
    run(seed=5)
    third = reuse(tmp_path, old)
    after = json.loads((third.folder / "stages.json").read_text())
    assert after["label"] == stages["label"]
    assert after["estimate"]["key"] != stages["estimate"]["key"] and after["select"]["key"] != stages["select"]["key"]


def test_the_receipt_stands_alone_when_the_old_run_is_gone(run, tmp_path: Path) -> None:
    new = reuse(tmp_path, run(), labels="none")
    values = new.influences().values
    shutil.rmtree(tmp_path / "old")
    again = reopen(new.folder)
    assert again.ids == new.ids and again.fidelity == new.fidelity
    np.testing.assert_array_equal(again.influences().values, values)
    rows = new_data(tmp_path)
    found = nncift.score(rows["pool"], run=new, embedder=rows["embedder"].split(",")[0])
    means = dict(zip((row.id for row in again.influences().pool), values.mean(axis=1), strict=True))
    assert found.means == pytest.approx([means[row.id] for row in found.pool], abs=1e-5)
    assert found.sd is None  # what it was sure of were means over other targets
    with pytest.raises(ConfigError, match=r"reuses an estimator itself.*there is no such folder"):
        reuse(tmp_path, new, output=tmp_path / "third")


def test_a_run_that_reuses_leads_to_the_one_that_trained(run, tmp_path: Path) -> None:
    old = run()
    second = reuse(tmp_path, old, labels="none")
    third = reuse(tmp_path, second, labels="none", output=tmp_path / "third")
    assert third.ids == second.ids and read_recipe(third.folder / "recipe.yaml").estimator == str(old.folder)
    run(seed=7)
    with pytest.raises(ConfigError, match=r"reuses what the estimator of .* was before"):
        reuse(tmp_path, second, output=tmp_path / "fourth")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"influence": "similarity"}, "--influence is 'similarity', and the estimator in .* was trained with 'planted"),
        ({"option": ("gap=2",)}, "--option is 'gap=2', and .* was trained with none"),
        ({"model": ("gemma-3-270m",)}, "--model is 'gemma-3-270m', and .* was trained with none"),
        ({"features": "states"}, "--features is 'states', and .* was trained with 'embedding'"),
        ({"max_length": 64}, "--max-length is 64"),
        ({"embedder": None}, "embedded by files of vectors: name those of the new rows"),
        ({"embedder": "minilm"}, "embedded by files of vectors: name those of the new rows"),
        ({"labels": "77%%"}, "cannot be read"),
        ({"labels": str(N * M + 1)}, f"only {N * M}"),
        ({"output": "old"}, "cannot reuse its own estimator in its own place"),
    ],
)
def test_what_contradicts_the_old_run_names_the_flag(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], says: str
) -> None:
    old = run()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        reuse(tmp_path, old, **options)
    assert not (tmp_path / "new").exists()


def test_what_agrees_may_be_said(run, tmp_path: Path) -> None:
    old = run(option=("gap=2", "offset=3"))
    influence = read_recipe(old.folder / "recipe.yaml").influence
    new = reuse(tmp_path, old, influence=influence, option=("offset=3", "gap=2"), features="embedding", labels="none")
    assert len(new) == 10


def test_a_folder_without_an_estimator_says_what_to_do(run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no such folder. Name a finished run folder .* gaussian-process"):
        reuse(tmp_path, tmp_path / "runs" / "mistyped")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is no run folder"):
        reuse(tmp_path, tmp_path / "empty")
    exact = run(labels="all", output=str(tmp_path / "exact"))
    with pytest.raises(ConfigError, match="has no estimator: every influence was computed"):
        reuse(tmp_path, exact)
    means = run(estimator="means", output=str(tmp_path / "means"))
    with pytest.raises(ConfigError, match="is `means`, which reads no text"):
        reuse(tmp_path, means)
    old = run()
    narrow = new_data(tmp_path)
    for path in narrow["embedder"].split(","):
        np.save(path, np.load(path)[:, :5])
    with pytest.raises(ConfigError, match=r"gives vectors of 5 numbers, and the estimator in .* was trained on 8"):
        nncift.select(estimator=old, budget=10, output=tmp_path / "narrow", **narrow)
    assert not (tmp_path / "narrow" / "labels.npz").exists()
    with (old.folder / "estimator.safetensors").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(RunError, match="is missing or not what it was"):
        reuse(tmp_path, old)
    (old.folder / "done.json").unlink()
    with pytest.raises(RunError, match="did not finish"):
        reuse(tmp_path, old)


def test_one_score_a_row_is_carried_too(run, tmp_path: Path) -> None:
    planted = read_recipe(run().folder / "recipe.yaml").influence
    old = run(influence=planted.replace("Planted", "Worth"), labels="50", target=None, output=str(tmp_path / "worth"))
    rows = new_data(tmp_path)
    new = nncift.select(
        rows["pool"], embedder=rows["embedder"].split(",")[0], estimator=old, budget=10, output=tmp_path / "new"
    )
    assert share_of_beta([row.text for row in new.examples]) == 1
    assert new.fidelity is not None and (new.fidelity["verdict"], new.fidelity["held_out"]) == ("beats", 64)
    assert Donor.at(old.folder).config.estimator == "gaussian-process" and "target" not in new.fidelity["new_rows"]


def test_the_pool_may_be_covered_and_known_rows_left_out(run, corpus: Corpus, tmp_path: Path) -> None:
    old = run()
    both = reuse(tmp_path, old, objective="fl1mi", output=tmp_path / "both")
    stored = np.load(both.folder / "labels.npz")
    assert stored["i"].max() < M and len(stored["target_ids"]) == M + N
    rows = new_data(tmp_path)
    vectors = f"{rows['embedder']},{corpus.embeddings.split(',')[2]}"
    known = reuse(tmp_path, old, existing=corpus.existing, embedder=vectors, output=tmp_path / "known", labels="none")
    assert known.objective == "flcg" and len(known) == 10


def test_the_plan_says_what_is_saved_and_spends_nothing(run, tmp_path: Path) -> None:
    old = run()
    rows = {name: str(value) for name, value in new_data(tmp_path).items()}
    planned = plan(SelectConfig.of(rows | {"estimator": str(old.folder), "output": str(tmp_path / "new")}), Silent())
    assert planned.labels == 64 and planned.training_anew is not None
    anew = round(0.4 * N * M)
    saved = f"training one anew would take {anew}; {1 - 64 / anew:.0%} of that is saved."
    assert any(saved in line for line in planned.lines())
    assert not (tmp_path / "new").exists()


def test_without_a_probe_no_language_model_is_loaded(
    run, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nncift.pipeline import models
    from toy_road import save_model

    old = run(influence="delift", model=str(save_model(tmp_path / "model")), labels="100", features="embedding")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(models, "load_language_model", never)
    new = reuse(tmp_path, old, labels="none")
    assert len(new) == 10 and new.costs["total"]["lm_forwards"] == 0
    assert new.costs["training_anew"]["lm_forwards"] > 100
