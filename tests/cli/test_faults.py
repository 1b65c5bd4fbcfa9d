"""A small fault campaign: what is promised of runs that are killed, stopped, short of space, locked out or damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toy_road import cli_environment

ROOT = Path(__file__).parents[2]
KINDS = ("kill", "signal", "full", "closed", "damage", "change")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a tiny campaign found, line by line; one process runs all of it."""
    out = tmp_path_factory.mktemp("faults") / "soak.json"
    command = [sys.executable, "-m", "benchmarks.soak", "--tiny", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=cli_environment(ROOT), capture_output=True, text=True, check=False)
    assert out.is_file(), done.stderr
    return json.loads(out.read_text(encoding="ascii"))["lines"]


@pytest.mark.slow
def test_every_fault_is_survived(lines: list[dict[str, Any]]) -> None:
    wrong = [(line["fault"], line["work"], line["failures"]) for line in lines if line["failures"]]
    assert wrong == []
    assert all(line["survived"] == line["tried"] and line["lost"] == line["left"] == 0 for line in lines)
    assert max(line["again"] for line in lines if "again and again" not in line["fault"]) <= 2


@pytest.mark.slow
def test_every_kind_was_tried(lines: list[dict[str, Any]]) -> None:
    assert len({line["fault"] for line in lines}) >= 18
    for line in lines:
        if line["skipped"]:  # where the machine does not allow it
            assert "not permitted" in line["skipped"] or "root" in line["skipped"], line
        else:
            assert line["tried"] >= 1
