"""Writing: chosen rows as they came, rejected rows whatever they hold."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nncift.data.files import load_pool
from nncift.data.rows import Rejected
from nncift.data.tables import BATCH
from nncift.data.write import subset_suffix, write_rejected, write_rows
from nncift.errors import DataError


def test_jsonl_rows_keep_their_bytes_and_the_given_order(tmp_path: Path) -> None:
    lines = [b'{"text":"a",  "x": 1.50}', b'  {"text": "\\u00e4"} \t', b'{"text": "c", "x": NaN, "x": 1}']
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines))
    pool = load_pool(tmp_path / "a.jsonl")
    assert subset_suffix(pool) == ".jsonl"
    write_rows(pool, np.array([2, 1]), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == lines[2] + b"\n" + lines[1] + b"\n"


def test_subset_follows_the_pool_after_sorting(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "id": "b"}\n{"text": "y", "id": "a"}\n')
    write_rows(load_pool(tmp_path / "a.jsonl").by_id(), [0], tmp_path / "out")
    assert (tmp_path / "out").read_text() == '{"text": "y", "id": "a"}\n'


def test_json_subset_is_an_array(tmp_path: Path) -> None:
    rows = [{"text": "a", "note": "\ud800"}, {"text": "b", "n": [1, None]}, {"text": "ä"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pool = load_pool(tmp_path / "a.json")
    assert subset_suffix(pool) == ".json"
    write_rows(pool, [2, 0], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_bytes()) == [rows[2], rows[0]]
    assert "ä" in (tmp_path / "out.json").read_text(encoding="utf-8")
    write_rows(pool, [], tmp_path / "none.json")
    assert json.loads((tmp_path / "none.json").read_bytes()) == []


def test_csv_subset_has_header_and_columns(tmp_path: Path) -> None:
    rows = [["a,b", '"q"', "1"], ["two\nlines", "x\ry", ""], ["c", "d", " e "]]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "response", "n"], *rows])
    pool = load_pool(tmp_path / "a.csv")
    write_rows(pool, [2, 1, 0], tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["prompt", "response", "n"], *rows[::-1]]


def parquet_source(path: Path, count: int) -> pa.Table:
    table = pa.table(
        {
            "text": pa.array([" " if i % 7 == 0 else f"row {i}" for i in range(count)], pa.large_string()),
            "label": pa.array([f"l{i % 3}" for i in range(count)]).dictionary_encode(),
            "vector": pa.array([[float(i)] * 2 for i in range(count)], pa.list_(pa.float32())),
            "when": pa.array(range(count), pa.timestamp("ns")),
        }
    ).replace_schema_metadata({"owner": "me"})
    pq.write_table(table, path, row_group_size=500)
    return table


def plain(table: pa.Table) -> pa.Table:
    """With values in place of dictionaries, which are the file's own affair."""
    kinds = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, kinds, strict=True))))


def test_parquet_subset_keeps_schema_and_values(tmp_path: Path) -> None:
    table = parquet_source(tmp_path / "a.parquet", 2 * BATCH + 5)
    pool = load_pool(tmp_path / "a.parquet")
    assert subset_suffix(pool) == ".parquet"
    positions = [len(pool) - 1, 0, BATCH, 3]
    write_rows(pool, positions, tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    expected = pq.read_table(tmp_path / "a.parquet").take([pool[p].number for p in positions])
    assert written.schema.equals(expected.schema, check_metadata=True)
    assert written.schema.metadata[b"owner"] == b"me"
    assert plain(written).equals(plain(expected))
    assert written["text"].to_pylist() == [pool[p].response for p in positions]
    assert table.num_rows > written.num_rows == 4
    write_rows(pool, [], tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").num_rows == 0


def test_a_parquet_source_that_is_gone_or_shorter_is_an_error(tmp_path: Path) -> None:
    parquet_source(tmp_path / "a.parquet", 10)
    pool = load_pool(tmp_path / "a.parquet")
    parquet_source(tmp_path / "a.parquet", 5)
    with pytest.raises(DataError, match="fewer rows than when it was read"):
        write_rows(pool, [len(pool) - 1], tmp_path / "out.parquet")
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(DataError, match="is gone"):
        write_rows(pool, [0], tmp_path / "out.parquet")


def test_rows_of_memory_become_jsonl_whatever_they_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    odd: dict[str, Any] = {
        "text": "t",
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": moment,
        "d": {(1, 2): 3},
        "e": b"x",
    }
    write_rows(load_pool([odd]), [0], tmp_path / "out")
    assert json.loads((tmp_path / "out").read_text()) == {
        "text": "t",
        "a": 0.5,
        "b": [0, 1],
        "c": "2024-01-02T00:00:00+00:00",
        "d": "{(1, 2): 3}",
        "e": "b'x'",
    }
    assert "column 'd' of a row is written as text" in caplog.text and "column 'e'" in caplog.text


def test_rejected_rows_survive_lone_surrogates(tmp_path: Path) -> None:
    bad = Rejected("pool.jsonl", 3, "why", "\ud800 ä \x00")
    write_rejected([bad, bad], tmp_path / "out")
    written = (tmp_path / "out").read_bytes()
    assert written.isascii()
    expected = {"file": "pool.jsonl", "line": 3, "reason": "why", "row": "\ud800 ä \x00"}
    assert [json.loads(line) for line in written.splitlines()] == [expected, expected]


def test_categories_keep_their_order(tmp_path: Path) -> None:
    """The order of the values of a dictionary is told by nothing but the dictionary."""
    kind = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    grades = pa.DictionaryArray.from_arrays(pa.array([2, 0, 1, 2], pa.int8()), ["low", "mid", "high"], ordered=True)
    pq.write_table(pa.table({"text": list("abcd"), "grade": grades}), tmp_path / "a.parquet")
    write_rows(load_pool(tmp_path / "a.parquet"), [3, 1], tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")["grade"].combine_chunks()
    assert found.type.ordered == kind.ordered and found.to_pylist() == ["high", "low"]
    assert found.dictionary.to_pylist() == ["low", "mid", "high"]
