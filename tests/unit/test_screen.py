"""What the terminal shows."""

from __future__ import annotations

import pytest

from nncift import registry
from nncift.catalogue import influence_markdown, registry_lines
from nncift.screen import Bars, duration


def test_a_stage_inside_a_stage_leaves_the_outer_one_counting(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(hidden=False) as bars:
        bars.begin("label", 30, "calls")
        bars.begin("load", 0, "")
        bars.end("a model")
        bars.advance(7)
        (task,) = bars.progress.tasks
        assert (task.description, task.completed, task.total) == ("label", 7, 30)
        bars.end("30 exact influences")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["load     a model", "label    30 exact influences"]
    assert printed.out == ""


def test_hidden_bars_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars(hidden=True) as bars:
        bars.begin("label", 3, "calls")
        bars.advance(3)
        bars.end("3 exact influences")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (395, "6 min 35 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_every_registered_name_is_listed_and_every_influence_has_its_row() -> None:
    lines = registry_lines()
    for kind in ("influence", "objective", "embedder"):
        for name in registry.names(kind):
            assert any(line.split()[:1] == [name] for line in lines)
    rows = influence_markdown()[2:]
    assert [row.split("`")[1] for row in rows] == list(registry.names("influence"))
    assert all(row.count(" | ") == 8 for row in rows)
