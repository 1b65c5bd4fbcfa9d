"""The published figures, against what can be recomputed from them."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.experiment.tables.published import figures, find, mean_relative_difference
from nncift.rehearsal.quadrants import PARTS


def test_the_summary_of_the_slides_can_be_recomputed() -> None:
    assert 100 * mean_relative_difference("phi-3") == pytest.approx(1.402, abs=5e-4)
    assert 100 * mean_relative_difference("llama-8b") == pytest.approx(1.396, abs=5e-4)


def test_the_published_costs_are_one_share_and_one_constant() -> None:
    seconds = figures("seconds")
    exact = {
        (one.axes["model"], one.axes["data"], one.axes["influence"]): one.value
        for one in seconds
        if one.axes["how"] == "exact"
    }
    left = [
        one.value - 0.0025 * exact[one.axes["model"], one.axes["data"], one.axes["influence"]]
        for one in seconds
        if one.axes["how"] == "nncift"
    ]
    assert len(left) == 16 and min(left) >= 46.4 and max(left) <= 47.6


def test_every_figure_has_a_source_and_a_place_of_its_own() -> None:
    for table, count in (("scores", 11 * 12 + 15 * 12), ("seconds", 18 + 18 + 8), ("quadrants", 4)):
        found = figures(table)
        assert len(found) == count and all("2502.09969" in one.source for one in found)
        assert len({tuple(sorted(one.axes.items())) for one in found}) == count
    assert [one.axes["part"] for one in figures("quadrants")] == list(PARTS)
    assert np.mean([one.value for one in figures("quadrants")]) == pytest.approx(0.067, abs=1e-3)


def test_a_place_is_found_by_its_own_words() -> None:
    wanted = {"model": "phi-3", "names": {"data": {"ours": "alpaca"}, "how": {"first-six": "distilgpt2"}}}
    axes = {"data": "ours", "influence": "less", "how": "nncift", "by": "lora", "metric": "rouge1", "seed": "0"}
    found = find("scores", wanted, axes)
    assert found is not None and found.value == pytest.approx(0.3649) and "Phi-3" in found.source
    judge = find("scores", wanted, axes | {"metric": "judge"})
    assert judge is not None and judge.value == 3.16
    assert find("scores", wanted, axes | {"metric": "loss"}) is None
    assert find("scores", None, axes) is None
    control = {name: value for name, value in axes.items() if name != "influence"} | {"how": "random"}
    found = find("scores", wanted, control)
    assert found is not None and found.value == pytest.approx(0.3557)
    by_axis = {"model": None, "names": {"model": {"Phi": "phi-3"}, "data": {"ours": "alpaca"}}}
    assert find("scores", by_axis, axes | {"model": "Phi"}) == find("scores", wanted, axes)
    assert find("scores", by_axis, axes | {"model": "Gemma"}) is None and find("scores", by_axis, axes) is None
    cheap = find("seconds", wanted | {"model": "llama-8b"}, axes | {"how": "first-six"})
    assert cheap is not None and cheap.value == 1278 and "paper" in cheap.source
