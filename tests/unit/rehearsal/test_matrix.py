"""Reading the matrix: by ids, whatever the order, and a clear sentence for what does not fit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.data.arrays import read_npz, write_npz
from nncift.data.files import load_pool
from nncift.errors import DataError
from nncift.rehearsal.matrix import named_rows, read_matrix
from toy_rehearsal import Known, M, N, make_known


@pytest.fixture
def known(tmp_path: Path) -> Known:
    return make_known(tmp_path / "known", shuffle=7)


def rewritten(known: Known, **change: Any) -> Path:
    """Its labels with other arrays; None takes one away."""
    arrays = read_npz(known.folder / "labels.npz") | change
    path = known.folder / "changed.npz"
    write_npz(path, {name: np.asarray(array) for name, array in arrays.items() if array is not None})
    return path


def pairs(values: np.ndarray) -> dict[str, Any]:
    i, j = (axis.ravel().astype(np.int32) for axis in np.indices(values.shape))
    order = np.random.default_rng(0).permutation(len(i))
    return {"values": None, "i": i[order], "j": j[order], "y": values[i, j][order]}


def test_everything_is_in_the_order_of_the_ids(known: Known) -> None:
    found = read_matrix(known.folder / "labels.npz")
    assert list(found.target_ids) == sorted(known.target_ids) and list(found.pool_ids) == sorted(known.pool_ids)
    for i, target in enumerate(found.target_ids):
        for j, row in enumerate(found.pool_ids):
            exact = known.values[known.target_ids.index(target), known.pool_ids.index(row)]
            assert found.known[i, j] == np.isfinite(exact)
            assert found.values[i, j] == (exact if np.isfinite(exact) else 0)
    back = found.as_filed(np.where(found.known, found.values, np.nan))
    assert np.array_equal(back, known.values, equal_nan=True)
    assert {tuple(pair) for pair in found.masked} == set(zip(*np.nonzero(~found.known), strict=True))


def test_pairs_give_the_same_matrix(known: Known) -> None:
    values = np.nan_to_num(known.values)
    dense, listed = (read_matrix(rewritten(known, **change)) for change in ({"values": values}, pairs(values)))
    assert np.array_equal(dense.values, listed.values) and dense.known.all() and listed.known.all()


def test_what_is_not_finite_is_masked_and_said(known: Known, caplog: pytest.LogCaptureFixture) -> None:
    values = known.values.astype(np.float64)
    values[:, 3] = -np.inf
    values[2, 5] = 1e300  # infinite as float32
    with caplog.at_level(logging.WARNING):
        found = read_matrix(rewritten(known, values=values))
    bad = ~np.isfinite(known.values)
    bad[:, 3] = bad[2, 5] = True
    assert (~found.known).sum() == bad.sum()
    assert len(found.candidates) == N - 1 and known.pool_ids[3] not in np.array(found.pool_ids)[found.candidates]
    assert f"{bad.sum()} of {M * N} pairs have no finite influence" in caplog.text


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no influences at .*nncift label POOL --labels all"):
        read_matrix(tmp_path / "none.npz")


@pytest.mark.parametrize("kind", ["cut", "text", "npy"])
def test_no_archive(kind: str, tmp_path: Path) -> None:
    if kind == "npy":
        np.save(tmp_path / "one.npy", np.ones((M, N)))
        (tmp_path / "one.npy").rename(tmp_path / "labels.npz")
    else:
        (tmp_path / "labels.npz").write_bytes(b"PK nothing" if kind == "cut" else b'{"prompt": "a"}')
    with pytest.raises(DataError, match=r"cannot be read as an \.npz"):
        read_matrix(tmp_path / "labels.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pool_ids": None}, "no array `pool_ids`"),
        ({"target_ids": np.ones((M, 2))}, "not one text per row in `target_ids`"),
        ({"target_ids": ["a"] * M}, "the id 'a' twice in `target_ids`"),
        ({"values": np.zeros((N, M))}, rf"\({N}, {M}\); with {M} targets .* shape \({M}, {N}\)"),
        ({"values": np.full((M, N), "x")}, "numbers of shape"),
        ({"values": np.full((M, N), np.nan)}, "no finite influence"),
        ({"values": None}, "neither `values` nor `i`, `j` and `y`"),
        ({"values": None, "i": [0, 1], "j": [0], "y": [1.0]}, "must be lists of one length"),
        ({"values": None, "i": [0, M], "j": [0, 1], "y": [1.0, 1.0]}, "outside its 12 targets"),
        ({"values": None, "i": [0, 1], "j": [0, 1], "y": [1.0, 1.0]}, "holds 2 of 360 pairs"),
    ],
)
def test_what_does_not_fit_is_refused(known: Known, change: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_matrix(rewritten(known, **change))


def test_rows_are_found_by_their_ids(known: Known) -> None:
    pool = load_pool(known.folder / "pool.jsonl")
    assert [row.id for row in named_rows(known.pool_ids, pool, "pool")] == known.pool_ids
    with pytest.raises(DataError, match=r"12 of the 12 `target_ids` .*'t\d\d', 't\d\d'.*, …\. .*--target FILE"):
        named_rows(known.target_ids, pool, "target")
