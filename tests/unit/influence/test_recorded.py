"""Recorded influences: matched by id, whatever else the file holds, and told apart by the file's content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

import nncift
import teaching
from nncift.data.arrays import write_npz
from nncift.errors import ConfigError, DataError
from nncift.influence.recorded import Recorded
from nncift.recipe import read_recipe
from teaching import toy_rows

M, N = 5, 9
TARGETS, POOL = toy_rows("t", M), toy_rows("p", N)
VALUES = np.random.default_rng(3).standard_normal((M, N)).astype(np.float32)


def write(path: Path, values: ndarray = VALUES, **more: Any) -> str:
    m, n = values.shape
    ids = {
        "target_ids": np.array([f"t{k:02d}" for k in range(m)]),
        "pool_ids": np.array([f"p{k:02d}" for k in range(n)]),
    }
    write_npz(path, {"values": values} | ids | more)
    return str(path)


def ask(influence: Recorded) -> ndarray:
    return teaching.ask(influence, TARGETS, POOL).matrix


def test_the_values_are_those_of_the_file(tmp_path: Path) -> None:
    np.testing.assert_array_equal(ask(Recorded(write(tmp_path / "l.npz"))), VALUES)


def test_rows_are_matched_by_id_and_may_be_more(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    wide = np.pad(VALUES, ((0, 2), (0, 3)), constant_values=99)
    rows, columns = draw.permutation(M + 2), draw.permutation(N + 3)
    names = {"target_ids": np.array([f"t{k:02d}" for k in rows]), "pool_ids": np.array([f"p{k:02d}" for k in columns])}
    write_npz(tmp_path / "l.npz", {"values": wide[np.ix_(rows, columns)], **names})
    np.testing.assert_array_equal(ask(Recorded(str(tmp_path / "l.npz"))), VALUES)


def test_lists_of_pairs_are_read_too(tmp_path: Path) -> None:
    i, j = np.divmod(np.arange(M * N, dtype=np.int32), N)
    ids = {"target_ids": np.array([row.id for row in TARGETS]), "pool_ids": np.array([row.id for row in POOL])}
    write_npz(tmp_path / "l.npz", {"i": i, "j": j, "y": VALUES[i, j], **ids})
    np.testing.assert_array_equal(ask(Recorded(str(tmp_path / "l.npz"))), VALUES)


def test_what_label_wrote_is_read_back(tmp_path: Path) -> None:
    rows = [{"id": row.id, "text": row.text} for row in POOL]
    first = nncift.label(rows, influence="bm25", labels="all", output=tmp_path / "l.npz") if _bm25() else None
    if first is None:
        first = nncift.label(rows, influence="length", labels="all", output=tmp_path / "l.npz")
        option = (f"matrix={tmp_path}/l.npz", "each=row")
    else:
        option = (f"matrix={tmp_path}/l.npz",)
    again = nncift.label(rows, influence="recorded", option=option, labels="all", output=tmp_path / "again.npz")
    np.testing.assert_array_equal(first.dense(), again.dense())


def _bm25() -> bool:
    from importlib.util import find_spec

    return find_spec("bm25s") is not None


def test_scores_of_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "l.npz", VALUES[:1], target_ids=np.array([], dtype="U1"))
    influence = Recorded(path, each="row")
    assert not influence.traits.pairwise
    np.testing.assert_array_equal(ask(influence), VALUES[:1])
    with pytest.raises(DataError, match=r"numbers of shape \(1, 9\) are needed"):
        ask(Recorded(write(tmp_path / "l.npz"), each="row"))


def test_a_missing_pair_is_told_by_its_ids(tmp_path: Path) -> None:
    holed = VALUES.copy()
    holed[1, 4] = holed[3, 4] = np.nan
    influence = Recorded(write(tmp_path / "l.npz", holed))
    with pytest.raises(DataError, match=r"no finite influence of pool row 'p04' on target 't01', and of 1 more of 45"):
        ask(influence)
    known = np.argwhere(~np.isnan(holed)).astype(np.int32)
    got = teaching.ask(influence, TARGETS, POOL, pairs=(known[:, 0], known[:, 1]))
    np.testing.assert_array_equal(got.y, holed[known[:, 0], known[:, 1]])


def test_a_row_that_is_not_there_is_told_unless_nobody_asks(tmp_path: Path) -> None:
    influence = Recorded(write(tmp_path / "l.npz", VALUES[:, :7]))
    with pytest.raises(DataError, match=r"2 of 9 pool rows, and `pool_ids` of .* do not go together: 'p07', 'p08'"):
        ask(influence)
    some = np.arange(3, dtype=np.int32)
    got = teaching.ask(influence, TARGETS, POOL, pairs=(some, some), asked=(some, some))
    np.testing.assert_array_equal(got.y, VALUES[some, some])
    with pytest.raises(DataError, match=r"1 of 5 targets"):
        ask(Recorded(write(tmp_path / "l.npz", VALUES[:4])))


def test_a_barred_row_is_never_picked(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[:, 2] = -np.inf
    write(tmp_path / "l.npz", values)
    rows, targets = ([{"id": row.id, "text": row.text} for row in side] for side in (POOL, TARGETS))
    picked = nncift.select(
        rows, target=targets, influence="recorded", option=(f"matrix={tmp_path}/l.npz",), labels="all", budget=8,
        embedder=_vectors(tmp_path), output=tmp_path / "run",
    )  # fmt: skip
    assert sorted(picked.ids) == [f"p{k:02d}" for k in range(N) if k != 2]


def _vectors(tmp_path: Path) -> str:
    np.save(tmp_path / "p.npy", teaching.toy_vectors(POOL))
    np.save(tmp_path / "t.npy", teaching.toy_vectors(TARGETS))
    return f"{tmp_path}/p.npy,{tmp_path}/t.npy"


def test_another_content_is_labelled_anew_and_an_estimator_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows, targets = ([{"id": row.id, "text": row.text} for row in side] for side in (POOL, TARGETS))
    options = {"target": targets, "influence": "recorded", "option": "matrix=l.npz", "embedder": _vectors(tmp_path)}

    def run(labels: str = "all") -> Any:
        return nncift.select(rows, budget=3, labels=labels, output=tmp_path / "run", **options)

    write(tmp_path / "l.npz")
    first = run()
    write(tmp_path / "l.npz", -VALUES)
    other = run()
    assert list(first.ids) != list(other.ids)
    assert read_recipe(tmp_path / "run" / "recipe.yaml").option == (f"matrix={tmp_path}/l.npz",)
    assert run("60%").fidelity is not None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"values": VALUES.T}, r"numbers of shape \(5, 9\) are needed"),
        ({"values": VALUES.astype(str)}, "`values` is <U"),
        ({"pool_ids": np.array(["p00"] * N)}, "the id 'p00' twice"),
        ({"pool_ids": np.zeros((2, 2))}, "not one text per row in `pool_ids`"),
    ],
)
def test_a_file_that_cannot_be_is_told(tmp_path: Path, arrays: dict[str, ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        names = {"target_ids": np.array([row.id for row in TARGETS]), "pool_ids": np.array([row.id for row in POOL])}
        write_npz(tmp_path / "l.npz", {"values": VALUES} | names | arrays)
        ask(Recorded(str(tmp_path / "l.npz")))


def test_files_that_are_none_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--option matrix=LABELS\.npz"):
        ask(Recorded())
    with pytest.raises(DataError, match="no influences at"):
        ask(Recorded(str(tmp_path / "none.npz")))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match="cannot be read as an"):
        ask(Recorded(str(tmp_path / "text.npz")))
    write_npz(tmp_path / "e.npz", {"pool_ids": np.array(["p00"])})
    with pytest.raises(DataError, match="no array `target_ids`"):
        ask(Recorded(str(tmp_path / "e.npz")))
