"""An evaluation is interrupted and asked again, and says the same; what it could not score it says too."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.evaluation import bench
from nncift.evaluation import evaluate as module
from nncift.evaluation.options import EvaluateConfig
from nncift.recipe import recipe_values
from nncift.selection import Selection
from toy_evaluation import POOL, SUBSET, TEST, Toy, read_rows, toy_rows

BOTH: dict[str, Any] = {"by": "icl,lora", "metrics": "loss,rouge", "controls": "initial,random,full", "draws": 2}


class Killed(BaseException):
    """Nothing on the way catches it."""


def cells(folder: Path) -> dict[str, bytes]:
    return {
        f"{kind}/{path.name}": path.read_bytes()
        for kind in ("cells", "answers")
        for path in sorted((folder / kind).glob("*.json"))
    }


def without_times(name: str, body: bytes) -> Any:
    record = json.loads(body)
    if name.startswith("cells/"):
        record["costs"] = {k: v for k, v in record["costs"].items() if "seconds" not in k}
    record.pop("sha256", None)  # the seal of the whole cell, its seconds included
    return record


def test_a_kill_loses_at_most_the_cell_it_fell_into(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy.evaluate("whole", **BOTH)
    config = toy.config("cut", **BOTH)
    real, scoring, survived = bench.generate, bench.score_responses, 0
    for lives in (0, 1, 3):
        left = [lives]

        def dying(*given: Any, left: list[int] = left, **named: Any) -> Any:
            if not left[0]:
                raise Killed
            left[0] -= 1
            return real(*given, **named)

        monkeypatch.setattr(bench, "generate", dying)
        with pytest.raises(Killed):
            module.evaluate(config)
        survived += lives
        assert len(list((toy.folder / "cut" / "answers").glob("*"))) == survived
    measured: list[int] = []
    monkeypatch.setattr(bench, "generate", real)
    monkeypatch.setattr(
        bench, "score_responses", lambda *given, **named: (measured.append(1), scoring(*given, **named))[1]
    )
    again = module.evaluate(config)
    total = len(list((whole.folder / "cells").glob("*")))
    assert total == 2 * 5 and len(measured) == total - survived - 1  # the loss of the killed cell was kept
    assert (again.folder / "results.json").read_bytes() == (whole.folder / "results.json").read_bytes()
    one, two = cells(whole.folder), cells(again.folder)
    assert {n: without_times(n, body) for n, body in one.items()} == {n: without_times(n, b) for n, b in two.items()}


def test_a_rerun_loads_no_model_and_writes_the_same_bytes(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    found = toy.evaluate("out", **BOTH)
    names = ("results.json", "costs.json", "cells.json", "rejected.jsonl")
    before = [(found.folder / name).read_bytes() for name in names]
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    again = toy.evaluate("out", **BOTH)
    assert [(again.folder / name).read_bytes() for name in names] == before
    assert again.told == found.told and again.records == found.records


def test_a_moved_and_shuffled_evaluation_says_the_same_and_measures_nothing(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy.evaluate("out", **BOTH)
    moved = {
        name: str(toy.write(f"moved-{name}.jsonl", read_rows(getattr(toy, name))[::-1])) for name in ("pool", "test")
    }
    subset = toy.write("renamed.jsonl", read_rows(toy.subset)[::-1])
    monkeypatch.setattr("nncift.evaluation.tools.load_language_model", None)
    again = toy.evaluate("out", subset, **(BOTH | moved))
    assert [r | {"subset": ""} for r in again.records] == [r | {"subset": ""} for r in first.records]


def test_another_metric_keeps_the_losses(toy: Toy) -> None:
    alone = toy.evaluate("out", by="icl,lora", metrics="loss")
    before = {name: body for name, body in cells(alone.folder).items() if name.startswith("cells/")}
    more = toy.evaluate("out", by="icl,lora", metrics="loss,rouge")
    after = cells(more.folder)
    assert before == {name: body for name, body in after.items() if name.startswith("cells/")}
    assert len(after) == 2 * len(before)
    loss = [record for record in more.records if record["metric"] == "loss"]
    assert [r | {"p_holm": 0} for r in loss] == [r | {"p_holm": 0} for r in alone.records]
    fresh = toy.evaluate("fresh", by="icl,lora", metrics="loss,rouge")
    assert fresh.records == more.records


def test_equal_subsets_are_measured_once(toy: Toy) -> None:
    twin, full = toy.write("twin.jsonl", read_rows(toy.subset)[::-1]), toy.write("whole.jsonl", read_rows(toy.pool))
    found = toy.evaluate("out", toy.subset, twin, full, controls="full")
    assert len(list((found.folder / "cells").glob("*"))) == 2
    by_name = {record["subset"]: record["mean"] for record in found.records}
    assert by_name["subset"] == by_name["twin"] and by_name["whole"] == by_name["full"]


def test_seeds_and_draws_are_where_they_belong(toy: Toy) -> None:
    """Icl trains nothing: one cell. Random subsets are trained once each, with the seeds in turn."""
    found = toy.evaluate("out", by="icl,lora", seeds=2, draws=3, controls="initial,random")
    shape = {(r["subset"], r["by"]): (r["draws"], r["seeds"], r["n"]) for r in found.records}
    assert shape == {
        ("subset", "icl"): (1, 1, TEST), ("initial", "icl"): (1, 1, TEST), ("random", "icl"): (3, 1, 3 * TEST),
        ("subset", "lora"): (1, 2, 2 * TEST), ("initial", "lora"): (1, 1, TEST), ("random", "lora"): (3, 2, 3 * TEST),
    }  # fmt: skip
    assert len(list((found.folder / "cells").glob("*"))) == 5 + 6


def test_several_sizes_each_have_random_rows_of_their_own(toy: Toy) -> None:
    small = toy.write("small.jsonl", read_rows(toy.subset)[:3])
    found = toy.evaluate("out", toy.subset, small, by="icl", controls="initial,random,random-tokens,full")
    rows = [(record["subset"], record["size"], record["diff_random"] is not None) for record in found.records]
    assert rows == [
        ("subset", SUBSET, True), ("small", 3, True), ("initial", 0, False), ("random", 3, False),
        ("random", SUBSET, False), ("random, tokens of subset", SUBSET, True), ("random, tokens of small", 3, True),
        ("full", 0, False),
    ]  # fmt: skip
    by_name = {(record["subset"], record["size"]): record for record in found.records}
    for name, size in (("subset", SUBSET), ("small", 3)):
        wanted = by_name[name, size]["mean"] - by_name["random", size]["mean"]  # pyright: ignore[reportOptionalOperand]
        assert by_name[name, size]["diff_random"] == pytest.approx(wanted)


def test_rows_without_a_score_are_counted(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    tested = toy.write("long.jsonl", [*toy_rows("test", TEST), {"prompt": "river " * 60, "completion": "rain"}])
    taught = toy.write("cut.jsonl", [*read_rows(toy.subset), {"prompt": "rain " * 60, "completion": "river"}])
    found = toy.evaluate(
        "out", taught, by="icl,lora", test=str(tested), max_length=256, controls="none", metrics="loss,rouge"
    )
    for record in found.records:
        assert record["n"] == TEST + 1
        assert record["n_scored"] == TEST + (record["by"] == "lora")
    assert found.notes["test_too_long"].startswith("1 of 8 test rows have no score by icl")
    assert found.notes["test_cut"].startswith("1 of 8 test rows are cut")
    assert found.notes["lessons_cut"].startswith("up to 1 rows of a subset are cut")
    assert set(found.notes.values()) <= set(caplog.messages)
    assert json.loads((found.folder / "results.json").read_text())["notes"] == found.notes


def test_the_mean_is_that_of_the_cells(toy: Toy) -> None:
    found = toy.evaluate("out", by="icl", controls="random", draws=3)
    shown = {entry["subset"]: entry["cells"] for entry in json.loads((found.folder / "cells.json").read_text())}
    for record in found.records:
        losses = [cell["loss"] for draw in shown[record["subset"]] for cell in draw]
        assert record["mean"] == pytest.approx(np.mean(losses)) and np.shape(losses) == (record["draws"], TEST)
    rows = {cell["rows"] for draws in shown.values() for draw in draws for cell in draw}
    assert rows == {SUBSET} and POOL not in rows


def test_the_model_in_its_folder_is_never_touched(toy: Toy) -> None:
    def digest() -> list[str]:
        return [sha256(path.read_bytes()).hexdigest() for path in sorted(toy.model.iterdir())]

    before = digest()
    toy.evaluate("out", **BOTH)
    assert digest() == before


def test_records_hold_no_text_of_rows(toy: Toy) -> None:
    found = toy.evaluate("out", by="icl")
    for path in (*found.folder.glob("*.json"), *found.folder.glob("cells/*")):
        assert "test 3?" not in path.read_text() and "pool" not in path.read_text(), path


def _selected(toy: Toy) -> Selection:
    return nncift.select(
        toy.pool, target=toy.target, influence="similarity", embedder=str(toy.encoder), budget=SUBSET, device="cpu",
        output=toy.folder / "run",
    )  # fmt: skip


def test_the_run_folder_stays_as_it_is(toy: Toy) -> None:
    run = _selected(toy)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.folder.rglob("*") if path.is_file()}
    found = toy.evaluate("out", run.folder, controls="random,top-mean,embedding")
    assert {record["subset"] for record in found.records} >= {"run", "run, top-mean", "embedding"}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_resized_selection_is_measured_at_its_size(toy: Toy) -> None:
    small = _selected(toy).resize(3)
    options = {name: value for name, value in vars(toy.config("out")).items() if name not in ("subset", "pool", "test")}
    nncift.evaluate(small, test=toy.test, **options)
    told = json.loads((toy.folder / "out" / "cells.json").read_text())
    assert [(entry["subset"], entry["cells"][0][0]["rows"]) for entry in told if entry["control"] is None] == [
        ("run-3", 3)
    ]
    assert {
        cell["rows"] for entry in told if entry["control"] == "random" for draw in entry["cells"] for cell in draw
    } == {3}


def test_rows_from_elsewhere_are_told(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    mixed = toy.write("mixed.jsonl", [*read_rows(toy.subset)[:3], *toy_rows("elsewhere", 2)])
    found = toy.evaluate("out", mixed)
    assert "not in the pool: 2 of 'mixed'" in found.notes["strange"] and found.notes["strange"] in caplog.text


def test_the_recipe_replays_and_other_options_are_told(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    first = toy.evaluate("out")
    verb, values = recipe_values(toy.folder / "out" / "evaluation.yaml")
    assert verb == "evaluate"
    again = module.evaluate(EvaluateConfig.of(values | {"output": str(toy.folder / "again")}))
    assert again.records == first.records
    assert "other options" not in caplog.text
    toy.evaluate("out", epochs=2)
    assert "other options (--epochs)" in caplog.text


def test_the_plan_is_what_is_done(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toy.config("out", controls="initial,random,full", seeds=2, draws=3)
    planned = module.plan_evaluation(config)
    assert planned.record() == {
        "cells": 8, "kept": 0, "trainings": 7, "lessons": 5 * SUBSET + 2 * POOL, "measured": 8 * TEST, "repeated": 0,
    }  # fmt: skip
    assert not (toy.folder / "out" / "cells").exists()
    module.evaluate(config)
    assert module.plan_evaluation(config).record() | {"cells": 0} == dict.fromkeys(planned.record(), 0) | {"kept": 8}
    later = module.plan_evaluation(toy.config("out", controls="initial,random,full", seeds=2, draws=3, metrics="rouge"))
    assert (later.trainings, later.repeated, later.measured) == (7, 7, 8 * TEST)
    assert "repeated" in " ".join(later.lines())
