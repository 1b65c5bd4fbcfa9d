"""The table of costs from ledgers written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from nncift.experiment.tables import write_tables
from toy_cells import cell, ledger, read_lines, write_experiment

SPEC = {"kind": "costs", "name": "costs", "published": {"model": "phi-3"}}
EXACT = ledger(label={"lm_forwards": 10_000, "flops": 2e15, "seconds": 1000, "peak_memory": 3e9}, select={"seconds": 2})
CHEAP = ledger(
    embed={"encoder_forwards": 90, "seconds": 10, "flops": 1e12, "peak_memory": 1e9},
    label={"lm_forwards": 500, "flops": 1e14, "seconds": 50, "peak_memory": 2e9},
    estimate={"seconds": 3, "flops": 1e12},
    select={"seconds": 1},
)


def written(folder: Path, *, cheap: dict | None = None, spec: dict | None = None) -> list[dict[str, str]]:
    """The CSV of two rows, the second with two seeds."""
    axes = {"data": "alpaca", "influence": "delift"}
    cells = [
        cell("select/exact", axes | {"how": "exact", "seed": 0}, {"costs": EXACT, "labels": 10_000}),
        *(
            cell(
                f"select/nncift.{seed}",
                axes | {"how": "nncift", "seed": seed},
                {"costs": cheap or CHEAP, "fidelity": {"trained_on": 450, "held_out": 50}},
            )
            for seed in (0, 1)
        ),
    ]
    write_tables(write_experiment(folder, [spec or SPEC], cells))
    return read_lines(folder / "tables" / "costs.csv")


def test_everything_is_counted_and_held_against_the_exact_run(tmp_path: Path) -> None:
    lines = written(tmp_path)
    assert [(one["how"], one["stage"]) for one in lines] == [
        *(("exact", stage) for stage in ("total", "label", "select")),
        *(("nncift", stage) for stage in ("total", "embed", "label", "estimate", "select")),
    ]
    total = next(one for one in lines if (one["how"], one["stage"]) == ("nncift", "total"))
    assert float(total["seconds"]) == 64 and float(total["flops"]) == 1.02e14 and float(total["peak_memory"]) == 2e9
    assert float(total["labels"]) == 500 and total["runs"] == "2" and float(total["encoder_forwards"]) == 90
    assert float(total["seconds_saved"]) == pytest.approx(1 - 64 / 1002)
    assert float(total["flops_saved"]) == pytest.approx(1 - 1.02e14 / 2e15)
    assert float(total["paper_arithmetic_seconds"]) == pytest.approx(0.0025 * 1002 + 4)  # estimate and select take 4
    assert float(total["published_seconds"]) == 217
    assert lines[0]["seconds_saved"] == "" and float(lines[0]["published_seconds"]) == 68117


def test_the_papers_arithmetic_is_named_as_such(tmp_path: Path) -> None:
    lines = written(tmp_path, spec=SPEC | {"constant": 47})
    assert float(lines[3]["paper_arithmetic_seconds"]) == pytest.approx(0.0025 * 1002 + 47)
    text = (tmp_path / "tables" / "costs.md").read_text(encoding="utf-8")
    assert "## The paper's own arithmetic, which is not how we count" in text
    assert "| delift | nncift | 64.0 | 1,002 | 47.0 | 49.5 | 95.1% | 93.6% |" in text
    assert "| delift | nncift | 500 | 500 | 0 | 90 | 102 TFLOP | 64.0 | 2 GB | 94.9% | 93.6% | 2 |" in text
    assert "| delift | nncift | 217 | 99.7% | 93.6% |" in text


def test_labels_found_computed_are_counted_as_if_they_had_been_made(tmp_path: Path) -> None:
    half = CHEAP | {"exact": {"lm_forwards": 1, "lm_backwards": 0, "share": 0.1, "not_made": 0.5}}
    lines = written(tmp_path / "half", cheap=half)
    assert float(lines[3]["seconds"]) == 64 + 50 and float(lines[3]["lm_forwards"]) == 1000
    assert float(lines[3]["peak_memory"]) == 2e9
    whole = CHEAP | {"exact": {"lm_forwards": 1, "lm_backwards": 0, "share": 0.1, "not_made": 1.0}}
    assert [
        (one["how"], one["seconds"]) for one in written(tmp_path / "whole", cheap=whole) if one["stage"] == "total"
    ] == [
        ("exact", "1002.0"),
        ("nncift", ""),
    ]  # not 64 seconds, nor a saving of 94 %: nobody knows
    text = (tmp_path / "whole" / "tables" / "costs.md").read_text(encoding="utf-8")
    assert "is not known and left out: select/nncift.0, select/nncift.1" in text
    assert "| delift | nncift | 500 | – | – | – | – | – | – | – | – | 2 |" in text
    assert "paper's own" not in text


def test_embeddings_that_were_there_are_told(tmp_path: Path) -> None:
    there = CHEAP | {"stages": CHEAP["stages"] | {"embed": CHEAP["stages"]["embed"] | {"encoder_forwards": 0}}}
    written(tmp_path, cheap=there)
    text = (tmp_path / "tables" / "costs.md").read_text(encoding="utf-8")
    assert "Embeddings were found computed or given; what they take is not in these numbers: select/nncift.0" in text
    written(tmp_path)
    assert "Embeddings were found" not in (tmp_path / "tables" / "costs.md").read_text(encoding="utf-8")
