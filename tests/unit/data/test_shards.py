"""Shards of chosen rows: together they are the one file, each is whole by itself, and no more of them is held the more there
are."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.data import copying, files
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.data.shards import in_shards, is_shard, lines_in, missing_of, shard_name, shard_names
from nncift.data.write import subset_suffix, write_lines, write_rows, write_shards
from nncift.errors import DataError

COUNT = 41
KINDS = ("jsonl", "parquet", "csv", "json")
SIZES = (1, 4, 6, 12, 24, 25)  # of 24 rows: they divide, do not, and hold all


def rows(count: int = COUNT) -> list[dict[str, Any]]:
    return [{"id": f"r{k}", "prompt": f"question {k}", "completion": f"answer\n{k}", "n": k} for k in range(count)]


def source(path: Path, some: list[dict[str, Any]], **options: Any) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(some), path, **options)
    elif path.suffix == ".json":
        path.write_text(json.dumps(some))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(some[0]))
            writer.writeheader()
            writer.writerows(some)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return path


def sharded(pool: Pool, at: np.ndarray, folder: Path, size: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / name for name in shard_names("subset", len(at), size, subset_suffix(pool))]
    write_shards(pool, at, paths, size)
    return paths


@given(total=st.integers(0, 300), size=st.integers(1, 320))
def test_names_are_in_order_and_count_themselves(total: int, size: int) -> None:
    names = shard_names("a-b", total, size, ".jsonl")
    assert names == sorted(names) and len(names) == max(1, (total + size - 1) // size)
    assert all(is_shard(name, "a-b") and not is_shard(name, "a") for name in names)
    paths = [Path(name) for name in names]
    assert missing_of(paths) == 0 and missing_of([*paths[1:], Path("other.jsonl")]) == 0
    assert missing_of(paths[1:]) == min(1, len(paths) - 1)


def test_a_shard_is_called_as_others_call_theirs() -> None:
    assert shard_name("subset", 0, 7, ".jsonl") == "subset-00000-of-00007.jsonl"
    assert shard_name("subset", 99_999, 123_456, ".parquet") < shard_name("subset", 100_000, 123_456, ".parquet")
    assert not any(map(is_shard, ("subset.jsonl", "subset-0-of-7.jsonl", "-00000-of-00007.jsonl")))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "on disk"])
@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_the_one_file(
    tmp_path: Path, kind: str, stored: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGE", 0 if stored else files.LARGE)
    monkeypatch.setattr(copying, "HELD", 600)  # so that rows wait in a file, and a file has several row groups
    monkeypatch.setattr(copying, "_GROUP", 5)
    pool = load_pool(source(tmp_path / f"pool.{kind}", rows(), **({"row_group_size": 7} if kind == "parquet" else {})))
    at = np.random.default_rng(3).permutation(COUNT)[:24]
    single = tmp_path / f"single.{kind}"
    write_rows(pool, at, single)
    paths = sharded(pool, at, tmp_path / "subset", size)
    assert sorted((tmp_path / "subset").iterdir()) == paths
    apart = [len(load_pool(path)) for path in paths]  # each is a source by itself
    assert apart[:-1] == [size] * (len(apart) - 1) and sum(apart) == 24 and 0 < apart[-1] <= size
    whole, together = load_pool(single), load_pool(tmp_path / "subset")
    assert together.ids == whole.ids == tuple(f"r{k}" for k in at)
    assert (together.raw_fingerprint, together.layout) == (whole.raw_fingerprint, whole.layout)
    if kind == "jsonl":
        assert b"".join(path.read_bytes() for path in paths) == single.read_bytes()
    if kind == "parquet":
        assert pa.concat_tables(map(pq.read_table, paths)).equals(pq.read_table(single))


def test_a_row_asked_for_twice_is_written_twice(tmp_path: Path) -> None:
    pool = load_pool(source(tmp_path / "pool.parquet", rows()))
    paths = sharded(pool, np.array([5, 2, 5, 40, 2]), tmp_path / "subset", 2)
    assert [pq.read_table(path)["n"].to_pylist() for path in paths] == [[5, 2], [5, 40], [2]]


def test_no_row_is_one_empty_shard(tmp_path: Path) -> None:
    pool = load_pool(source(tmp_path / "pool.parquet", rows()))
    (path,) = sharded(pool, np.array([], dtype=np.int64), tmp_path / "subset", 2)
    assert pq.read_table(path).num_rows == 0 and pq.read_schema(path).names == list(rows()[0])


def test_a_folder_that_lacks_a_shard_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pool = load_pool(source(tmp_path / "pool.jsonl", rows()))
    paths = sharded(pool, np.arange(9), tmp_path / "subset", 2)
    assert len(load_pool(tmp_path / "subset")) == 9 and not caplog.text
    paths[1].unlink()
    assert len(load_pool(tmp_path / "subset")) == 7
    assert "subset lacks 1 of the 5 shards that the names count" in caplog.text


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_files_of_these_types_are_shards_only_where_they_say_so(tmp_path: Path, kind: str) -> None:
    source(tmp_path / f"a.{kind}", rows(3))
    with pytest.raises(DataError, match="Name one of its files"):
        load_pool(tmp_path)
    source(tmp_path / f"a-00000-of-00001.{kind}", rows(2))
    assert load_pool(tmp_path).ids == ("r0", "r1")


def peak(place: Path, count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that Arrow holds at most while rows of 2 kB are copied into shards in a drawn order."""
    path = place / f"{count}.parquet"
    draw = np.random.default_rng(count)
    with pq.ParquetWriter(path, pa.schema([("id", pa.int64()), ("text", pa.string())])) as writer:
        for start in range(0, count, 500):
            texts = [draw.bytes(1000).hex() for _ in range(500)]
            writer.write_table(pa.table({"id": np.arange(start, start + 500), "text": texts}))
    order, before = draw.permutation(count), pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        folder = place / f"{count}-{size}"
        folder.mkdir()
        paths = [folder / name for name in shard_names("subset", count, size, ".parquet")]
        copying.copy_rows([path], order, paths, size)
        found = pool.max_memory()
    finally:
        pa.set_memory_pool(before)
    assert [i for path in paths for i in pq.read_table(path, columns=["id"])["id"].to_pylist()] == order.tolist()
    return found


@pytest.mark.parametrize("size", [400, 10**9], ids=["shards", "one file"])
def test_parquet_shards_take_no_more_memory_for_more_rows(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "HELD", 1_000_000)
    few, many = (peak(tmp_path, count, size, monkeypatch) for count in (3_000, 15_000))
    assert many < 1.2 * few and many < 15_000 * 2_000 / 2, (few, many)


def test_lines_are_not_held_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", 0)
    long = [{"text": f"{k} " + "x" * 50_000} for k in range(200)]
    pool = load_pool(source(tmp_path / "pool.jsonl", long))
    tracemalloc.start()
    sharded(pool, np.arange(200)[::-1], tmp_path / "subset", 30)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 1_000_000 < 200 * 50_000


def test_lines_of_shards_are_those_of_the_one_file(tmp_path: Path) -> None:
    lines = [f'{{"rank": {k}}}\n' for k in range(7)]
    (tmp_path / "selection.jsonl").write_text("".join(lines))
    assert list(lines_in(tmp_path, "selection")) == lines
    (tmp_path / "selection").mkdir()
    with pytest.raises(FileNotFoundError, match="selection are missing"):
        list(lines_in(tmp_path, "selection"))
    names = shard_names("selection", 7, 3, ".jsonl")
    write_lines((line.strip().encode() for line in lines), [tmp_path / "selection" / name for name in names], 3)
    assert [len((tmp_path / "selection" / name).read_text().splitlines()) for name in names] == [3, 3, 1]
    assert list(lines_in(tmp_path, "selection")) == lines
    (tmp_path / "selection" / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match="selection are missing"):
        list(lines_in(tmp_path, "selection"))


@pytest.mark.parametrize(("count", "text"), [(0, ""), (1, " (1 shard)"), (2000, " (2,000 shards)")])
def test_how_many_shards_in_words(count: int, text: str) -> None:
    assert in_shards(count) == text
