"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from toy_evaluation import Toy, make_toy


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A tiny evaluation."""
    return make_toy(tmp_path / "toy")
