"""`nncift experiment` as a user starts it."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from toy_experiment import ToyExperiment, make_experiment
from toy_road import run_cli


@pytest.fixture
def experiment(tmp_path: Path) -> ToyExperiment:
    return make_experiment(tmp_path / "toy")


def run(experiment: ToyExperiment, cwd: Path, *words: object, **changes: Any) -> subprocess.CompletedProcess[str]:
    path = cwd / "toy.yaml"
    path.write_text(yaml.safe_dump(experiment.body | changes, sort_keys=False))
    return run_cli("experiment", path, "--data", experiment.toy.folder, *words, cwd=cwd)


def test_it_is_planned_run_and_continued(experiment: ToyExperiment, tmp_path: Path) -> None:
    changes = experiment.first(2)
    planned = run(experiment, tmp_path, "--dry-run", **changes)
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.splitlines()[-1].startswith("Total: 9 cells, ") and not (tmp_path / "runs").exists()
    done = run(experiment, tmp_path, **changes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "9 of 9 cells (0 from before) in runs/toy"
    said = [line for line in done.stderr.splitlines() if " done (" in line]
    assert len(said) == 9 and said[0].startswith("select/words.toy.delift.exact.20 done (")
    assert not any(line.startswith(("label ", "embed ", "select  ")) for line in done.stderr.splitlines())
    again = run_cli("experiment", "runs/toy", "--data", experiment.toy.folder, "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)
    assert len(found["kept"]) == 9 and found["done"] == [] and found["failed"] == {}


def test_a_failure_is_listed_and_the_code_is_one(experiment: ToyExperiment, tmp_path: Path) -> None:
    changes = experiment.first(1, v={"8": {"budget": 8}, "900": {"budget": 900}}) | {"without": []}
    done = run(experiment, tmp_path, "--only", "random.exact", "-o", "out", **changes)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("failed: select/words.toy.random.exact.900: --budget '900' is 900 rows")
    assert lines[-1] == "1 of 2 cells (0 from before) in out"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_a_tracker_is_told_of_every_cell_that_has_a_folder(experiment: ToyExperiment, tmp_path: Path) -> None:
    changes = experiment.first(1)
    for cells in (0, 2):  # those from before are told again
        done = run(experiment, tmp_path, "--only", "random.exact", "--track", "tensorboard", **changes)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"2 of 2 cells ({cells} from before) in runs/toy"
        assert "\ntrack    tensorboard --logdir runs/toy/select\n" in done.stderr
        told = sorted((tmp_path / "runs" / "toy").rglob("events.out.tfevents.*"))
        assert len(told) == 2 and {path.parts[-2] for path in told} == {"tensorboard"}


def test_wrong_words_are_one_sentence(experiment: ToyExperiment, tmp_path: Path) -> None:
    for words, complaint in (
        (["experiment", "main-tabel"], "Did you mean 'main-table'"),
        (["experiment", "use-cases-small", "--only", "nothing"], "--only 'nothing' is in no cell's name"),
        (["experiment", "use-cases-small", "--data", "gone"], "gone"),
    ):
        done = run_cli(*words, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith("nncift: ") and complaint in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1


def test_tables_alone_need_no_rows(experiment: ToyExperiment, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "experiment.yaml").write_text(yaml.safe_dump(experiment.body))
    done = run_cli("experiment", "out", "--tables", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("tables and figures in out")
