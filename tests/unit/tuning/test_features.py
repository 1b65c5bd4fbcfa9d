"""What is kept of a feature vector, and what a kill or a damaged file does to it: nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from nncift.tuning import features as module
from nncift.tuning.features import FeatureStore, Kept

SHAPE = (2, 11, 37)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)


def _vectors() -> np.ndarray:
    draw = np.random.default_rng(1)
    return (draw.standard_normal(SHAPE) * 10 ** draw.uniform(-6, 6, (*SHAPE[:2], 1))).astype(np.float32)


def _fill(store: FeatureStore, *, stop_after: int = 99) -> int:
    count = 0
    for count, (t, rows) in enumerate(store.missing(), start=1):
        if count > stop_after:
            return count - 1
        store.put(t, rows, _vectors()[t, rows])
    return count


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("kept", "error"), [("float16", 2e-4), ("int8", 4e-3)])
def test_keeps_directions_and_lengths(tmp_path: Path, kept: Kept, error: float) -> None:
    store = FeatureStore(tmp_path / "s", SHAPE, kept=kept)
    assert [(t, rows.start, rows.stop) for t, rows in store.missing()] == [
        (t, start, stop) for t in (0, 1) for start, stop in ((0, 4), (4, 8), (8, 11))
    ]
    assert _fill(store) == 6 and list(store.missing()) == []
    lengths = np.linalg.norm(_vectors().astype(np.float64), axis=2)
    np.testing.assert_allclose(store.lengths, lengths, rtol=1e-6)
    some = np.array([9, 0, 4])
    got = store.units(1, some)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (_vectors()[1] / lengths[1][:, None])[some], atol=error)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    assert store.directed().all()
    sizes = {path.stem: path.stat().st_size for path in tmp_path.rglob("*.npy")}
    assert sizes["features"] < 200 + np.prod(SHAPE) * (2 if kept == "float16" else 1)


@pytest.mark.parametrize("kept", ["float16", "int8"])
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_a_direction_is_told(tmp_path: Path, kept: Kept, bad: float) -> None:
    store = FeatureStore(tmp_path / "s", (1, 3, 5), kept=kept)
    vectors = np.ones((3, 5), dtype=np.float32)
    vectors[1] = bad
    store.put(0, slice(0, 3), vectors)
    assert store.directed().tolist() == [True, False, True]
    np.testing.assert_array_equal(store.units(0, np.array([1])), 0)
    assert list(store.missing()) == []


@pytest.mark.parametrize("kept", ["float16", "int8"])
def test_a_killed_fill_ends_in_the_same_bytes(tmp_path: Path, kept: Kept) -> None:
    whole, killed = (FeatureStore(tmp_path / name, SHAPE, kept=kept) for name in ("whole", "killed"))
    _fill(whole)
    assert _fill(killed, stop_after=2) == 2
    again = FeatureStore(tmp_path / "killed", SHAPE, kept=kept)
    assert _fill(again) == 4
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["flipped", "cut", "header", "marker", "shape"])
def test_damage_is_seen_and_mended(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    _fill(FeatureStore(tmp_path / "s", SHAPE, kept="float16"))
    whole = _bytes(tmp_path / "s")
    path = tmp_path / "s" / "features.npy"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-3] ^= 0x40
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:300])
    elif damage == "header":
        path.write_bytes(b"nonsense" + data[8:])
    elif damage == "marker":
        (tmp_path / "s" / "done" / "0-1.json").write_text('{"sha')
    else:
        np.save(path, np.zeros((1, 2, 3), dtype=np.float16))
    with caplog.at_level(logging.WARNING):
        store = FeatureStore(tmp_path / "s", SHAPE, kept="float16")
        assert _fill(store) == (1 if damage in ("flipped", "marker") else 6)
    assert "damaged" in caplog.text
    assert _bytes(tmp_path / "s") == whole


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "s", (2, 0, 5), kept="float16")
    assert list(store.missing()) == [] and store.directed().shape == (0,)
