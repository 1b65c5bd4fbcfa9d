"""Rows on a shelf: found by key whatever shard they are in, as they were put."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from nncift.embed.shelf import Shelf


def key(word: str) -> bytes:
    return sha256(word.encode()).digest()


def arrays(*numbers: int) -> dict[str, np.ndarray]:
    return {"wide": np.array([[n, n + 0.5] for n in numbers], dtype=np.float32), "odd": np.array(numbers) % 2 == 1}


def test_what_is_put_is_found(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "deep" / "shelf", "numbers")
    assert shelf.find([key("a")]) == {} and shelf.held() == set()
    assert shelf.put([key("a"), key("b"), key("c")], arrays(1, 2, 3)) and shelf.put([key("d")], arrays(4))
    assert shelf.held() == {key(word) for word in "abcd"}
    found = shelf.find([key("d"), key("b"), key("x")])
    assert found.keys() == {key("d"), key("b")}
    for word, number in (("b", 2), ("d", 4)):
        assert found[key(word)].keys() == {"wide", "odd"} and not found[key(word)]["odd"]
        np.testing.assert_array_equal(found[key(word)]["wide"], np.array([number, number + 0.5], dtype=np.float32))


def test_equal_rows_give_one_file(tmp_path: Path) -> None:
    for _ in range(2):
        Shelf(tmp_path, "numbers").put([key("a")], arrays(1))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_shard_is_told_and_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(tmp_path, "numbers")
    shelf.put([key("a")], arrays(1))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    shelf.put([key("b")], arrays(2))
    assert shelf.held() == {key("b")} and not path.exists()
    assert "the cached numbers" in caplog.text and "damaged" in caplog.text


def test_nowhere_to_put_it_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    assert not Shelf(tmp_path / "file", "numbers").put([key("a")], arrays(1))
    assert "numbers are not kept for the next run" in caplog.text
