"""Tables of fidelity, quadrants and grids from records written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nncift.experiment.tables import write_tables
from nncift.rehearsal.quadrants import PARTS
from toy_cells import cell, fidelity, ledger, read_lines, score, write_experiment

GUESSES = ("predict the mean", "predict 0 of [0, 1]", "uniform random in [0, 1]", "row + column means")


def figure(mean: float) -> dict[str, float]:
    return {"mean": mean, "se": 0.04}


def quadrants(first: float, *, empty: str | None = None) -> dict[str, Any]:
    """Parts whose errors tell them apart, of influences between -1 and 1: scaled to [0, 1] an error is a quarter."""
    parts: dict[str, Any] = {}
    for k, part in enumerate(PARTS):
        guesses = {name: {"mse": figure(1.0 + g), "r2": figure(-float(g))} for g, name in enumerate(GUESSES)}
        own = {
            "pairs": figure(10.0 + k),
            "sd": figure(0.5),
            "mse": figure(first + 0.4 * k),
            "r2": figure(0.9 - 0.1 * k),
        }
        parts[part] = None if part == empty else own | {"baselines": guesses}
    return {"low": -1.0, "high": 1.0, "parts": parts}


def rehearsals(**figures: Any) -> list[dict[str, Any]]:
    """Two label budgets, an estimator and two guesses in each."""
    return [
        cell(
            f"fidelity/{u}",
            {"data": "alpaca", "influence": "delift", "u": u},
            {
                "records": [
                    fidelity("network", labels, r2=r2, mse=1 - r2, **figures),
                    fidelity("means", labels, r2=0.1, mse=0.9, objective_gain={"10%": figure(0.25), "1%": None}),
                    fidelity("predict the mean", labels, r2=0.0, mse=1.0),
                ]
            },
        )
        for u, labels, r2 in (("5%", 200, 0.5), ("1%", 40, 0.25))
    ]


def test_a_row_for_each_budget_and_line_and_the_guesses_last(tmp_path: Path) -> None:
    spec = {"kind": "fidelity", "name": "size", "x": "u", "figures": ["r2", "mse", "objective_gain 10%"]}
    write_tables(write_experiment(tmp_path, [spec], rehearsals()))
    lines = [one for one in read_lines(tmp_path / "tables" / "size.csv") if one["figure"] == "r2"]
    assert [(one["u"], one["design"], one["estimator"], float(one["mean"]), float(one["labels"])) for one in lines] == [
        ("1%", "block", "network", 0.25, 40),
        ("1%", "block", "means", 0.1, 40),
        ("1%", "-", "predict the mean", 0.0, 40),
        ("5%", "block", "network", 0.5, 200),
        ("5%", "block", "means", 0.1, 200),
        ("5%", "-", "predict the mean", 0.0, 200),
    ]
    text = (tmp_path / "tables" / "size.md").read_text(encoding="utf-8")
    assert "| 5% | block | network | 200 | 0.500 ± 0.010 | 0.500 ± 0.01 | – |" in text
    assert "| 5% | block | row + column means | 200 | 0.100 ± 0.010 | 0.900 ± 0.01 | 0.250 ± 0.040 |" in text
    assert "![A toy](../figures/size.svg)" in text


def test_labels_themselves_can_be_the_axis(tmp_path: Path) -> None:
    spec = {"kind": "fidelity", "name": "size", "x": "labels", "lines": ["estimator"], "figures": ["r2"]}
    write_tables(write_experiment(tmp_path, [spec | {"pages": []}], rehearsals()))
    lines = read_lines(tmp_path / "tables" / "size.csv")
    assert [one["labels"] for one in lines] == ["40.0"] * 3 + ["200.0"] * 3


def test_quadrants_are_scaled_and_stand_beside_guesses_and_what_was_published(tmp_path: Path) -> None:
    spec = {"kind": "quadrants", "name": "parts", "rows": ["estimator"], "published": {"model": "phi-3"}}
    cells = rehearsals(quadrants=quadrants(0.2, empty=PARTS[1]))[:1]
    write_tables(write_experiment(tmp_path, [spec], cells))
    lines = read_lines(tmp_path / "tables" / "parts.csv")
    assert {one["estimator"] for one in lines} == {"network", *GUESSES}
    own = {one["part"]: one for one in lines if one["estimator"] == "network"}
    assert [own[part]["mse"] and float(own[part]["mse"]) for part in PARTS] == [
        pytest.approx(0.05), "", pytest.approx(0.25), pytest.approx(0.35),
    ]  # fmt: skip
    assert float(own[PARTS[0]]["mse_se"]) == pytest.approx(0.01) and float(own[PARTS[3]]["r2"]) == pytest.approx(0.6)
    assert float(own[PARTS[0]]["sd"]) == 0.25 and float(own[PARTS[2]]["pairs"]) == 12
    text = (tmp_path / "tables" / "parts.md").read_text(encoding="utf-8")
    for words in (
        f"| estimator | {' | '.join(PARTS)} |",
        "| network | 0.0500 ± 0.01 | – | 0.250 ± 0.01 | 0.350 ± 0.01 |",
        "| uniform random in [0, 1] | 0.750 ± 0.01 | – | 0.750 ± 0.01 | 0.750 ± 0.01 |",
        "| published | 0.072 | 0.072 | 0.062 | 0.063 |",
        "| row + column means | -3.000 ± 0.040 | – |",
        "| 0.250 (10 pairs) | – | 0.250 (12 pairs) | 0.250 (13 pairs) |",
    ):
        assert words in text, words


def test_a_grid_of_what_was_taught_averages_the_seeds(tmp_path: Path) -> None:
    value = {"from": "evaluate", "by": "icl", "metric": "bge", "figure": "mean"}
    spec = {"kind": "heat", "name": "grid", "x": "v", "y": "u", "value": value}
    cells = []
    for v in ("10%", "30%"):
        subjects = {
            f"{u}.{seed}": {"u": u, "v": v, "seed": seed}
            for u in ("1%", "5%")
            for seed in (0, 1)
            if (u, v) != ("1%", "30%")
        }
        records = [
            score(name, 0.5 + 0.1 * axes["seed"] + (0.2 if axes["u"] == "5%" else 0), by="icl", metric="bge")
            for name, axes in subjects.items()
        ]
        records += [score(name, 9.0) for name in subjects] + [
            score("random", 0.1, control="random", by="icl", metric="bge")
        ]
        cells.append(cell(f"evaluate/{v}", {"v": v}, {"records": records, "subjects": subjects}))
    write_tables(write_experiment(tmp_path, [spec], cells))
    lines = read_lines(tmp_path / "tables" / "grid.csv")
    found = {(one["u"], one["v"]): one["value"] and pytest.approx(float(one["value"])) for one in lines}
    assert found == {("1%", "10%"): 0.55, ("1%", "30%"): "", ("5%", "10%"): 0.75, ("5%", "30%"): 0.75}
    text = (tmp_path / "tables" / "grid.md").read_text(encoding="utf-8")
    assert "| 1% | 55.0 | – |" in text and "| 5% | 75.0 | 75.0 |" in text
    assert (tmp_path / "figures" / "grid.png").is_file()


def test_grids_of_costs_and_of_fidelity(tmp_path: Path) -> None:
    specs = [
        {"kind": "heat", "name": "cost", "x": "u", "y": "how", "value": {"from": "select", "figure": "seconds"}},
        {"kind": "heat", "name": "r2", "x": "u", "y": "influence", "value": {"from": "fidelity", "figure": "r2"},
         "where": {"estimator": "network"}},
    ]  # fmt: skip
    spent = [
        cell(
            f"select/{u}.{seed}",
            {"u": u, "how": "nncift", "seed": seed},
            {"costs": ledger(label={"seconds": 10 + seed})},
        )
        for u in ("1%", "5%")
        for seed in (0, 1)
    ]
    write_tables(write_experiment(tmp_path, specs, [*spent, *rehearsals()]))
    assert [float(one["value"]) for one in read_lines(tmp_path / "tables" / "cost.csv")] == [10.5, 10.5]
    assert [float(one["value"]) for one in read_lines(tmp_path / "tables" / "r2.csv")] == [0.25, 0.5]
