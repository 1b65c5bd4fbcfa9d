"""The page on scaling is what its command writes from what was measured, and the model holds where it was not fitted."""

from __future__ import annotations

import itertools
import json

import pytest

from benchmarks.scaling import PAGE, RECORD, SIZES, Line, filled, fitted, labelling, workers_table


def test_the_page_is_what_the_command_writes() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text, json.loads(RECORD.read_text(encoding="utf-8"))) == text


def test_the_model_holds_at_the_size_that_it_was_not_fitted_on() -> None:
    sizes = json.loads(RECORD.read_text(encoding="utf-8"))["sizes"]
    largest = max(sizes, key=lambda size: size["rows"])
    assert largest["rows"] == 1_000_000 and len(sizes) == 4
    assert fitted(sizes).at(largest["rows"]) == pytest.approx(largest["cpu_seconds"], rel=0.3)


def test_a_line_goes_through_its_points() -> None:
    line = Line.through([10, 100, 1000], [2 + 0.5 * n for n in (10, 100, 1000)])
    assert (line.constant, line.per_row) == (pytest.approx(2), pytest.approx(0.5))
    assert Line.through([10, 1000], [1.0, 200.0]).constant == 0.0


def test_labels_by_pairs_grow_with_the_pool_and_no_faster() -> None:
    counts = [labelling(n)[0] for n in SIZES]
    assert all(large <= 10 * small for small, large in itertools.pairwise(counts))
    assert all(calls.forwards == labels + 1_000 for labels, calls, _ in map(labelling, SIZES))


def test_more_workers_take_less_memory_each() -> None:
    sizes = [{"rows": n, "cpu_seconds": 5 + n / 1e4, "peak_bytes": 5e8 + 4e3 * n} for n in (1_000, 10_000, 100_000)]
    rows = [row.split(" | ") for row in workers_table(sizes)[2:]]
    assert len(rows) == len(SIZES) * 3
    seconds = [float(row[2].replace(",", "")) for row in rows[-3:]]
    assert seconds[0] > seconds[1] > seconds[2]
