"""What a recipe may ask for under `tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nncift.errors import ConfigError, DataError
from nncift.experiment.tables.cells import read_experiment
from nncift.experiment.tables.specs import check_tables
from toy_cells import cell, write_experiment

AXES = ("data", "model", "influence", "how", "seed", "u")


def test_what_is_left_out_has_a_value() -> None:
    (spec,) = check_tables([{"kind": "main", "name": "main"}], AXES)
    assert spec.fields["rows"] == ("influence", "how") and spec.fields["columns"] == ("data", "by", "metric")
    assert spec.fields["exact"] == {"how": "exact"} and spec.pages is None and spec.title is None
    (spec,) = check_tables([{"kind": "main", "name": "main", "exact": {}}], ("data", "influence"))
    assert spec.fields["rows"] == ("influence",) and spec.fields["exact"] == {} and spec.fields["over"] == ()
    assert check_tables(None, AXES) == ()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "mian", "name": "a"}, "Did you mean 'main'?"),
        ({"name": "a"}, "Known: main, costs"),
        ({"kind": "main"}, "it names files"),
        ({"kind": "main", "name": "../a"}, "it names files"),
        ({"kind": "main", "name": "a", "row": ["how"]}, "has the field 'row'. Did you mean 'rows'?"),
        ({"kind": "main", "name": "a", "rows": ["influense"]}, "Did you mean 'influence'?"),
        ({"kind": "main", "name": "a", "rows": "how"}, "it names axes"),
        ({"kind": "main", "name": "a", "where": {"metrik": "loss"}}, "Did you mean 'metric'?"),
        ({"kind": "main", "name": "a", "controls": ["randm"]}, "Did you mean 'random'?"),
        ({"kind": "main", "name": "a", "published": {"model": "phi"}}, "write {model: phi-3}"),
        ({"kind": "fidelity", "name": "a"}, "lacks the field 'x'"),
        ({"kind": "fidelity", "name": "a", "x": "u", "figures": ["msee"]}, "Did you mean 'mse'?"),
        ({"kind": "costs", "name": "a", "constant": "47 s"}, "say seconds, or measured"),
        ({"kind": "heat", "name": "a", "x": "u", "y": "how", "value": {"from": "label"}}, "write {from: evaluate"),
        ({"kind": "heat", "name": "a", "x": "u", "y": "how", "value": {"from": "fidelity", "figure": "r3"}}, "'r2'"),
        ("main", "write {kind: main"),
    ],
)
def test_what_cannot_be_made_is_told_before_anything_runs(entry: Any, words: str) -> None:
    with pytest.raises(ConfigError) as told:
        check_tables([entry], AXES)
    assert words in str(told.value)


def test_two_tables_do_not_write_the_same_files() -> None:
    entries = [{"kind": "main", "name": "a"}, {"kind": "costs", "name": "A"}]
    with pytest.raises(ConfigError, match="two tables are called 'a'"):
        check_tables(entries, AXES)


def test_a_folder_that_is_none_and_a_damaged_record_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of an experiment"):
        read_experiment(tmp_path)
    folder = write_experiment(tmp_path / "a", [], [cell("select/a", {"seed": 0}, {})])
    assert [one.axes for one in read_experiment(folder).cells] == [{"seed": "0"}]
    (folder / "cells" / "select" / "a.json").write_text('{"cell": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.json is damaged"):
        read_experiment(folder)


def test_values_stand_in_the_order_of_the_recipe_and_numbers_by_size(tmp_path: Path) -> None:
    experiment = read_experiment(write_experiment(tmp_path, [], []))
    assert experiment.ordered("how", ["other", "nncift", "exact", "nncift"]) == ["exact", "nncift", "other"]
    assert experiment.ordered("labels", ["1000", "90", "200"]) == ["90", "200", "1000"]
