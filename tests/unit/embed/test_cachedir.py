"""Where the cache lies."""

from pathlib import Path

import pytest

from nncift.cachedir import cache_folder


def test_the_order_of_the_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NNCIFT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "nncift"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_folder() == tmp_path / ".cache" / "nncift"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "nncift"
    monkeypatch.setenv("NNCIFT_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("NNCIFT_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "nncift"
    assert not any(tmp_path.iterdir())
