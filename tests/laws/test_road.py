"""From files to a subset: what a run must choose where the good rows are known, and what may not change its choice."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nncift
from nncift.data.arrays import read_npz
from nncift.errors import ConfigError, DataError
from nncift.pipeline.reopening import reopen
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, save_model, share_of_beta, write_influences, write_rows

Run = Callable[..., Selection]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return write_influences(tmp_path, monkeypatch)


@pytest.fixture
def planted(module: str) -> str:
    return f"{module}:Planted"


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Run:
    """A run on the corpus in a folder of its own; options as in `nncift.select`."""
    count = iter(range(100))

    def select(pool: Any = None, **options: Any) -> Selection:
        options = corpus.options(output=str(tmp_path / f"run{next(count)}")) | options
        return nncift.select(corpus.pool if pool is None else pool, **options)

    return select


def texts(picked: Selection) -> list[str]:
    return [example.text for example in picked.examples]


def artefacts(picked: Selection) -> dict[str, bytes]:
    names = (
        "subset.jsonl",
        "selection.jsonl",
        "labels.npz",
        "estimator.safetensors",
        "fidelity.json",
        "rejected.jsonl",
    )
    return {name: (picked.folder / name).read_bytes() for name in names if (picked.folder / name).exists()}


@pytest.mark.parametrize("objective", ["facility-location", "flvmi", "fl1mi", "top-mean", "top-max"])
@pytest.mark.parametrize("how", ["exact similarity", "estimated similarity", "estimated planted", "exact planted"])
def test_rows_of_the_targets_topic_are_chosen(run: Run, planted: str, objective: str, how: str) -> None:
    influence = planted if "planted" in how else "similarity"
    labels = "15%" if "estimated" in how else "all"
    # fl1mi also covers the pool: the crumbs that are left of the other topic draw one pick or two, whatever the budget
    budget = 30 if objective == "fl1mi" else 20
    picked = run(influence=influence, labels=labels, objective=objective, budget=budget)
    assert share_of_beta(texts(picked)) > 0.9
    assert (picked.fidelity is None) == (labels == "all")
    assert len(picked) == budget and len(set(picked.ids)) == budget
    assert np.isfinite(picked.gains).all() and all(picked.reasons)


@pytest.mark.parametrize("labels", ["all", "15%"])
@pytest.mark.parametrize("influence", ["similarity", "planted"])
def test_existing_rows_make_the_other_topic_worth_choosing(
    run: Run, corpus: Corpus, planted: str, influence: str, labels: str
) -> None:
    influence = planted if influence == "planted" else influence
    picked = run(target=None, existing=str(corpus.existing), influence=influence, labels=labels, budget=12)
    assert picked.objective == "flcg"
    new = np.array([text.startswith("alpha") for text in texts(picked)])
    assert picked.gains[new].sum() > 0.85 * picked.gains.sum()
    assert new[0] and picked.gains[0] > 0.8 * picked.gains.sum()  # a pick that covers the other topic leaves crumbs
    without = run(target=None, existing=None, influence=influence, labels=labels, budget=12)
    old = np.array([text.startswith("beta") for text in texts(without)])
    assert without.objective == "facility-location" and without.gains[old].sum() > 0.2 * without.gains.sum()


def test_random_chooses_at_the_base_rate(run: Run, corpus: Corpus) -> None:
    chosen = [share_of_beta(texts(run(influence="random", budget=20, seed=seed))) * 20 for seed in range(8)]
    spread = np.sqrt(8 * 20 * corpus.share * (1 - corpus.share))
    assert abs(sum(chosen) - 8 * 20 * corpus.share) < 3 * spread
    assert len({tuple(texts(run(influence="random", budget=20, seed=seed))) for seed in range(3)}) == 3


@pytest.mark.parametrize("labels", ["all", "20%"])
def test_a_shuffled_file_gives_the_same_rows_in_the_same_order(
    run: Run, corpus: Corpus, planted: str, tmp_path: Path, labels: str
) -> None:
    options = {"influence": planted, "labels": labels, "budget": 25}
    first = run(**options)
    draw = np.random.default_rng(9)
    vectors = []
    for name, path in (("pool", corpus.pool), ("target", corpus.target)):
        lines = path.read_text().splitlines()
        order = draw.permutation(len(lines))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[k] + "\n" for k in order))
        np.save(tmp_path / f"{name}.npy", np.load(path.with_suffix(".npy"))[order])
        vectors.append(str(tmp_path / f"{name}.npy"))
    again = run(tmp_path / "pool.jsonl", target=str(tmp_path / "target.jsonl"), embedder=",".join(vectors), **options)
    assert again.ids == first.ids
    np.testing.assert_array_equal(again.gains, first.gains)
    assert again.subset.read_bytes() == first.subset.read_bytes()
    assert again.indices != first.indices


def test_the_same_configuration_gives_the_same_bytes(run: Run, planted: str) -> None:
    first, second = (artefacts(run(influence=planted, labels="20%", budget=25)) for _ in range(2))
    assert len(first) == 6
    assert first == second
    other = artefacts(run(influence=planted, labels="20%", budget=25, seed=1))
    assert (
        other["labels.npz"] != first["labels.npz"] and other["estimator.safetensors"] != first["estimator.safetensors"]
    )


def test_threads_do_not_change_the_choice(run: Run, planted: str) -> None:
    one, two = (artefacts(run(influence=planted, labels="20%", budget=25, threads=threads)) for threads in (1, 2))
    assert one == two


def test_every_pair_labelled_needs_no_estimator_and_is_exact(run: Run, corpus: Corpus, planted: str) -> None:
    picked = run(influence=planted, labels="all", objective="top-mean", budget=15)
    stored = read_npz(picked.folder / "labels.npz")
    assert stored["values"].shape == (corpus.m, corpus.n) and len(stored["y"]) == corpus.m * corpus.n
    order = np.argsort(-stored["values"].mean(axis=0, dtype=np.float64), kind="stable")[:15]
    assert [str(stored["pool_ids"][k]) for k in order] == list(picked.ids)
    assert not (picked.folder / "estimator.safetensors").exists() and picked.fidelity is None
    assert picked.costs["exact"] is None  # no language model, no call to save
    assert "picks_with_labels" not in picked.facts


def test_exact_labels_of_a_free_influence_equal_its_matrix(run: Run, tmp_path: Path, corpus: Corpus) -> None:
    nncift.label(corpus.pool, **corpus.options(influence="similarity", labels="all", output=tmp_path / "s.npz"))
    values = read_npz(tmp_path / "s.npz")["values"]
    vectors = {}
    for path in (corpus.pool, corpus.target):
        raw = np.load(path.with_suffix(".npy")).astype(np.float64)
        vectors[path.stem] = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    by_id = [np.argsort(_ids(path)) for path in (corpus.target, corpus.pool)]
    expected = vectors["target"][by_id[0]] @ vectors["pool"][by_id[1]].T
    np.testing.assert_allclose(values, expected, atol=1e-6)


def _ids(path: Path) -> list[str]:
    from nncift.data.files import load_pool

    return list(load_pool(str(path)).ids)


@pytest.mark.parametrize(("labels", "targets", "candidates"), [("u=20%", 2, 16), ("u=50%", 4, 40)])
def test_a_block_of_labels(run: Run, planted: str, labels: str, targets: int, candidates: int) -> None:
    picked = run(influence=planted, labels=labels, budget=20)
    stored = read_npz(picked.folder / "labels.npz")
    assert len(np.unique(stored["i"])) == targets and len(np.unique(stored["j"])) == candidates
    assert len(stored["y"]) == targets * candidates and "values" not in stored
    assert picked.fidelity is not None and picked.fidelity["design"] == "block"
    assert share_of_beta(texts(picked)) > 0.9


def test_hidden_layers_are_those_asked_for_and_another_layout_is_another_estimator(run: Run, planted: str) -> None:
    options = {"influence": planted, "labels": "30%", "budget": 20, "estimator": "network"}
    shallow, deep = run(**options), run(**options, hidden="12,5")
    weights = [picked.costs["estimator"]["weights"] for picked in (shallow, deep)]
    inputs = (weights[0] - 101) // 100  # with a bias for each unit
    assert weights[1] == inputs * 12 + 13 * 5 + 6
    again = reopen(deep.folder)
    assert again.resize(7).ids == deep.ids[:7]
    other = run(**options, hidden="none", output=str(deep.folder))
    assert other.costs["estimator"]["weights"] == inputs
    with pytest.raises(ConfigError, match=r"'gaussian-process' has no hidden layers"):
        run(influence=planted, hidden="100")
    with pytest.raises(ConfigError, match=r"--hidden is 'many'"):
        run(**options, hidden="many")


def test_auto_says_what_it_chose_and_a_run_is_read_again(run: Run, planted: str) -> None:
    picked = run(influence=planted, labels="15%", budget=20, estimator="auto")
    assert picked.fidelity is not None
    choice = picked.fidelity["choice"]
    assert choice["name"] in choice["explained"] and set(choice["explained"]) == {
        "means",
        "gaussian-process",
        "network",
    }
    assert choice["parts"] == 10 and choice["labels"] >= 100 and share_of_beta(texts(picked)) > 0.9
    assert reopen(picked.folder).resize(9).ids == picked.ids[:9]


def test_an_estimator_that_beats_nothing_is_a_note(run: Run, module: str, caplog: pytest.LogCaptureFixture) -> None:
    picked = run(influence="random", labels="15%", budget=20)
    assert picked.fidelity is None or "estimator" in picked.notes
    guess = run(influence=f"{module}:Planted", labels="60", budget=20, estimator="means")
    assert guess.fidelity is not None and guess.fidelity["verdict"] != "beats"
    assert guess.notes["estimator"] in caplog.text and "the estimator" in guess.notes["estimator"]


def test_a_pointwise_influence_through_the_estimator(run: Run, module: str, corpus: Corpus) -> None:
    picked = run(influence=f"{module}:Worth", budget=20, labels="75%")
    assert picked.objective == "top-mean"
    assert share_of_beta(texts(picked)) > 0.9
    assert picked.costs["stages"]["label"]["lm_forwards"] == 60
    exact = run(influence=f"{module}:Worth", budget=20, labels="all")
    assert share_of_beta(texts(exact)) == 1.0 and (np.diff(exact.gains) <= 0).all()
    with pytest.raises(ConfigError, match="gives each row one score"):
        run(influence=f"{module}:Worth", objective="facility-location")


def test_exact_labels_may_be_kept_or_left_out_at_selection(run: Run, planted: str) -> None:
    keep, predict = (run(influence=planted, labels="30%", budget=20, known=known) for known in ("keep", "predict"))
    assert artefacts(keep)["labels.npz"] == artefacts(predict)["labels.npz"]
    assert not np.array_equal(keep.gains, predict.gains)
    for picked in (keep, predict):
        assert 0 <= picked.facts["picks_with_labels"] <= 1 and 0 < picked.facts["rows_with_labels"] <= 1


@pytest.mark.parametrize("labels", ["all", "20%"])
def test_resizing_keeps_the_ranking(run: Run, planted: str, labels: str) -> None:
    picked = run(influence=planted, labels=labels, budget=20)
    before = artefacts(picked)
    assert picked.resize(5).ids == picked.ids[:5] and picked.resize(0.1).ids == picked.ids[:8]
    longer = picked.resize(33)
    assert longer.ids[:20] == picked.ids and len(set(longer.ids)) == 33
    assert longer.ids == run(influence=planted, labels=labels, budget=33).ids
    assert artefacts(picked) == before
    for wrong in (0, 81, 0.0):
        with pytest.raises(ConfigError, match="--budget"):
            picked.resize(wrong)


def test_a_resized_selection_tells_of_itself(run: Run, planted: str) -> None:
    longer = run(influence=planted, labels="20%", budget=5).resize(30)
    assert longer.summary()["rows"] == 30 and str(longer).startswith("30 of 80 rows")
    assert len(longer.rows) == len(longer.indices) == len(longer.gains) == len(longer.reasons) == 30


def test_a_model_that_knows_nothing_gives_no_gain_and_no_nan(run: Run, tmp_path: Path) -> None:
    model = save_model(tmp_path / "uniform", uniform=True)
    small = make_corpus(tmp_path / "small", n=12, m=5, beta=4)
    for labels, kernel in (("all", "difference"), ("60%", "difference"), ("all", "exponential")):
        options = small.options(influence="delift", model=str(model), labels=labels, budget=4, dtype="float32")
        picked = run(small.pool, **options, option=(f"kernel={kernel}",))
        assert picked.picks.positive == 0 and np.isfinite(picked.gains).all() and len(set(picked.ids)) == 4
        assert picked.notes["gains"].startswith("0 of 4 picks had a positive gain")
        values = read_npz(picked.folder / "labels.npz")["y"]
        np.testing.assert_allclose(values, 1.0 if kernel == "exponential" else 0.0, atol=1e-6)


def test_calls_of_the_language_model_are_counted(run: Run, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model")
    small = make_corpus(tmp_path / "small", n=12, m=5, beta=4)
    options = small.options(influence="delift", model=str(model), budget=4, dtype="float32")
    exact = run(small.pool, **options, labels="all")
    assert exact.costs["stages"]["label"]["lm_forwards"] == exact.costs["exact"]["lm_forwards"] == 5 + 5 * 12
    assert exact.costs["exact"]["share"] == 1.0
    some = run(small.pool, **options, labels=24)
    targets = len(np.unique(read_npz(some.folder / "labels.npz")["i"]))
    assert some.costs["total"]["lm_forwards"] == targets + 24
    assert some.costs["exact"]["share"] == pytest.approx((targets + 24) / 65)
    values = read_npz(exact.folder / "labels.npz")["values"]
    got = read_npz(some.folder / "labels.npz")
    np.testing.assert_allclose(got["y"], values[got["i"], got["j"]], atol=1e-5)


def test_rows_do_not_explain_themselves(run: Run, corpus: Corpus, planted: str, tmp_path: Path) -> None:
    lines = corpus.pool.read_text().splitlines()
    beta = [k for k, line in enumerate(lines) if "beta" in line][:7]
    target = tmp_path / "same.jsonl"
    target.write_text("".join(lines[k] + "\n" for k in beta))
    vectors = np.load(corpus.pool.with_suffix(".npy"))
    np.save(tmp_path / "same.npy", vectors[beta])
    embedder = f"{corpus.pool.with_suffix('.npy')},{tmp_path / 'same.npy'}"
    for labels, influence in (("all", planted), ("20%", planted), ("all", "similarity")):
        picked = run(target=str(target), embedder=embedder, influence=influence, labels=labels, budget=10)
        assert picked.notes["same-text"].startswith("7 pairs have a pool row with the text of a target row")
        assert share_of_beta(texts(picked)) >= 0.9
        if influence == "similarity":
            continue
        stored = read_npz(picked.folder / "labels.npz")
        helped, helping = stored["target_ids"][stored["i"]], stored["pool_ids"][stored["j"]]
        assert (helped != helping).all()
        if labels == "all":
            assert np.isnan(stored["values"]).sum() == 7 and len(stored["y"]) == 7 * 80 - 7


def test_the_pool_as_its_own_target(run: Run, planted: str, corpus: Corpus, tmp_path: Path) -> None:
    lines = corpus.pool.read_text().splitlines()
    doubled = tmp_path / "doubled.jsonl"
    doubled.write_text("".join(line + "\n" for line in [*lines, lines[3]]))
    vectors = np.load(corpus.pool.with_suffix(".npy"))
    np.save(tmp_path / "doubled.npy", np.vstack([vectors, vectors[3:4]]))
    picked = run(
        doubled, target=None, embedder=str(tmp_path / "doubled.npy"), influence=planted, labels="all", budget=8
    )
    assert picked.notes["same-text"].startswith("2 pairs have a pool row with the text of another pool row")
    stored = read_npz(picked.folder / "labels.npz")
    assert stored["values"].shape == (81, 81) and np.isnan(stored["values"]).sum() == 83
    assert 0 < share_of_beta(texts(picked)[:2]) < 1  # the first two cover either topic


def test_indices_count_rejected_rows(run: Run, corpus: Corpus, planted: str, tmp_path: Path) -> None:
    lines = corpus.pool.read_text().splitlines()
    spoilt = ["{not json", json.dumps({"prompt": "beta p", "completion": "  "}), *lines[:40], "[1, 2]", *lines[40:]]
    path = tmp_path / "spoilt.jsonl"
    path.write_text("".join(line + "\n" for line in spoilt))
    picked = run(path, influence=planted, labels="all", budget="25%")
    assert len(picked) == 20 and len(picked.pool) == 80
    assert picked.notes["rejected"].startswith("3 of 83 pool rows")
    rejected = [json.loads(line) for line in (picked.folder / "rejected.jsonl").read_text().splitlines()]
    assert [row["line"] for row in rejected] == [1, 2, 43] and all(row["reason"] for row in rejected)
    assert [json.loads(spoilt[k]) for k in picked.indices] == picked.rows
    assert picked.subset.read_text().splitlines() == [spoilt[k] for k in picked.indices]
    entries = [json.loads(line) for line in (picked.folder / "selection.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in entries] == picked.indices
    assert [entry["line"] - 1 for entry in entries] == picked.indices
    assert [entry["rank"] for entry in entries] == list(range(1, 21))
    assert tuple(entry["id"] for entry in entries) == picked.ids
    clean = run(influence=planted, labels="all", budget="25%")
    assert clean.ids == picked.ids


def _as_parquet(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return rows


def _as_csv(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _as_json(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    path.write_text(json.dumps(rows))
    return rows


@pytest.mark.parametrize(("suffix", "write"), [("parquet", _as_parquet), ("csv", _as_csv), ("json", _as_json)])
def test_the_subset_has_the_type_of_the_pool(
    run: Run, corpus: Corpus, tmp_path: Path, suffix: str, write: Callable[[list[dict[str, Any]], Path], Any]
) -> None:
    rows = [json.loads(line) for line in corpus.pool.read_text().splitlines()]
    write(rows, tmp_path / f"pool.{suffix}")
    expected = run(influence="similarity", budget=9)
    picked = run(tmp_path / f"pool.{suffix}", influence="similarity", budget=9)
    assert picked.subset.name == f"subset.{suffix}" and picked.ids == expected.ids
    again = run(picked.subset, embedder=None, influence="random", budget=9)
    assert sorted(again.ids) == sorted(expected.ids)
    assert [example.text for example in sorted(again.pool, key=lambda row: row.number)] == texts(expected)
    assert picked.rows == expected.rows


def test_rows_in_memory(corpus: Corpus, run: Run) -> None:
    rows = [json.loads(line) for line in corpus.pool.read_text().splitlines()]
    target = (json.loads(line) for line in corpus.target.read_text().splitlines())
    picked = run(rows, target=target, influence="similarity", budget=0.1)
    assert len(picked) == 8 and picked.ids == run(influence="similarity", budget="10%").ids
    assert [rows[k] for k in picked.indices] == picked.rows
    unnamed = nncift.select(rows, influence="random", budget=3)
    assert unnamed.folder.is_dir() and len(nncift.select(rows, influence="random", budget=3)) == 3


def test_a_large_target_is_sampled_and_said(run: Run, planted: str) -> None:
    chosen = []
    for seed in (0, 1):
        picked = run(influence=planted, labels="all", max_targets=4, budget=10, seed=seed)
        assert picked.notes["targets"].startswith("4 of 9 target rows are used")
        stored = read_npz(picked.folder / "labels.npz")
        assert stored["values"].shape == (4, 80)
        chosen.append(stored["target_ids"].tolist())
    assert chosen[0] != chosen[1]
    assert "targets" not in run(influence=planted, labels="all", max_targets=9, budget=10).notes


@pytest.mark.parametrize(
    ("trainer", "column"), [("trl", "messages"), ("sharegpt", "conversations"), ("alpaca", "output")]
)
def test_export(run: Run, tmp_path: Path, trainer: str, column: str) -> None:
    picked = run(influence="similarity", budget=6)
    path = picked.export(tmp_path / "out", trainer=trainer)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(written) == 6 and all(column in row for row in written)
    assert picked.examples[0].response in json.dumps(written[0])
    with pytest.raises(ConfigError, match="unknown trainer"):
        picked.export(tmp_path / "out", trainer="trll")


def test_the_receipt_is_complete(run: Run, planted: str) -> None:
    folder = run(influence=planted, labels="20%", budget=5).folder
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        ".nncift.lock", "recipe.yaml", "environment.json", "rejected.jsonl",
        "embeddings/rows.npy", "embeddings/columns.npy", "labels.npz",
        "estimator.safetensors", "fidelity.json", "picks.npz", "selection.jsonl", "subset.jsonl",
        "costs.json", "stages.json", "done.json",
    }  # fmt: skip
    for name in (name for name in names if name.endswith(".json")):
        json.loads((folder / name).read_text())


def test_a_moved_pool_is_missed(run: Run, corpus: Corpus, tmp_path: Path) -> None:
    moved = tmp_path / "pool.jsonl"
    shutil.copy(corpus.pool, moved)
    run(moved, influence="random", budget=3)
    moved.unlink()
    with pytest.raises(DataError, match="there is no pool file"):
        run(moved, influence="random", budget=3)


def test_text_of_any_kind_survives(run: Run, tmp_path: Path, planted: str) -> None:
    odd = [
        "nul \x00 in it",
        "line\u2028separator",
        "<s>[INST] </s>",
        "{{ template }}",
        "emoji 🦆",
    ]
    path = write_rows(tmp_path / "odd.jsonl", [{"prompt": f"beta {text}", "completion": text} for text in odd])
    picked = run(path, embedder=None, influence=planted, labels="all", budget=5)
    assert sorted(row["completion"] for row in picked.rows) == sorted(odd)
    assert sorted(picked.subset.read_bytes().split(b"\n")) == sorted(path.read_bytes().split(b"\n"))
