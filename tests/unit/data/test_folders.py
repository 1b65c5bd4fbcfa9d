"""A folder of shards is the file that they make together: the same rows under the same ids, in memory or on disk."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nncift.data import files
from nncift.data.files import load_pool
from nncift.data.rows import Pool, lines_of, numbers_of, raw_of
from nncift.data.write import write_rows
from nncift.errors import DataError

COUNT = 41
SIZES = (7, 1, 20, 13)
BAD = {3, 8, 30}  # rows without a response, one of them the last of its shard's beginning


def rows() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = [
        {"prompt": f"question {k % 11}", "completion": f"answer {k % 11}", "task": f"t{k % 3}"} for k in range(COUNT)
    ]  # texts come again in other shards, so that ids must be told over all of them
    for k in BAD:
        made[k]["completion"] = ""
    return made


def shards(folder: Path, kind: str) -> tuple[Path, Path]:
    """The folder, and one file of the same rows."""
    whole, ends = rows(), np.cumsum(SIZES)
    place = folder / "shards"
    place.mkdir()
    (place / "_SUCCESS").touch()
    (place / ".part-9.jsonl").write_text("not a shard")
    single = folder / f"all.{kind}"
    for number, (end, size) in enumerate(zip(ends.tolist(), SIZES, strict=True)):
        write(place / f"part-{number:03d}.{kind}", whole[end - size : end])
    write(single, whole)
    return place, single


def write(path: Path, some: list[dict[str, Any]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(some), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")


def told(pool: Pool) -> dict[str, Any]:
    return {
        "ids": pool.ids,
        "keys": list(pool.keys),
        "texts": [row.text for row in pool],
        "numbers": numbers_of(pool.examples).tolist(),
        "raw": [raw_of(pool.examples, k) for k in range(len(pool))],
        "sorted": [row.id for row in pool.by_id()],
        "fingerprints": (pool.fingerprint, pool.raw_fingerprint),
        "kind": (pool.layout, pool.file_type),
        "reasons": pool.reasons,
    }


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_folder_is_the_file_of_all_its_rows(
    tmp_path: Path, kind: str, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, single = shards(tmp_path, kind)
    whole = load_pool(single)
    if stored:
        monkeypatch.setattr(files, "LARGE", 0)
    pool = load_pool(place)
    assert isinstance(pool.examples, tuple) != stored
    assert told(pool) == told(whole)
    assert [(Path(row.file).name, row.line) for row in pool.rejected] == [
        ("part-000." + kind, 4),
        ("part-002." + kind, 1),
        ("part-003." + kind, 3),
    ]
    at = np.array([len(pool) - 1, 0, 12, 5])
    for name, one in (("shards", pool), ("all", whole)):
        write_rows(one, at, tmp_path / f"{name}.out")
    written = [tmp_path / f"{name}.out" for name in ("shards", "all")]
    if kind == "parquet":
        assert pq.read_table(written[0]).to_pylist() == pq.read_table(written[1]).to_pylist()
    else:
        assert written[0].read_bytes() == written[1].read_bytes()
    assert lines_of(pool.examples)[-1] == SIZES[-1]  # lines are those of the shard


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_stored_rows_are_read_by_another_process_too(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, single = shards(tmp_path, kind)
    monkeypatch.setattr(files, "LARGE", 0)
    for source in (place, single):
        pool = load_pool(source)
        again = deepcopy(pool)  # by the way that rows take to a worker
        assert told(again) == told(pool) and [*again.rejected] == [*pool.rejected]
    pool = load_pool(single)
    single.write_bytes(single.read_bytes() + b"\n")
    with pytest.raises(DataError, match="changed after it was read"):
        deepcopy(pool)
    single.unlink()
    with pytest.raises(DataError, match="must lie at the same place on every machine"):
        deepcopy(pool)


def test_shards_of_other_types_go_together_where_they_can(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", "two"], "n": pa.array([1, 2], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["three"], "n": pa.array([3], pa.int64()), "more": ["x"]}), tmp_path / "b.parquet")
    pool = load_pool(tmp_path)
    write_rows(pool, [2, 0], tmp_path.with_suffix(".out"))
    assert pq.read_table(tmp_path.with_suffix(".out")).to_pylist() == [
        {"text": "three", "n": 3, "more": "x"},
        {"text": "one", "n": 1, "more": None},
    ]


def test_folders_that_are_no_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.jsonl", rows())
    write(tmp_path / "b.parquet", rows())
    with pytest.raises(DataError, match=r"two types, such as b\.parquet and a\.jsonl"):
        load_pool(tmp_path)
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "empty.jsonl").touch()
    assert len(load_pool(tmp_path)) == COUNT - len(BAD)  # an empty shard is none, and that is said
    assert "1 of 2 shards" in caplog.text
    (tmp_path / "empty.jsonl").unlink()
    write(tmp_path / "a.jsonl", [])
    with pytest.raises(DataError, match=r"a\.jsonl is empty"):
        load_pool(tmp_path)
    (tmp_path / "stages.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(DataError, match="is a run folder"):
        load_pool(tmp_path)
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Name the folder that does, such as .*data"):
        load_pool(other)
    (other / "00000.jsonl.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="gzip -dk"):
        load_pool(other)


def test_no_usable_row_names_the_shard(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"prompt": "p", "completion": ""}])
    write(tmp_path / "b.jsonl", [{"prompt": "q", "completion": ""}])
    with pytest.raises(DataError, match=r"2 rejected, most often \(2, first in line 1 of a\.jsonl\)"):
        load_pool(tmp_path)
