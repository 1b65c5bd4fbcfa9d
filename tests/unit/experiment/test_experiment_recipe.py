"""A recipe is read as it is meant, and refused with the word that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nncift.errors import ConfigError
from nncift.experiment.grid import make_grid
from nncift.experiment.recipe import load_recipe, parse_recipe, shipped

BODY: dict[str, Any] = {
    "experiment": "small",
    "data": {
        "words": {"pool": {"file": "pool.jsonl"}, "target": {"file": "target.jsonl"}, "test": {"file": "test.jsonl"}}
    },
    "axes": {"influence": {"random": {"influence": "random"}}, "v": {0.3: {"budget": 0.3}, 8: {"budget": 8}}},
    "steps": [{"verb": "select", "over": ["data", "influence", "v"]}],
}


def parse(**changes: Any) -> Any:
    return parse_recipe(yaml.safe_dump(BODY | changes, sort_keys=False), "small.yaml")


def test_names_are_text_and_numbers_are_numbers() -> None:
    recipe = parse_recipe(
        "experiment: a\nhardware: {name: two cores, flops: 1.0e11}\n"
        "data: {words: {pool: {file: p.jsonl}, tokens: 1e2, expect: {pool: 300}}}\n"
        "axes: {v: {8: {budget: 8}, 30%: {budget: 30%}}, model: {toy: {model: x, weights: 2.7e8}}}\n"
        "steps: [{verb: select, over: [v, model], options: {influence: random}}]\n",
        "a.yaml",
    )
    assert recipe.hardware is not None and recipe.hardware.flops == 1e11 and recipe.hardware.gpus == 0
    assert recipe.values("v") == ("8", "30%") and recipe.axes["v"]["8"] == {"budget": 8}
    assert recipe.data["words"].tokens == 100 and recipe.data["words"].expect == {"pool": 300}
    (cell, _) = make_grid(recipe)
    assert cell.hints == {"weights": 2.7e8} and "weights" not in cell.options
    assert parse_recipe(yaml.safe_dump(recipe.body), "again.yaml") == recipe


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stepz": []}, r"unknown key 'stepz'. Did you mean 'steps'"),
        ({"steps": []}, "has no `steps`"),
        ({"experiment": "../x"}, "must be a name"),
        ({"steps": [{"verb": "selct", "over": []}]}, "Did you mean 'select'"),
        ({"steps": [{"verb": "select", "over": ["data", "influenz", "v"]}]}, "Did you mean 'influence'"),
        ({"steps": [{"verb": "select", "over": ["data", "v"]}]}, "no step runs over the axis `influence`"),
        ({"axes": BODY["axes"] | {"v": {"8": {"bugdet": 8}}}}, r"`v: 8`.*'bugdet'. Did you mean 'budget'"),
        ({"axes": BODY["axes"] | {"v": {"8": {"shots": 8}}}}, "unknown option 'shots'"),
        ({"axes": BODY["axes"] | {"v": {"8": {"evaluate": {"shots": 8}}}}}, "speaks to `evaluate`"),
        ({"axes": BODY["axes"] | {"v": {"8": {"select": {"bugdet": 8}}}}}, "Did you mean 'budget'"),
        ({"axes": BODY["axes"] | {"v": {"8": {"output": "x"}}}}, "which the experiment itself does"),
        ({"axes": BODY["axes"] | {"v": {"8": {"target": "x.jsonl"}}}}, "Say `null` to do without"),
        ({"axes": BODY["axes"] | {"v": {"8": {"weights": "many"}}}}, "must be a number above 0"),
        ({"axes": BODY["axes"] | {"v": {True: {"budget": 8}}}}, "Put it in quotes"),
        ({"axes": BODY["axes"] | {"v": {"8": {"budget": 8}, 8: {"budget": 9}}}}, "'8' stands twice"),
        ({"axes": BODY["axes"] | {"data": {"x": {"budget": 8}}}}, "Rename the axis"),
        ({"data": {"words": {"target": {"file": "x"}}}}, "has no `pool`"),
        ({"data": {"words": {"pool": {"file": "x"}, "tokns": 3}}}, "unknown option 'tokns'"),
        ({"data": {"words": {"pool": {"file": "x"}, "tokens": "few"}}}, "mean length"),
        ({"data": {"words": {"pool": {"file": "x"}, "expect": {"pools": 3}}}}, "Did you mean 'pool'"),
        ({"steps": [BODY["steps"][0] | {"alone": "yes, please"}]}, "must be true or false"),
        ({"without": [{"v": 9}]}, "names `v: 9`"),
        ({"without": [{}]}, "leave out everything"),
        ({"without": [{"u": 9}]}, "names the axis 'u'"),
        ({"hardware": {"name": "x", "flops": 0}}, "operations a second"),
        ({"steps": [*BODY["steps"], {"verb": "fidelity", "over": ["data"], "subsets": "select"}]}, "which is for `evaluate`"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        parse(**changes)
    assert str(error.value).startswith("small.yaml")


def test_damaged_yaml_is_told_with_its_line() -> None:
    with pytest.raises(
        ConfigError, match=r"a\.yaml is no sound YAML: line 2, column 1: the key 'experiment' stands twice"
    ):
        parse_recipe("experiment: a\nexperiment: b\n", "a.yaml")
    with pytest.raises(ConfigError, match="no sound YAML"):
        parse_recipe("experiment: !!python/object/apply:os.system [echo]\n", "a.yaml")
    with pytest.raises(ConfigError, match="the recipe is None"):
        parse_recipe("", "a.yaml")


def test_recipes_are_found_by_name_file_and_folder(tmp_path: Path) -> None:
    assert "main-table-small" in shipped()
    assert load_recipe("main-table-small").name == "main-table-small"
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(BODY))
    assert load_recipe(str(tmp_path)) == load_recipe(str(tmp_path / "experiment.yaml")) == parse()
    with pytest.raises(ConfigError, match="Did you mean 'main-table'"):
        load_recipe("main-tabel")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"holds no experiment\.yaml"):
        load_recipe(str(tmp_path / "empty"))


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_is_a_grid(name: str) -> None:
    assert make_grid(load_recipe(name))
