"""The experiments whose records are kept in the docs: their tables follow from the records, and they can be continued."""

from __future__ import annotations

import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from nncift.experiment.grid import make_grid
from nncift.experiment.recipe import load_recipe
from nncift.experiment.records import read_record
from nncift.experiment.running import Runner
from nncift.experiment.sources import Sources
from nncift.experiment.tables import write_tables

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "docs" / "results" / "experiments"
SHARED = ROOT.parent / "shared" / "data"

experiment = pytest.mark.parametrize("place", sorted(KEPT.iterdir()), ids=lambda place: place.name)


@experiment
def test_the_tables_follow_from_the_records(place: Path, tmp_path: Path) -> None:
    again = tmp_path / place.name
    shutil.copytree(place, again, ignore=shutil.ignore_patterns("tables", "figures"))
    written = [path for path in write_tables(again) if path.suffix in (".md", ".csv", ".tex")]
    assert written
    for path in written:
        assert path.read_bytes() == (place / path.relative_to(again)).read_bytes(), path.name


@experiment
def test_a_rerun_takes_every_record_as_it_is(place: Path, tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the data of {place.name} are not beside this checkout")
    again = tmp_path / place.name
    shutil.copytree(place, again)
    recipe = load_recipe(place.name)
    assert recipe.body == load_recipe(str(again)).body
    cells, sources = make_grid(recipe), Sources(recipe, root=SHARED, folder=again)
    runner = Runner(again, cells, sources)
    found = {cell.name: record for cell in cells if (record := read_record(again, cell.name)) is not None}
    assert found
    for cell in cells:
        if cell.name in found:
            assert found[cell.name].key == runner.key(cell), cell.name


def test_the_page_that_compares_holds_the_tables_as_they_are() -> None:
    spec = spec_from_file_location("reproducing", ROOT / "benchmarks" / "reproducing.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "reproducing.md").read_text(encoding="utf-8")
    assert text.count("<!-- table ") >= 6
    assert module.filled(text, KEPT) == text
