"""The recipes under `examples/` are recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncift import registry
from nncift.config import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.influence in registry.names("influence") and len(recipe.model) == 1
    assert f"nncift run examples/{path.name}" in path.read_text(encoding="utf-8")


def test_there_are_recipes() -> None:
    assert {"cheap-model", "three-phases"} <= {path.stem for path in RECIPES}
