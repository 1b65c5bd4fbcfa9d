"""Shared fixtures."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from toy_experiment import ToyExperiment, make_experiment


@pytest.fixture
def experiment(tmp_path: Path) -> ToyExperiment:
    """A small experiment."""
    return make_experiment(tmp_path / "toy")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose tables were asked for; none is written."""
    asked: list[Path] = []
    module = SimpleNamespace(write_tables=lambda folder: (asked.append(folder), [folder / "tables" / "toy.md"])[1])
    monkeypatch.setitem(sys.modules, "nncift.experiment.tables", module)
    return asked
