"""From the word after `--embedder` to vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from nncift.data.rows import Example, Pool, Turn
from nncift.embed import choose
from nncift.embed.choose import default_embedder, embed_rows, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import ConfigError, ModelError

POOL = Pool(
    tuple(
        Example(id, (Turn("user", "add the two"), Turn("assistant", answer)), k, k + 1, b"")
        for k, (id, answer) in enumerate([("a", "rain"), ("b", "a river"), ("c", "rain")])
    ),
    (),
    "<memory>",
    "messages",
    "jsonl",
)


@pytest.mark.parametrize(
    "device, name", [("cpu", "minilm"), ("mps", "minilm"), ("cuda", choose._LARGE), ("cuda:1", choose._LARGE)]
)
def test_default_and_its_reason(device: str, name: str) -> None:
    chosen, reason = default_embedder(device)
    assert chosen == name and reason.startswith(name) and reason.endswith(".")


def test_every_kind_of_name(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load_embedder(str(toy_folder), device="cpu"), SentenceEmbedder)
    np.save(tmp_path / "e.npy", np.eye(3, 4))
    assert isinstance(load_embedder(str(tmp_path / "e.npy"), device="cpu"), Precomputed)
    (tmp_path / "users_embedder.py").write_text(
        "class Mine:\n    def __init__(self, device):\n        self.device = device\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = load_embedder("users_embedder:Mine", device="cuda:1")
    assert type(mine) is sys.modules["users_embedder"].Mine and vars(mine) == {"device": "cuda:1"}
    with pytest.raises(ConfigError, match="cannot import the embedder"):
        load_embedder("users_embedder:Other", device="cpu")
    with pytest.raises(ModelError, match="no such folder"):
        load_embedder("./nowhere", device="cpu")


def test_alias_comes_from_the_registry(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nncift.embed.minilm.packaged_folder", lambda: toy_folder)
    embedder = load_embedder("minilm", device="cpu")
    assert embedder.name == "minilm" and embedder.fingerprint == SentenceEmbedder(str(toy_folder)).fingerprint


def test_rows_of_a_pool_through_an_encoder_and_from_a_file(toy_folder: Path, tmp_path: Path) -> None:
    encoder = SentenceEmbedder(str(toy_folder))
    first = embed_rows(encoder, POOL, folder=tmp_path / "cache")
    np.testing.assert_array_equal(
        first.vectors, encoder.encode(["add the two\nrain", "add the two\na river", "add the two\nrain"])
    )
    assert (first.computed, embed_rows(encoder, POOL, folder=tmp_path / "cache").computed) == (2, 0)
    np.save(tmp_path / "e.npy", np.diag([2.0, 3, 4, 5])[:3])
    given = embed_rows(Precomputed(str(tmp_path / "e.npy")), POOL, folder=tmp_path / "cache")
    np.testing.assert_array_equal(given.vectors, np.eye(3, 4))
    assert (given.computed, given.truncated) == (0, 0)
