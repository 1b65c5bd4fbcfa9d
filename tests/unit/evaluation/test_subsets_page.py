"""The pages of the benchmark say what was run, what was taught, and do without what is missing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nncift.evaluation.evaluate import Evaluation
from nncift.evaluation.payoff import payoff
from nncift.evaluation.summary import summarise
from toy_scores import measured, scored, scores

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return pytest.importorskip("subsets_page")


@pytest.fixture
def asked(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(page="", setting="task", write=tmp_path / "docs", model="m", seeds=2, draws=6)


def evaluated(folder: Path, *, draws: int = 6) -> Evaluation:
    """A subset, random rows, the model as it is, and one without a score."""
    name = "less-top-mean-exact-10"
    given = [
        scored(name, scores(1.2, 1, 3), rows=29),
        scored("random", scores(1.5, draws, 2)[:, :1], control="random", rows=30),
        scored("initial", scores(2.0, 1, 1), control="initial", rows=0),
        scored("lost", np.full((1, 2, 40), np.nan)),
    ]
    records = summarise(given, seed=0, replicates=500)
    cells = [
        {
            "subset": one.subset, "control": one.control, "size": one.size,
            "cells": [[{"loss": [None, *seed[1:].tolist()]} for seed in draw] for draw in one.scores],
        }
        for one in given
    ]  # fmt: skip
    entries = [measured(name, 29, 2e12, cost=9e13), measured("full", 300, 2e13, control="full")]
    folder.mkdir()
    (folder / "cells.json").write_text(json.dumps(cells).replace("NaN", "null"))
    packages = {"torch": "1", "transformers": "2"}
    (folder / "environment.json").write_text(json.dumps({"packages": packages, "dtype": "d", "device": "cpu"}))
    return Evaluation(records, payoff(entries, 300, records), {"leaked": "2 test rows, NOT more"}, [], folder)


def test_a_page_shows_the_rows_that_were_taught_and_every_cost(
    pages: ModuleType, asked: argparse.Namespace, tmp_path: Path
) -> None:
    pages.write(asked, evaluated(tmp_path / "out"), "python benchmarks/subsets.py task DATA --seeds 2")
    text = (asked.write / "task.md").read_text()
    assert "`python benchmarks/subsets.py task DATA --seeds 2`" in text and "on 40 test rows" in text
    assert text.splitlines()[-1] == "2 test rows, NOT more."
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row[:2] for row in rows] == [
        ["| less, top-mean, every one of the influences", "29"], ["| random", "30"], ["| initial", "0"], ["| lost", "29"],
    ]  # fmt: skip
    assert rows[0][6:] == [
        "**beats random**",
        "290",
        "90 TFLOP, 7 s = 45 trainings",
        "2 TFLOP, 2,000,000,000 s",
        "5 trainings |",
    ]
    assert rows[2][5:7] == ["", ""] and rows[2][3] != "" and rows[3][2] == "", "a control makes no claim"
    records = json.loads((asked.write / "task.json").read_text())["records"]
    assert [record["rows"] for record in records] == [29, 30, 0, 29]


def test_one_draw_has_no_spread(pages: ModuleType, asked: argparse.Namespace, tmp_path: Path) -> None:
    pages.write(asked, evaluated(tmp_path / "out", draws=1), "x")
    assert "nan" not in (asked.write / "task.md").read_text()


def test_the_overview_does_without_settings_that_are_missing(
    pages: ModuleType, asked: argparse.Namespace, tmp_path: Path
) -> None:
    assert pages.overview(tmp_path) == ["No setting has been measured yet."]
    found = evaluated(tmp_path / "out")
    pages.write(asked, found, "x")
    one = pages.overview(asked.write)
    assert one[0] == "| subset | rows | [task](task.md) |" and len(one) == 2 + 3
    found.records[0]["subset"], found.records[2]["rows"] = "selectit-top-mean-nncift-10", 7.5
    asked.setting = "noisy"
    pages.write(asked, found, "x")
    both = pages.overview(asked.write)
    assert both[0] == "| subset | rows | [task](task.md) | [noisy](noisy.md) |"
    assert any(line.startswith("| less, top-mean, every one of the influences | 29 | **-0.") for line in both)
    assert any(
        line.startswith("| selectit, top-mean, NN-CIFT from 15 % of the ratings | 29 |  | **-0.") for line in both
    )
    assert any(line.startswith("| initial | 0 / 7.5 | +0.") for line in both) and not any(
        "| random |" in line for line in both
    )


def test_the_command_is_that_which_was_run(pages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    subsets = pytest.importorskip("subsets")
    parser = subsets.arguments()
    plain = parser.parse_args(["task", "real/data", "--folder", "made/here"])
    assert (
        subsets.command(parser, plain)
        == "python benchmarks/subsets.py task DATA --folder runs/task --write docs/results"
    )
    words = (
        "noisy d --folder f --budgets 5%,10% --only less-top-mean-exact --controls random --seeds 1 --draws 4 --model a"
    )
    assert subsets.command(parser, parser.parse_args(words.split())) == (
        "python benchmarks/subsets.py noisy DATA --folder runs/noisy --model a --budgets 5%,10% --only less-top-mean-exact "
        "--controls random --seeds 1 --draws 4 --write docs/results"
    )
