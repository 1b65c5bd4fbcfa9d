"""Shared fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nncift.cachedir import cache_folder

# a toy's matrices are smaller than the price of handing them to a second thread: 30 s became 2 s on two busy cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; where it is absent the test is skipped, and says so."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data beside the checkout ({folder.name}/ is absent)")
    return folder


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Tests leave the user's cache alone; those on real models share its unpacked models, because unpacking takes a minute."""
    own = tmp_path_factory.mktemp("cache")
    if request.node.get_closest_marker("real") is not None:
        models = cache_folder() / "models"
        models.mkdir(parents=True, exist_ok=True)
        (own / "models").symlink_to(models.resolve(), target_is_directory=True)
    monkeypatch.setenv("NNCIFT_CACHE", str(own))
