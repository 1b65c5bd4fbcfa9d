"""The recipes under `examples/` are recipes, and the code in the docs runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import nncift
from nncift import registry
from nncift.recipe import read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.influence in registry.names("influence") and len(recipe.model) == 1
    assert f"nncift run examples/{path.name}" in path.read_text(encoding="utf-8")


def test_the_influence_of_ones_own_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "influences.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "asking_rows.py").write_text(block, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "asking_rows", raising=False)
    rows = [{"prompt": f"why{'?' * (k % 4)}", "completion": str(k)} for k in range(8)]
    picked = nncift.select(rows, influence="asking_rows:Questions", option=("weight=2",), budget=2)
    assert [row["prompt"] for row in picked.rows] == ["why???", "why???"] and picked.gains.tolist() == [6, 6]


def test_there_are_recipes() -> None:
    assert {"cheap-model", "three-phases"} <= {path.stem for path in RECIPES}
