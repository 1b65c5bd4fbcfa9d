"""`nncift fidelity`: every figure follows from the written predictions, and what is judged was never shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import nncift
from nncift.data.arrays import read_npz, write_npz
from nncift.errors import ConfigError, DataError
from nncift.estimator.budget import AskedDesign, parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.estimator.schedule import Schedule
from nncift.rehearsal.gains import Yardstick
from nncift.rehearsal.matrix import read_matrix
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.records import BASELINE, Record
from nncift.rehearsal.rehearse import rehearse
from nncift.rehearsal.table import shown
from nncift.rehearsal.trials import draw_trials
from nncift.seeds import generator
from toy_rehearsal import Known, M, N, brute_spearman, make_known, make_pointwise
from toy_road import save_model

PLAIN = ("mse", "r2", "spearman", "row_spearman", "candidate_spearman", "top30_overlap")
CHEAP = "means,gaussian-process"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Known:
    return make_known(tmp_path_factory.mktemp("known"), shuffle=3)


def judge(known: Known, **more: Any) -> list[Record]:
    options = {"labels": "20%", "repeats": 2, "estimator": "means"} | more
    return rehearse(FidelityConfig.of(known.options(**options)))


def rows_of(records: list[Record], candidates: str = "all") -> dict[tuple[str, str], Record]:
    return {(one["design"], one["estimator"]): one for one in records if one["candidates"] == candidates}


def without_seconds(records: list[Record]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "seconds"} for one in records]


def brute(known: Known, written: dict[str, np.ndarray], apart: np.ndarray) -> dict[str, float]:
    """Every plain figure over the candidates of a mask, from its definition."""
    exact, predicted = known.values.astype(float), written["predicted"].astype(float)
    labelled = written["labelled"]
    mean = exact[labelled].mean()
    open_ = np.isfinite(exact) & ~labelled & apart
    y, p = exact[open_], predicted[open_]
    rows = [brute_spearman(exact[i][open_[i]], predicted[i][open_[i]]) for i in range(len(exact))]
    there = np.isfinite(exact)
    which = np.flatnonzero(apart)
    true, guess = (np.array([np.mean(values[there[:, j], j]) for j in which]) for values in (exact, predicted))
    k = int(np.floor(0.3 * len(which)))
    among = [
        np.array([np.clip((k - (side > v).sum()) / (side == v).sum(), 0, 1) for v in side]) for side in (true, guess)
    ]  # the chance to be among the k best where ties are broken at random: candidates without labels tie in `means`
    return {
        "mse": ((y - p) ** 2).mean(),
        "r2": 1 - ((y - p) ** 2).sum() / ((y - mean) ** 2).sum(),
        "spearman": brute_spearman(y, p),
        "row_spearman": float(np.mean(rows)),
        "candidate_spearman": brute_spearman(true, guess),
        "top30_overlap": float((among[0] * among[1]).sum()) / k,
    }


def test_every_figure_can_be_recomputed_from_the_predictions(known: Known, tmp_path: Path) -> None:
    records = judge(known, estimator=CHEAP, design="all", unseen="50%", predictions=str(tmp_path / "out"))
    designs, estimators = get_args(AskedDesign), CHEAP.split(",")
    combinations = [
        (design, name) for design in designs for name in estimators if (design, name) != ("adaptive", "means")
    ]
    expected = [*combinations, ("-", "predict the mean")]
    for candidates in ("all", "unseen"):
        assert list(rows_of(records, candidates)) == expected
    assert len(records) == 2 * len(expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{design}-{name}-{repeat}.npz" for design, name in combinations for repeat in range(2)
    )
    yardstick = Yardstick.of(read_matrix(known.folder / "labels.npz"), seed=0)
    places = [np.argsort(ids) for ids in (known.target_ids, known.pool_ids)]
    for design, name in combinations:
        files = [read_npz(tmp_path / "out" / f"{design}-{name}-{repeat}.npz") for repeat in range(2)]
        for written in files:
            assert written["predicted"].dtype == np.float32 and written["predicted"].shape == (M, N)
            assert written["target_ids"].tolist() == known.target_ids
            assert written["pool_ids"].tolist() == known.pool_ids
            assert not written["labelled"][~np.isfinite(known.values)].any()
            assert not written["labelled"][:, written["unseen"]].any() and written["unseen"].sum() == N // 2
        for candidates in ("all", "unseen"):
            record = rows_of(records, candidates)[design, name]
            masks = [written["unseen"] if candidates == "unseen" else np.ones(N, bool) for written in files]
            found = [brute(known, written, mask) for written, mask in zip(files, masks, strict=True)]
            for figure in PLAIN:
                values = [one[figure] for one in found]
                assert record[figure]["mean"] == pytest.approx(np.mean(values), rel=1e-4, abs=1e-6), figure
                assert record[figure]["se"] == pytest.approx(np.std(values, ddof=1) / 2**0.5, rel=1e-3, abs=1e-6)
            assert record["labels"] == round(np.mean([written["labelled"].sum() for written in files]))
        gains = [yardstick.gains(written["predicted"][np.ix_(*places)]) for written in files]
        gain = rows_of(records)[design, name]["objective_gain"]
        assert gain == {
            budget: {"mean": pytest.approx(np.mean([one[budget] for one in gains])), "se": pytest.approx(
                np.std([one[budget] for one in gains], ddof=1) / 2**0.5)}
            for budget in ("1%", "5%", "10%", "30%")
        }  # fmt: skip
        assert rows_of(records, "unseen")[design, name]["objective_gain"] is None
        assert rows_of(records)[design, name]["seconds"]["mean"] > 0


def test_auto_labels_in_rounds_as_select_does(tmp_path: Path) -> None:
    known = make_known(tmp_path / "known", m=24, n=60)
    records = judge(known, labels="auto", estimator=CHEAP, design="stripes,adaptive", predictions=str(tmp_path / "out"))
    found = rows_of(records)
    assert set(found) == {
        *(("stripes", name) for name in CHEAP.split(",")),
        ("adaptive", "gaussian-process"),
        BASELINE[:2],
    }
    schedule = Schedule.auto(24, 60)
    assert schedule is not None
    for (design, name), record in found.items():
        if name == BASELINE[1]:
            assert record["learning"] is None
            continue
        curves = record["learning"]
        assert curves is not None and len(curves) == 2
        for repeat, curve in enumerate(curves):
            written = read_npz(tmp_path / "out" / f"{design}-{name}-{repeat}.npz")
            assert written["labelled"].sum() == curve[-1]["labels"] <= schedule.most
            assert curve[0]["labels"] == schedule.first and len(curve) >= 3
            assert all(0 <= point["jaccard"] <= 1 and -1 <= point["likeness"] <= 1 for point in curve[1:])
        assert record["labels"] == round(np.mean([curve[-1]["labels"] for curve in curves]))
    assert found["stripes", "gaussian-process"]["default"] and not found["adaptive", "gaussian-process"]["default"]
    first = [
        read_npz(tmp_path / "out" / f"{design}-gaussian-process-0.npz")["labelled"]
        for design in ("stripes", "adaptive")
    ]
    assert (first[0] & first[1]).sum() >= schedule.first and not np.array_equal(*first)
    table = "\n".join(shown(records, FidelityConfig.of(known.options(labels="auto", repeats=2))))
    assert "adaptive, gaussian-process: " in table and "rounds on average" in table


def test_rounds_leave_withheld_candidates_alone(tmp_path: Path) -> None:
    known = make_known(tmp_path / "known", m=24, n=60)
    for design in ("stripes", "adaptive"):
        options = {"labels": "25%", "design": design, "estimator": "gaussian-process", "unseen": "50%", "repeats": 1}
        judge(known, **options, predictions=str(tmp_path / "out"))
        written = read_npz(tmp_path / "out" / f"{design}-gaussian-process-0.npz")
        assert written["labelled"].sum() == 360 and written["unseen"].sum() == 30
        assert not written["labelled"][:, written["unseen"]].any()
        assert not written["labelled"][~np.isfinite(known.values)].any()


@pytest.mark.parametrize("labels", ["500calls", "10min"])
def test_a_matrix_does_not_know_what_its_influences_cost(known: Known, labels: str) -> None:
    with pytest.raises(ConfigError, match="take an influence whose price is known"):
        judge(known, labels=labels)


def test_all_designs_of_a_repeat_withhold_the_same_candidates(known: Known, tmp_path: Path) -> None:
    judge(known, design="block,stripes,spread,cross", unseen="40%", predictions=str(tmp_path))
    for repeat in range(2):
        unseen = [read_npz(path)["unseen"] for path in sorted(tmp_path.glob(f"*-{repeat}.npz"))]
        assert len(unseen) == 4 and all(np.array_equal(one, unseen[0]) for one in unseen)
    assert not np.array_equal(*(read_npz(tmp_path / f"block-means-{repeat}.npz")["unseen"] for repeat in range(2)))


def test_predicting_the_mean_is_the_zero_of_the_scale(known: Known) -> None:
    records = judge(known, unseen="30%", estimator="gaussian-process")
    for candidates in ("all", "unseen"):
        found = rows_of(records, candidates)["-", "predict the mean"]
        assert found["r2"]["mean"] == pytest.approx(0, abs=1e-6)
        assert found["spearman"]["mean"] == found["row_spearman"]["mean"] == found["candidate_spearman"]["mean"] == 0
        assert found["top30_overlap"]["mean"] == pytest.approx(9 / 30 if candidates == "all" else 2 / 9)
        assert found["seconds"] is None and not found["default"]
    gain = rows_of(records)["-", "predict the mean"]["objective_gain"]
    assert [one["mean"] for one in gain.values()] == [0] * 4
    assert rows_of(records)["stripes", "gaussian-process"]["r2"]["mean"] > 0.2


def test_the_default_row_is_what_select_would_take(known: Known, tmp_path: Path) -> None:
    told = rehearse(FidelityConfig.of(known.options(repeats=1, labels="20%", predictions=str(tmp_path))))
    first, last = told
    assert (first["design"], first["estimator"], first["default"]) == ("stripes", "gaussian-process", True)
    assert (last["design"], last["default"]) == ("-", False)
    assert first["mse"]["se"] is None and first["objective_gain"]["5%"]["se"] is None
    assert first["labels"] == round(0.2 * M * N)
    block = judge(known, labels="u=50%", estimator=CHEAP, repeats=1)
    assert [one["default"] for one in block] == [False, True, False] and block[0]["design"] == "block"
    named = judge(known, design="block,stripes", estimator=CHEAP, repeats=1)
    assert named[-1]["labels"] == rows_of(named)["stripes", "means"]["labels"] != named[0]["labels"]
    assert [(one["design"], one["estimator"]) for one in named if one["default"]] == [("stripes", "gaussian-process")]


def test_repeat_r_draws_as_select_does_with_the_seed_plus_r(known: Known) -> None:
    matrix = read_matrix(known.folder / "labels.npz")
    config = FidelityConfig.of(known.options(seed=4, repeats=3, labels="15%"))
    for repeat, trial in enumerate(draw_trials(config, matrix)):
        i, j = pairs_to_label(
            parse_labels("15%"), M, N, masked=matrix.masked, rng=generator(4 + repeat, "labels"), priced="pair"
        )
        assert np.array_equal(trial.labels.i, i) and np.array_equal(trial.labels.j, j)
        assert np.array_equal(trial.labels.y, matrix.values[i, j]) and trial.seed == 4 + repeat
        assert len(trial.unseen) == 0


def test_the_order_of_the_files_changes_nothing(known: Known, tmp_path: Path) -> None:
    other = make_known(tmp_path, shuffle=11)
    assert other.pool_ids != known.pool_ids
    options = {"estimator": CHEAP, "unseen": "50%", "labels": "30%"}
    assert without_seconds(judge(known, **options)) == without_seconds(judge(other, **options))


def test_rows_beside_those_of_the_matrix_do_not_matter(known: Known, tmp_path: Path) -> None:
    arrays = read_npz(known.folder / "labels.npz")
    write_npz(
        tmp_path / "part.npz",
        {
            "values": arrays["values"][2:, 5:],
            "target_ids": arrays["target_ids"][2:],
            "pool_ids": arrays["pool_ids"][5:],
        },
    )
    found = judge(known, matrix=str(tmp_path / "part.npz"), predictions=str(tmp_path / "out"), repeats=1)
    assert found[0]["labels"] == round(0.2 * (M - 2) * (N - 5))
    assert read_npz(tmp_path / "out" / "stripes-means-0.npz")["pool_ids"].tolist() == known.pool_ids[5:]


def test_the_pool_can_be_its_own_target(known: Known, tmp_path: Path) -> None:
    ids = np.array(known.pool_ids)
    values = np.random.default_rng(0).normal(size=(7, N)).astype(np.float32)
    write_npz(tmp_path / "own.npz", {"values": values, "target_ids": ids[4:11], "pool_ids": ids})
    options = known.options(matrix=str(tmp_path / "own.npz"), estimator="means,gaussian-process", repeats=1)
    del options["target"]
    found = rehearse(FidelityConfig.of(options | {"embedder": known.embedder.split(",")[0], "labels": "40%"}))
    assert len(found) == 3 and found[0]["row_spearman"] is not None


def test_a_pointwise_influence(tmp_path: Path) -> None:
    known = make_pointwise(tmp_path / "known")
    options = {"estimator": "gaussian-process,means", "labels": "50%", "unseen": "20%", "repeats": 1}
    options = known.options(**options, predictions=str(tmp_path / "out"), design="cross") | {
        "embedder": known.embedder.split(",")[0]
    }
    del options["target"]
    records = rehearse(FidelityConfig.of(options))
    assert {one["design"] for one in records} == {"pointwise", "-"}
    found = rows_of(records)["pointwise", "gaussian-process"]
    assert found["default"] and found["labels"] == 15
    assert found["row_spearman"] is None and found["objective_gain"] is None
    written = read_npz(tmp_path / "out" / "pointwise-gaussian-process-0.npz")
    assert written["predicted"].shape == (1, N) and written["target_ids"].shape == (0,)
    expected = brute(known, written, np.ones(N, bool))
    for name in ("mse", "r2", "spearman", "candidate_spearman", "top30_overlap"):
        assert found[name]["mean"] == pytest.approx(expected[name], rel=1e-4), name
    assert rows_of(records, "unseen")["pointwise", "gaussian-process"]["mse"] is not None


def test_with_every_pair_labelled_no_pair_is_left_to_judge(known: Known) -> None:
    (found, _) = judge(known, labels="all", repeats=1)
    assert found["design"] == "all" and found["labels"] == np.isfinite(known.values).sum()
    assert found["mse"] is None and found["row_spearman"] is None
    assert found["candidate_spearman"] is not None


@dataclass(frozen=True)
class Oracle:
    """Predicts the labels that it was given, and zero elsewhere: what a leak would look like."""

    def fit(self, labels: Any, target: Any, pool: Any, *, seed: int) -> Any:
        from nncift.kernel.lowrank import LowRankKernel

        dense = labels.dense(0.0)

        class Fitted:
            def kernel(self, target: Any, pool: Any) -> Any:
                m, n = len(target), len(pool)
                values = dense[:m, :n]
                return LowRankKernel(0.0, np.zeros(m), np.zeros(n), np.eye(m, dtype=np.float32), values.T.copy())

        return Fitted()


def test_what_was_shown_is_not_judged(known: Known) -> None:
    name = f"{__name__}:Oracle"
    found = rows_of(judge(known, estimator=name, labels="60%"))["stripes", name]
    assert found["spearman"]["mean"] == 0 and found["row_spearman"]["mean"] == 0
    assert found["candidate_spearman"]["mean"] > 0.5  # of means, over all pairs, as predicted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": "1"}, "--labels 1 is 1 exact influence; it takes 2"),
        ({"labels": "5"}, None),
        ({"labels": "half"}, "labels is 'half', which cannot be read"),
        ({"repeats": 0}, "--repeats is 0; it must be at least 1"),
        ({"estimator": "gausian-process"}, "--estimator names 'gausian-process'. Did you mean 'gaussian-process'?"),
        ({"design": "strips"}, "--design names 'strips'. Did you mean 'stripes'?"),
        ({"design": ""}, "--design is empty"),
        ({"unseen": "half"}, "--unseen is 'half'; it must be a percentage below 100"),
        ({"unseen": "100%"}, "it must be a percentage below 100"),
        ({"unseen": "99%"}, "leaves none to label"),
        ({"features": "states"}, "--features states are those of a language model: add --model"),
        ({"features": "statse"}, "Did you mean 'states'?"),
        ({"modle": "x"}, "unknown option 'modle'. Did you mean 'model'?"),
    ],
)
def test_what_cannot_work_is_told(known: Known, change: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert judge(known, **change, repeats=1)[0]["labels"] == 5
        return
    with pytest.raises(ConfigError) as told:
        judge(known, **change)
    assert words in str(told.value)


def test_files_of_other_rows_are_told(known: Known, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"30 of the 30 `pool_ids` .* --pool FILE"):
        judge(known, pool=str(known.folder / "target.jsonl"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made a folder"):
        judge(known, predictions=str(tmp_path / "file"))


def test_python_takes_rows_in_memory(known: Known) -> None:
    options = known.options(repeats=1, estimator="means", labels="20%")
    lines = Path(options.pop("pool")).read_text(encoding="utf-8").splitlines()
    found = nncift.fidelity(options.pop("matrix"), pool=map(json.loads, lines), **options)
    assert without_seconds(found) == without_seconds(judge(known, repeats=1))


def test_with_a_language_model_its_states_are_read_in_place_of_embeddings(known: Known, tmp_path: Path) -> None:
    model = str(save_model(tmp_path / "model"))
    rng = np.random.default_rng(0)
    for name, count in (("pool", N), ("target", M)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(count, 3)))
    noise = ",".join(str(tmp_path / f"{name}.npy") for name in ("pool", "target"))
    both = {"estimator": "gaussian-process,paper", "labels": "30%", "repeats": 1}
    found = {
        name: [one["mse"]["mean"] for one in judge(known, **both, **options)]
        for name, options in {
            "embedding": {},
            "ignored": {"model": model, "features": "embedding"},
            "states": {"model": model},
            "states, noise": {"model": model, "features": "states", "embedder": noise},
        }.items()
    }
    process, paper, mean = zip(*found.values(), strict=True)
    assert process[0] == process[1] != process[2] == process[3]
    assert paper[0] == paper[1] == paper[2] != paper[3]
    assert len(set(mean)) == 1
