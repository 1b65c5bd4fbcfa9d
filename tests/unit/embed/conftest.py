from pathlib import Path

import pytest

from toy_encoder import make_toy_encoder


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sentence-transformers model on disk."""
    return make_toy_encoder(tmp_path_factory.mktemp("encoder"))
