"""CSV and Parquet: lines, bad records, odd cells."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nncift.data.files import load_pool
from nncift.data.tables import BATCH
from nncift.errors import DataError


def test_csv_keeps_physical_lines_and_rejects_bad_records(tmp_path: Path) -> None:
    content = (
        b"\xef\xbb\xbfinstruction,input,output,n\r\n"
        b'"two\r\nlines",in,out,1\r\n'
        b"\r\n"
        b"short,row\r\n"
        b"too,many,cells,5,6\r\n"
        b'"a"b,c,d,7\r\n'
        b"bytes,\xff\xfe,out,8\r\n"
        b"blank,,,9\r\n"
        b"last,,fine,10"
    )
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    pool = load_pool(path)
    assert (pool.layout, pool.file_type) == ("alpaca", "csv")
    assert [(example.number, example.line, example.prompt) for example in pool] == [
        (0, 2, "two\r\nlines in"),
        (6, 10, "last"),
    ]
    assert pool[0].raw == {"instruction": "two\r\nlines", "input": "in", "output": "out", "n": "1"}
    reasons = {bad.line: bad.reason for bad in pool.rejected}
    assert reasons[5] == "2 cells where the header names 4 columns"
    assert reasons[6] == "5 cells where the header names 4 columns"
    assert reasons[7].startswith("broken CSV: ")
    assert reasons[8] == "not UTF-8 (byte 7 of the row)"
    assert reasons[9] == "empty response"
    assert {bad.line: bad.row for bad in pool.rejected}[8] == repr(b"bytes,\xff\xfe,out,8")


def test_a_quote_that_never_closes_says_how_much_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text\ngood\n"open\nlost\nlost\n')
    (bad,) = load_pool(path).rejected
    assert (bad.line, bad.row) == (3, '"open\nlost\nlost')
    assert "never closed: 3 lines" in bad.reason


def test_long_cells_are_read_and_the_modules_limit_is_put_back(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x" * 300_000 + "\n")
    assert len(load_pool(path)[0].response) == 300_000
    assert csv.field_size_limit() == before


def test_parquet_rows_are_numbered_over_batches(tmp_path: Path) -> None:
    count = 2 * BATCH + 3
    texts = [None if i == BATCH else f"row {i}" for i in range(count)]
    pq.write_table(pa.table({"text": texts, "when": [date(2024, 1, 2)] * count}), tmp_path / "a.parquet")
    pool = load_pool(tmp_path / "a.parquet")
    assert (pool.layout, pool.file_type, len(pool)) == ("text", "parquet", count - 1)
    assert [example.response for example in pool] == [f"row {example.number}" for example in pool]
    assert [(bad.line, bad.reason) for bad in pool.rejected] == [(BATCH + 1, "column 'text' is null, expected text")]


def test_parquet_messages_with_null_fields(tmp_path: Path) -> None:
    messages = [
        [{"role": "user", "content": "ask", "weight": None}, {"role": "assistant", "content": "say", "weight": 1}],
        [{"role": "user", "content": None, "weight": None}],
    ]
    pq.write_table(pa.table({"messages": messages}), tmp_path / "a.parquet")
    pool = load_pool(tmp_path / "a.parquet")
    assert pool[0].prompt == "ask"
    assert pool.rejected[0].reason == "turn 1 of column 'messages' is null, expected text"


def test_parquet_cells_without_a_python_value_cost_their_own_row_only(tmp_path: Path) -> None:
    bad_text = pa.array([b"fine", b"\xff", b"fine"], pa.binary()).view(pa.string())
    nanoseconds = pa.array([1, 2, 3], pa.timestamp("ns"))
    nested = pa.array([[1], [], [3]], pa.list_(pa.timestamp("ns")))
    table = pa.table({"text": bad_text, "when": nanoseconds, "nested": nested})
    pq.write_table(table, tmp_path / "a.parquet")
    pool = load_pool(tmp_path / "a.parquet")
    assert [example.number for example in pool] == [0, 2]
    assert pool.rejected[0].reason == "column 'text' is bytes, expected text"


@pytest.mark.parametrize("first", ["text", "when"])
def test_an_index_past_its_dictionary_is_damage_and_no_text(tmp_path: Path, first: str) -> None:
    columns = {
        "text": pa.array(["a", "b", "c"]).dictionary_encode(),
        "when": pa.array([1, 2, 3], pa.timestamp("ns")),  # which Python cannot hold
    }
    table = pa.table({name: columns[name] for name in sorted(columns, key=lambda name: name != first)})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=["text"])
    whole, packed = (tmp_path / "a.parquet").read_bytes(), b"\x02\x03\x24"  # two bits each: 0, 1, 2
    assert whole.count(packed) == 1
    (tmp_path / "a.parquet").write_bytes(whole.replace(packed, b"\x02\x03\x27"))  # 3, 1, 2
    with pytest.raises(DataError, match=r"a\.parquet: the Parquet file is damaged behind row 0: .*out-of-bounds"):
        load_pool(tmp_path / "a.parquet")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has the column 'text' twice"):
        load_pool(tmp_path / "a.parquet")
