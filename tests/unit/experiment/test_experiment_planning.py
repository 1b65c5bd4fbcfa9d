"""A plan says what the records say afterwards, and needs no rows where their number is stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nncift.errors import ConfigError
from nncift.experiment import counting
from nncift.experiment.planning import plan_experiment
from toy_evaluation import POOL, TARGET, TEST
from toy_experiment import ToyExperiment, all_records

TEACHERS = {
    "delift": {"influence": "delift"},
    "less": {"influence": "less", "option": {"epochs": 2, "rank": 2}},
    "selectit": {"influence": "selectit"},
    "similarity": {"influence": "similarity"},
}
WAYS = {
    "exact": {"labels": "all"},
    "block": {"labels": "u=40%", "estimator": "means"},
    "stripes": {"labels": "20", "estimator": "means"},
    "spread": {"labels": "35%", "design": "spread", "estimator": "means"},
}


def test_labels_and_calls_are_those_of_the_finished_cells(
    experiment: ToyExperiment, tmp_path: Path, tables: list[Path]
) -> None:
    changes = experiment.first(1, influence=TEACHERS, how=WAYS, v={"8": {"budget": 8}}) | {"without": []}
    changes["steps"][0]["alone"] = True  # what others left in the cache would not be counted
    recipe = experiment.recipe(**changes)
    planned = {one.cell: one for one in plan_experiment(recipe, root=experiment.toy.folder).cells}
    outcome = experiment.run(tmp_path / "out", **changes)
    assert outcome.failed == {}
    records = all_records(tmp_path / "out")
    for name, one in planned.items():
        record = records[name]
        stages = record.result["costs"]["stages"]
        assert one.labels == record.result["labels"], name
        label = stages.get("label", {"lm_forwards": 0, "lm_backwards": 0})
        assert (one.lm_forwards, one.lm_backwards) == (label["lm_forwards"], label["lm_backwards"]), name
        assert one.budget == record.result["rows"] == 8
        assert one.rows == {"pool": POOL, "target": TARGET}
    again = plan_experiment(recipe, root=experiment.toy.folder, folder=tmp_path / "out")
    assert [one.recorded for one in again.cells] == [records[one.cell].done for one in again.cells]
    assert again.total == plan_experiment(recipe, root=experiment.toy.folder).total


def test_stated_rows_give_the_plan_of_real_ones(
    experiment: ToyExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"words": experiment.body["data"]["words"] | {"expect": {"pool": POOL, "target": TARGET, "test": TEST}}}
    changes = experiment.first(2, influence=TEACHERS | {"random": {"influence": "random"}}, how=WAYS) | {"without": []}
    real = plan_experiment(experiment.recipe(**changes), root=experiment.toy.folder)
    stated = plan_experiment(experiment.recipe(**changes, data=data), root=tmp_path)
    assert stated.stated == ("words",) and real.stated == ()
    assert stated.cells == real.cells and stated.total == real.total
    monkeypatch.setattr(counting, "_MANY", 1)  # as if there were too many pairs to draw them
    huge = plan_experiment(experiment.recipe(**changes, data=data), root=tmp_path)
    for one, other in zip(huge.cells, real.cells, strict=True):
        if "exact" in one.cell or "block" in one.cell:
            assert (one.labels, one.lm_forwards, one.lm_backwards) == (
                other.labels,
                other.lm_forwards,
                other.lm_backwards,
            )
    with pytest.raises(ConfigError, match=r"expect: \{pool: 15000\}"):
        plan_experiment(experiment.recipe(**changes), root=tmp_path)


def test_operations_and_hours_by_hand(experiment: ToyExperiment) -> None:
    found = plan_experiment(experiment.recipe(), root=experiment.toy.folder)
    cells = {one.cell: one for one in found.cells}
    weights, tokens, rate = 2e4, 40, 1e9
    delift = cells["select/words.toy.delift.exact.20"]
    pairs = POOL * TARGET
    assert (delift.labels, delift.lm_forwards, delift.texts) == (pairs, pairs + TARGET, POOL + TARGET)
    assert delift.flops == 2 * weights * tokens * (pairs + TARGET) and delift.seconds == delift.flops / rate
    other = cells["select/words.toy.delift.exact.8"]
    assert other.flops == delift.flops and other.shares == delift.cell and delift.shares is None
    evaluate = cells["evaluate/words.toy.8"]
    shown = TEST * (3 + 1 + 2)  # three subsets, the model as it is, two random draws
    assert (evaluate.scored, evaluate.trainings, evaluate.lessons) == (shown, 0, 0)
    assert evaluate.flops == 2 * weights * tokens * (2 + 1) * shown
    few = cells["select/words.toy.delift.few.8"]
    assert (few.labels, few.lm_forwards) == (40, 40 + TARGET)
    once = [one for one in found.cells if one.shares is None]
    assert found.total["flops"] == sum(one.flops or 0 for one in once)  # labels that are shared are paid for once
    assert found.total["labels"] == pairs + 40 + pairs + POOL  # and of the free ones those that are asked for
    assert found.total["gpu_hours"] == pytest.approx(2 * found.total["flops"] / rate / 3600)
    assert found.lines()[-1].startswith("Total: 13 cells, ") and "GPU-hours" in found.lines()[-1]


def test_training_counts_a_forward_and_a_backward(experiment: ToyExperiment) -> None:
    changes: dict[str, Any] = experiment.first(2)
    options = {"by": "lora", "metrics": "loss,rouge", "controls": "random,full", "epochs": 3, "seeds": 2, "draws": 5}
    changes["steps"][1]["options"] |= options
    found = plan_experiment(experiment.recipe(**changes), root=experiment.toy.folder, text="evaluate/words.toy.8")
    one = found.cells[-1]
    trainings = [8] * 2 * 3 + [8] * 5 + [POOL] * 2  # two seeds of three subsets, random draws once each, the whole pool
    assert (one.trainings, one.lessons) == (len(trainings), 3 * sum(trainings))
    assert one.scored == one.answered == TEST * len(trainings)
    tokens = 40 * (3 * one.lessons + 2 * one.scored) + 4 * one.answered
    assert one.flops == 2 * 2e4 * tokens


def test_what_is_not_stated_is_said(experiment: ToyExperiment) -> None:
    changes = experiment.first(1)
    del changes["axes"]["model"]["toy"]["weights"]
    found = plan_experiment(experiment.recipe(**changes), root=experiment.toy.folder)
    assert [one.flops for one in found.cells].count(None) == 4
    assert found.total["unknown"] == 2 and "operations of 2 cells" in found.lines()[-1]
