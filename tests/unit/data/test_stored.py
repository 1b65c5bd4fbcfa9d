"""Rows that stay in their file: which do, what they cost, that nothing is decoded needlessly, and what a change does."""

from __future__ import annotations

import errno
import gc
import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.data import files, stored
from nncift.data.columns import column_values
from nncift.data.files import load_pool
from nncift.data.keys import ContentKeys
from nncift.data.rows import Indexed, Pool
from nncift.data.storing import Storing
from nncift.data.write import write_rejected, write_rows
from nncift.errors import DataError
from nncift.pipeline.inputs import describe_rejected, make_axes


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", -1)


def write(path: Path, count: int = 9, *, width: int = 3) -> Path:
    rows = [{"id": f"r{k * 7 % count:06d}", "text": f"{k} " + "x" * width, "task": f"t{k % 2}"} for k in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def is_stored(pool: Pool) -> bool:
    return isinstance(pool.examples, Indexed)


def test_it_is_the_size_that_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "pool.jsonl")
    monkeypatch.setattr(files, "LARGE", path.stat().st_size)
    assert not is_stored(load_pool(path))
    monkeypatch.setattr(files, "LARGE", path.stat().st_size - 1)
    assert is_stored(load_pool(path))
    assert not is_stored(load_pool([{"text": "a" * 10_000}]))


def test_of_a_packed_file_it_is_the_size_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{k} " + "x" * 1000 for k in range(50)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "pool.parquet", compression="zstd")
    packed = (tmp_path / "pool.parquet").stat().st_size
    assert packed < 10_000
    monkeypatch.setattr(files, "LARGE", 2 * packed)
    assert is_stored(load_pool(tmp_path / "pool.parquet"))


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"text": "more"}\n')


def written_over(path: Path) -> None:
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"x", b"y"))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


@pytest.mark.parametrize("change", [appended, written_over, cut])
def test_a_file_that_changes_after_it_was_read_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = write(tmp_path / "pool.jsonl")
    with path.open("ab") as file:
        file.write(b"{\n")
    pool = load_pool(path)
    change(path)
    for read in (
        lambda: pool[0],
        lambda: list(pool.by_id()),
        lambda: pool.rejected[0],
        lambda: write_rows(pool, [1], tmp_path / "out"),
    ):
        with pytest.raises(
            DataError, match=r"pool\.jsonl changed after it was read.*Put back the file.*or start again"
        ):
            read()
    assert len(pool.ids) == 9 and pool.reasons.total() == 1


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, use = write(tmp_path / "pool.jsonl"), Storing.use

    def touching(*arguments: object) -> None:
        use(*arguments)  # pyright: ignore[reportArgumentType]
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(Storing, "use", touching)
    with pytest.raises(DataError, match="changed"):
        load_pool(path)


def test_what_was_opened_may_be_moved_or_deleted(tmp_path: Path) -> None:
    path = write(tmp_path / "pool.jsonl")
    pool, rows = load_pool(path), [*load_pool(path)]
    path.rename(tmp_path / "elsewhere")
    assert list(pool) == rows
    write(path, 3).replace(tmp_path / "elsewhere")
    assert list(pool) == rows


def test_a_parquet_file_is_read_again_for_its_subset_only(tmp_path: Path) -> None:
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"text": [f"row {k}" for k in range(70)]}), path)
    pool = load_pool(path)
    pq.write_table(pa.table({"text": [f"other {k}" for k in range(70)]}), path)
    assert pool[40].response == "row 40"
    with pytest.raises(DataError, match="changed after it was read"):
        write_rows(pool, [0], tmp_path / "out.parquet")
    path.unlink()
    with pytest.raises(DataError, match="is gone"):
        write_rows(pool, [0], tmp_path / "out.parquet")


def test_the_copy_of_a_parquet_file_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, room = tmp_path / "pool.parquet", tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    pq.write_table(pa.table({"text": [f"row {k}" for k in range(70)]}), path)
    pool = load_pool(path)
    assert len(pool) == 70 and [*room.iterdir()] == []

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DataError, match=r"pool\.parquet is too large.*room, which fails: No space left.*TMPDIR="):
        load_pool(path)
    assert [*room.iterdir()] == []


def test_files_are_closed(tmp_path: Path) -> None:
    held = Path("/proc/self/fd")
    if not held.is_dir():
        pytest.skip("this system has no /proc to count open files in")
    write(tmp_path / "pool.jsonl")
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "pool.parquet")
    gc.collect()
    before = len([*held.iterdir()])
    pools = [load_pool(tmp_path / f"pool.{kind}") for kind in ("jsonl", "parquet")]
    assert len([*held.iterdir()]) == before + 3  # both sources and the copy
    del pools
    gc.collect()
    assert len([*held.iterdir()]) == before


def test_what_needs_no_text_reads_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, target = load_pool(write(tmp_path / "pool.jsonl", 11)), load_pool(write(tmp_path / "target.jsonl", 9))
    whole = [*pool]

    def decoded(*arguments: object) -> None:
        raise AssertionError("a row was decoded")

    monkeypatch.setattr(stored, "draft", decoded)
    for own in (None, target.by_id()):
        axes = make_axes(
            pool.by_id(), own, target.by_id(), pairwise=True, uses_target=True, cover_pool=own is not None,
            max_targets=5, seed=0,
        )  # fmt: skip
        assert len(axes.fingerprint) == 64 and len(axes.masked) >= 5 and axes.tasks is not None
        assert axes.shape == (5 + (11 if own else 0), 20)
    assert len(pool.fingerprint) == len(pool.raw_fingerprint) == 64
    order = np.array([3, 0, 7])
    write_rows(pool, pool.order[order], tmp_path / "out")
    by_id = sorted(whole, key=lambda row: row.id)
    assert (tmp_path / "out").read_bytes() == b"".join(bytes(by_id[k].raw) + b"\n" for k in order)
    monkeypatch.undo()
    with pytest.raises(AssertionError), pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "draft", decoded)
        pool[0]


def test_the_task_is_kept_where_it_is_one_of_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = load_pool(write(tmp_path / "few.jsonl"))
    assert isinstance(few.examples, Indexed) and few.examples.column("task") == [f"t{k % 2}" for k in range(9)]
    assert few.examples.column("text") is None
    rows = [{"text": "a", "task": "x" * 5000}, {"text": "b"}, {"text": "c", "task": 1}]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    long = load_pool(tmp_path / "long.jsonl")
    assert isinstance(long.examples, Indexed) and long.examples.column("task") is None
    assert column_values(long.examples, "task") == ["x" * 5000, None, "1"]


def bytes_held(path: Path) -> tuple[Pool, int, int]:
    """A pool, and what it takes: now and at most."""
    gc.collect()
    tracemalloc.start()
    pool = load_pool(path)
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return pool, now, peak


@pytest.mark.parametrize("width", [10, 3000])
def test_a_row_takes_so_many_bytes_whatever_its_length(tmp_path: Path, width: int) -> None:
    count = 4000
    pool, now, peak = bytes_held(write(tmp_path / "pool.jsonl", count, width=width))
    assert len(pool) == count
    assert now / count < 130 and peak / count < 600


def test_rejected_rows_take_no_more(tmp_path: Path) -> None:
    count = 4000
    line = '{"text": "", "note": "' + "x" * 2000 + '"}\n'
    (tmp_path / "pool.jsonl").write_text('{"text": "good"}\n' + line * count + "{ broken\n" * count)
    pool, now, peak = bytes_held(tmp_path / "pool.jsonl")
    assert len(pool.rejected) == 2 * count
    assert now / (2 * count) < 60 and peak / (2 * count) < 300
    told = describe_rejected([("pool", pool)])
    assert told is not None and told.startswith("8,000 of 8,001 pool rows are left out, most often: empty response")
    assert pool.rejected[0].row == line.rstrip() and pool.rejected[-1].line == 2 * count + 1
    assert [row.line for row in pool.rejected[2:4]] == [4, 5]
    write_rejected(pool.rejected[:2], tmp_path / "rejected.jsonl")
    assert json.loads((tmp_path / "rejected.jsonl").read_text().splitlines()[1])["row"] == line.rstrip()


def test_a_million_broken_lines_at_the_start_are_not_held_back_to_tell_the_layout(tmp_path: Path) -> None:
    count = 3000
    (tmp_path / "pool.jsonl").write_text(("{ " + "x" * 2000 + "\n") * count + '{"text": "good"}\n')
    pool, now, peak = bytes_held(tmp_path / "pool.jsonl")
    assert (pool.layout, len(pool), len(pool.rejected)) == ("text", 1, count)
    assert now / count < 60 and peak / count < 300


def packed(key: tuple[int, int]) -> bytes:
    """A key of which many share their head, some their tail, and which may end with NUL."""
    return bytes([key[0]]) * 8 + bytes(23) + bytes([key[1]])


some_keys = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12)


@given(ours=some_keys, theirs=some_keys)
def test_keys_are_told_apart_by_all_their_bytes(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    mine, others = (ContentKeys.of(map(packed, keys)) for keys in (ours, theirs))
    assert [*mine] == [packed(key).hex() for key in ours] == [mine[k] for k in range(len(ours))]
    assert [*mine[1:3]] == [*mine][1:3]
    assert mine.first.tolist() == [ours.index(key) for key in ours]
    expected = [[i, j] for i, one in enumerate(ours) for j, other in enumerate(theirs) if one == other]
    assert mine.pairs(others).tolist() == expected
