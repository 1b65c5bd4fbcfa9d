"""An experiment is killed and goes on, loses its runs and goes on from its records, and outlives what fails in it."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nncift.config import SelectConfig
from nncift.errors import DataError, RunError
from nncift.evaluation import bench
from nncift.experiment import running, sharing
from nncift.experiment.grid import make_grid
from nncift.pipeline import labelling
from nncift.run import LOCK
from toy_evaluation import TARGET, toy_rows
from toy_experiment import ToyExperiment, all_records, told


class Killed(BaseException):
    """Nothing on the way catches it."""


pytestmark = pytest.mark.usefixtures("tables")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The places of all that is done from now on."""
    real, seen = running.do, []

    def noting(config: Any, *given: Any, **named: Any) -> Any:
        seen.append(getattr(config, "output", None) or config.matrix)
        return real(config, *given, **named)

    monkeypatch.setattr(running, "do", noting)
    return seen


def test_a_killed_experiment_does_only_the_rest(
    experiment: ToyExperiment, tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch, tables: list[Path]
) -> None:
    whole = experiment.run(tmp_path / "whole")
    total = len(make_grid(experiment.recipe()))
    assert whole.failed == {} and whole.whole and whole.cells == total == len(done) == len(whole.done)
    assert tables == [tmp_path / "whole"] and whole.tables
    monkeypatch.setenv("NNCIFT_CACHE", str(tmp_path / "cache"))  # what is kept there would not be counted
    real = running.do
    for lives in (3, 2):
        left = [lives]

        def dying(*given: Any, left: list[int] = left, **named: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(*given, **named)

        monkeypatch.setattr(running, "do", dying)
        with pytest.raises(Killed):
            experiment.run(tmp_path / "cut")
    assert len(all_records(tmp_path / "cut")) == 5
    monkeypatch.setattr(running, "do", real)
    done.clear()
    rest = experiment.run(tmp_path / "cut")
    assert len(rest.kept) == 5 and len(rest.done) == len(done) == total - 5
    one, two = all_records(tmp_path / "whole"), all_records(tmp_path / "cut")
    assert {name: told(record) for name, record in one.items()} == {name: told(record) for name, record in two.items()}
    done.clear()
    again = experiment.run(tmp_path / "cut")
    assert (
        not done
        and len(again.kept) == total
        and again.lines()[-1].startswith(f"{total} of {total} cells ({total} from")
    )


def test_records_hold_results_and_no_row(experiment: ToyExperiment, tmp_path: Path) -> None:
    experiment.body["steps"][1]["options"] |= {"by": "icl,lora", "metrics": "loss,rouge"}
    experiment.run(tmp_path / "out")
    records = all_records(tmp_path / "out")
    select = records["select/words.toy.delift.few.20"]
    assert select.axes == {"data": "words", "model": "toy", "influence": "delift", "how": "few", "v": "20%"}
    assert select.done and select.error is None and select.seconds > 0
    assert select.result["rows"] == 6 and select.result["costs"]["stages"]["label"]["lm_forwards"] > 40
    assert select.result["fidelity"] is not None and len(select.result["ids_hash"]) == 64
    evaluate = records["evaluate/words.toy.20"]
    subjects = evaluate.result["subjects"]
    assert subjects["words.toy.delift.few.20"] == select.axes and len(subjects) == 4
    assert {record["subset"] for record in evaluate.result["records"]} == {*subjects, "initial", "random"}
    assert {cost["subset"] for cost in evaluate.result["costs"]} == {*subjects}
    label = records["label/words.toy.delift"]
    assert label.result["labels"] == 31 * TARGET
    (fidelity,) = (record for record in records.values() if record.verb == "fidelity")
    assert fidelity.result["records"][0]["mse"]["mean"] >= 0
    text = "".join(path.read_text() for path in (tmp_path / "out" / "cells").rglob("*.json"))
    assert str(tmp_path) not in text
    for row in (*toy_rows("pool", 31), *toy_rows("target", TARGET)):
        assert row["id"] not in text and row["prompt"] not in text
    head = json.loads((tmp_path / "out" / "environment.json").read_text())
    assert head["nncift"] and "earlier" not in head
    assert str(experiment.toy.folder / "pool.jsonl") not in (tmp_path / "out" / "experiment.yaml").read_text()


def test_a_cell_that_fails_is_contained(experiment: ToyExperiment, tmp_path: Path, done: list[str]) -> None:
    changes = experiment.first(2, v={"20%": {"budget": "20%"}, "8": {"budget": 8}, "900": {"budget": 900}})
    found = experiment.run(tmp_path / "out", **changes)
    failed = [
        f"select/words.toy.{way}.900" for way in ("delift.exact", "delift.few", "similarity.exact", "random.exact")
    ]
    assert not found.whole and [*found.failed] == failed and found.skipped == ["evaluate/words.toy.900"]
    assert len(found.done) == found.cells - 5
    records = all_records(tmp_path / "out")
    record = records[failed[0]]
    assert record.status == "failed" and "900 rows" in (record.error or "") and record.result == {}
    assert found.skipped[0] not in records
    lines = found.lines()
    assert lines[0].startswith(f"failed: {failed[0]}: ") and any(found.skipped[0] in line for line in lines)
    done.clear()
    again = experiment.run(tmp_path / "out", **changes)
    assert (
        len(done) == 4 and [*again.failed] == failed and len(again.kept) == found.cells - 5
    )  # failures are tried again


def test_what_nobody_foresaw_is_contained_too(
    experiment: ToyExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any, **named: Any) -> Any:
        raise ZeroDivisionError("in a teacher")

    monkeypatch.setattr(labelling.Teacher, "_start", broken)
    found = experiment.run(tmp_path / "out", **experiment.first(1))
    assert len(found.failed) == 4 and all("delift" in name for name in found.failed) and found.done
    why = found.failed["select/words.toy.delift.exact.20"]
    assert why.startswith("ZeroDivisionError: in a teacher")
    trace = (tmp_path / "out" / "failures" / "select" / "words.toy.delift.exact.20.txt").read_text()
    assert "in broken" in trace


def test_a_result_that_no_record_can_hold_is_a_failure_of_its_cell(
    experiment: ToyExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = running.do

    def odd(config: Any, *rest: Any, **named: Any) -> Any:
        found = real(config, *rest, **named)
        return found | {"notes": {"x": float("nan")}} if "random" in str(config.influence) else found

    monkeypatch.setattr(running, "do", odd)
    found = experiment.run(tmp_path / "out", **experiment.first(1))
    assert found.done and found.failed and all("random" in name for name in found.failed)
    assert all("JSON" in why for why in found.failed.values())


def test_what_labels_depend_on_is_told_of_influences_whose_traits_follow_from_options() -> None:
    def key(**options: Any) -> str:
        named = {"pool": "p.jsonl", "influence": "recorded", "option": {"matrix": "m.npz", **options}, "labels": "all"}
        return sharing.label_key(SelectConfig.of(named), {"pool": "1"})

    assert key() != key(each="row")


def test_committed_records_are_continued_from(
    experiment: ToyExperiment, tmp_path: Path, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.run(tmp_path / "out")
    before = all_records(tmp_path / "out")
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "out" / "cells", moved / "cells")
    shutil.copyfile(tmp_path / "out" / "experiment.yaml", moved / "experiment.yaml")
    done.clear()
    kept = experiment.run(moved)
    assert not done and len(kept.kept) == kept.cells and not (moved / "select").exists()
    (moved / "cells" / "evaluate" / "words.toy.8.json").unlink()
    (moved / "cells" / "fidelity" / "words.toy.delift.u=30.json").unlink()
    monkeypatch.setenv("NNCIFT_CACHE", str(tmp_path / "cache"))
    again = experiment.run(moved)
    assert sorted(again.done) == ["evaluate/words.toy.8", "fidelity/words.toy.delift.u=30"]
    made = {Path(place).relative_to(moved).as_posix() for place in done}  # what these two read, and nothing else
    compared = {f"select/words.toy.{way}.8" for way in ("delift.exact", "delift.few", "random.exact")}
    assert made == {*compared, "evaluate/words.toy.8", "label/words.toy.delift.npz"}  # the last by both
    assert {name: told(record) for name, record in all_records(moved).items()} == {
        name: told(record) for name, record in before.items()
    }


def test_other_rows_options_or_results_are_done_again(experiment: ToyExperiment, tmp_path: Path) -> None:
    changes = experiment.first(2)
    experiment.run(tmp_path / "out", **changes)
    changes["steps"][1]["options"]["shots"] = 1
    assert len(experiment.run(tmp_path / "out", **changes).done) == 2  # the evaluations alone
    changes["axes"]["influence"]["random"]["seed"] = 5
    found = experiment.run(tmp_path / "out", **changes)
    random = [f"select/words.toy.random.exact.{v}" for v in ("20", "8")]
    assert found.done == [*random, "evaluate/words.toy.20", "evaluate/words.toy.8"]  # they compare other rows now
    rows = toy_rows("target", TARGET)
    experiment.toy.write("target.jsonl", [*rows[:-1], rows[-1] | {"completion": "another"}])
    assert not experiment.run(tmp_path / "out", **changes).kept


def test_siblings_share_labels_and_trainings(
    experiment: ToyExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    real, measure = labelling.Teacher._start, bench.Bench._measure
    monkeypatch.setattr(labelling.Teacher, "_start", lambda self, journal: (started.append(1), real(self, journal))[1])
    measured: list[str] = []

    def noting(self: Any, trial: Any, key: str, **named: Any) -> None:
        measured.append(key)
        measure(self, trial, key, **named)

    monkeypatch.setattr(bench.Bench, "_measure", noting)
    experiment.run(tmp_path / "out")
    assert len(started) == 2 + 2  # delift exact and few, of two budgets each; labels of the two others, which are free
    assert len(measured) == len(set(measured))  # the model as it is was measured for one budget and lent to the other
    records = all_records(tmp_path / "out")
    costs = [records[f"select/words.toy.delift.exact.{v}"].result["costs"]["stages"]["label"] for v in ("20", "8")]
    assert costs[0] == costs[1] and costs[0]["lm_forwards"] == 31 * TARGET + TARGET
    assert records["label/words.toy.delift"].result["labels"] == 31 * TARGET


def test_only_some_cells_and_what_they_need(experiment: ToyExperiment, tmp_path: Path) -> None:
    found = experiment.run(tmp_path / "out", "fidelity")
    assert found.done == ["label/words.toy.delift", "fidelity/words.toy.delift.u=30"]


def test_a_folder_in_use_or_of_something_else_is_refused(experiment: ToyExperiment, tmp_path: Path) -> None:
    place = tmp_path / "out"
    experiment.run(place, "random.exact.8")
    with (place / LOCK).open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="in use"):
            experiment.run(place, "random.exact.8")
    with pytest.raises(RunError, match="holds the experiment 'toy'"):
        experiment.run(place, "random.exact.8", experiment="another")
    with pytest.raises(RunError, match="holds other files"):
        experiment.run(experiment.toy.folder)


def test_no_rows_at_all_is_an_error_and_no_row_of_one_set_a_failure(experiment: ToyExperiment, tmp_path: Path) -> None:
    steps = [{"verb": "select", "over": ["data", "influence"], "options": {"embedder": str(experiment.toy.encoder)}}]
    axes = {"influence": {"random": {"influence": "random"}}}
    gone = {"pool": {"file": "gone.jsonl"}}
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        experiment.run(tmp_path / "none", steps=steps, axes=axes, without=[], data={"gone": gone})
    data = {"gone": gone, "words": {"pool": {"file": "pool.jsonl"}}}
    found = experiment.run(tmp_path / "some", steps=steps, axes=axes, without=[], data=data)
    assert found.done == ["select/words.random"] and [*found.failed] == ["select/gone.random"]


def test_a_cell_alone_pays_for_what_others_have_computed(experiment: ToyExperiment, tmp_path: Path) -> None:
    less = {"less": {"influence": "less", "option": {"epochs": 2, "rank": 2}}}
    changes = experiment.first(1, influence=less, v={"8": {"budget": 8}}) | {"without": []}
    changes["axes"]["how"]["few"] = {"labels": "u=40%", "estimator": "means"}
    found = {}
    for alone in (False, True):
        changes["steps"][0]["alone"] = alone
        assert experiment.run(tmp_path / str(alone), **changes).whole
        records = all_records(tmp_path / str(alone))
        found[alone] = records["select/words.toy.less.few.8"].result["costs"]
    assert found[False]["exact"]["not_made"] > 0 and found[True]["exact"]["not_made"] == 0
    assert found[True]["stages"]["label"]["lm_backwards"] > found[False]["stages"]["label"]["lm_backwards"]
    assert found[True]["stages"]["embed"]["encoder_forwards"] == 31 + TARGET
    assert not [path for path in (tmp_path / "True" / "caches").rglob("*") if path.is_file()]
