"""Cells of a grid: their names, their options, what they need, and those that are left out."""

from __future__ import annotations

from typing import Any

import pytest

from nncift.config import SelectConfig
from nncift.errors import ConfigError
from nncift.experiment.grid import make_grid, only, safe_name
from toy_experiment import ToyExperiment


def test_names_needs_and_left_out_combinations(experiment: ToyExperiment) -> None:
    cells = {cell.name: cell for cell in make_grid(experiment.recipe())}
    assert [name for name in cells if name.startswith("select/")] == [
        "select/words.toy.delift.exact.20",
        "select/words.toy.delift.exact.8",
        "select/words.toy.delift.few.20",
        "select/words.toy.delift.few.8",
        "select/words.toy.similarity.exact.20",
        "select/words.toy.random.exact.20",
        "select/words.toy.random.exact.8",
    ]
    needs = cells["evaluate/words.toy.8"].needs
    assert needs == tuple(f"select/words.toy.{way}.8" for way in ("delift.exact", "delift.few", "random.exact"))
    assert cells["fidelity/words.toy.delift.u=30"].needs == ("label/words.toy.delift",)
    order = [bool(cell.needs) for cell in make_grid(experiment.recipe())]
    assert order == sorted(order)


def test_later_axes_override_and_a_verb_can_be_spoken_to(experiment: ToyExperiment) -> None:
    steps = [
        {"verb": "select", "over": ["data", "one", "two"], "options": {"influence": "random", "seed": 3, "nu": 2.0}},
        {"verb": "evaluate", "over": ["data", "one", "two"], "options": {"model": "m", "seed": 4}},
    ]
    axes: dict[str, Any] = {
        "one": {"a": {"seed": 5, "select": {"eta": 0.5}, "evaluate": {"seed": 6, "shots": 1}}},
        "two": {"b": {"budget": 0.25, "nu": None, "target": None}, "c": {"evaluate": {"shots": 2}}},
    }
    recipe = experiment.recipe(steps=steps, axes=axes, without=[])
    cells = {cell.name: cell for cell in make_grid(recipe)}
    assert cells["select/words.a.b"].options == {"influence": "random", "seed": 5, "eta": 0.5, "budget": 0.25}
    assert cells["evaluate/words.a.b"].options == {"model": "m", "seed": 6, "shots": 1}
    assert cells["evaluate/words.a.c"].options["shots"] == 2
    assert cells["select/words.a.b"].roles == ("pool",) and cells["select/words.a.c"].roles == ("pool", "target")
    files = {"pool": "p.jsonl", "target": "t.jsonl", "test": "s.jsonl", "output": "o"}
    config = cells["select/words.a.b"].config(files)
    assert isinstance(config, SelectConfig) and config.budget == "25%" and config.target is None and config.nu == 1.0


@pytest.mark.parametrize(
    ("values", "name"),
    [(["a/b", "../x"], "a-b._._.-x"), (["..", "."], "_._._._._"), (["30%", "u=5%"], "30.u=5"), (["é ü"], "_"), ([""], "_")],
)  # fmt: skip
def test_names_are_safe(values: list[str], name: str) -> None:
    found = safe_name(values)
    assert "/" not in found and not found.startswith(".") and ".." not in found
    assert found == name or values[0] == "a/b"
    assert safe_name(["x" * 300]) != safe_name(["x" * 301]) and len(safe_name(["x" * 300])) < 140


@pytest.mark.parametrize(
    "values", [{"30%": {"budget": 3}, "30": {"budget": 4}}, {"a": {"budget": 3}, "A": {"budget": 4}}]
)
def test_two_cells_of_one_folder_are_refused(experiment: ToyExperiment, values: dict[str, Any]) -> None:
    changes = experiment.first(1, v=values) | {"without": []}
    with pytest.raises(ConfigError, match=r"two cells would write the folder .*Rename an axis value"):
        make_grid(experiment.recipe(**changes))
    changes = experiment.first(1)
    with pytest.raises(ConfigError, match="two cells would write the folder"):
        make_grid(experiment.recipe(**changes | {"steps": [*changes["steps"], *changes["steps"]]}))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"without": [{"influence": ["delift", "similarity", "random"]}]}, "no cell"),
        ({"axes": {"influence": {"x": {"influence": "delft"}}}}, "Did you mean 'delift'"),
        ({"axes": {"influence": {"x": {"influence": "random", "labels": "5 %%"}}}}, "labels is '5 %%'"),
        ({"axes": {"influence": {"x": {"influence": "random", "objective": "top-mea"}}}}, "Did you mean 'top-mean'"),
        ({"axes": {"influence": {"x": {"influence": "random", "estimator": "mean"}}}}, "Did you mean 'means'"),
        ({"axes": {"influence": {"x": {"influence": "random", "max_length": 3}}}}, "at least 16"),
        ({"axes": {"influence": {"x": {"influence": "less", "option": {"epoch": 3}}}}}, "Did you mean 'epochs'"),
    ],
)
def test_a_wrong_value_is_told_before_anything_runs(
    experiment: ToyExperiment, changes: dict[str, Any], complaint: str
) -> None:
    base = {"steps": [{"verb": "select", "over": ["data", "influence"]}], "without": []}
    axes = {"influence": experiment.axes()["influence"]}
    with pytest.raises(ConfigError, match=complaint):
        make_grid(experiment.recipe(**{"axes": axes} | base | changes))


def test_what_there_is_nothing_to_read_for_is_refused(experiment: ToyExperiment) -> None:
    evaluate = {"verb": "evaluate", "over": ["data"], "options": {"model": "m"}}
    fidelity = {"verb": "fidelity", "over": ["data"]}
    plain = {"axes": {}, "without": []}
    for steps, complaint in (
        ([evaluate], "no cell to read among those of `select`"),
        ([fidelity], "no influences to read"),
        ([fidelity | {"matrix": "label"}], "no cell to read"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            make_grid(experiment.recipe(steps=steps, **plain))
    label = {"verb": "label", "over": ["data", "seed"], "options": {"influence": "random"}}
    two = {"axes": {"seed": {0: {"seed": 0}, 1: {"seed": 1}}}, "without": []}
    with pytest.raises(ConfigError, match="2 cells to choose from"):
        make_grid(experiment.recipe(steps=[label, fidelity | {"matrix": "label"}], **two))
    data = {"words": {"pool": {"file": "pool.jsonl"}}}
    select = {"verb": "select", "over": ["data"], "options": {"influence": "random"}}
    with pytest.raises(ConfigError, match="no test rows"):
        make_grid(experiment.recipe(steps=[select, evaluate], data=data, **plain))


def test_only_takes_what_is_needed_along(experiment: ToyExperiment) -> None:
    cells = make_grid(experiment.recipe())
    assert [cell.name for cell in only(cells, "fidelity")] == [
        "label/words.toy.delift",
        "fidelity/words.toy.delift.u=30",
    ]
    assert only(cells, None) == cells
    with pytest.raises(ConfigError, match="in no cell's name"):
        only(cells, "nothing")


def test_a_table_that_there_is_not_is_told_before_anything_runs(experiment: ToyExperiment) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'main'"):
        make_grid(experiment.recipe(tables=[{"kind": "mian", "name": "main"}]))
