"""The law of rows that stay in their file: nobody but the memory can tell them from rows that do not."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nncift.data import files
from nncift.data.columns import column, column_values
from nncift.data.files import load_pool
from nncift.data.rows import Indexed, Pool, ids_of, keys_of, lines_of, numbers_of, raw_of, same_text_pairs
from nncift.data.views import join, take
from nncift.data.write import subset_suffix, write_rejected, write_rows
from nncift.errors import DataError
from nncift.handing.writing import hand_over

LAW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

few = st.text(st.sampled_from("ab ä\n\r\"',\U0001f600"), max_size=4)
said = few.filter(lambda text: bool(text.strip()))
an_id = st.sampled_from(["a", "b", "ab", "ä", "", " ", 7, "7", -1, None, True, 2.5])
task = st.sampled_from(["t", "u", None, 3, ["x"]])
extra = {"id": an_id, "task": task}
turn = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": few})
shared = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": few})
LAYOUTS = {
    "alpaca": st.fixed_dictionaries({"instruction": few, "output": few}, optional={"input": few, **extra}),
    "messages": st.fixed_dictionaries({"messages": st.lists(turn, max_size=3)}, optional=extra),
    "sharegpt": st.fixed_dictionaries({"conversations": st.lists(shared, max_size=3)}, optional=extra),
    "prompt-completion": st.fixed_dictionaries({"prompt": few, "completion": few}, optional=extra),
    "text": st.fixed_dictionaries({"text": few}, optional=extra),
}
GOOD: dict[str, dict[str, Any]] = {
    "alpaca": {"instruction": "ask", "output": "say"},
    "messages": {"messages": [{"role": "assistant", "content": "say"}]},
    "sharegpt": {"conversations": [{"from": "gpt", "value": "say"}]},
    "prompt-completion": {"prompt": "ask", "completion": "say"},
    "text": {"text": "say"},
}
BROKEN = [b"", b"  ", b"{", b"[1]", b"null", b"\xff", b'{"text": "\\ud800"}', b'{"x": NaN}', b'{"text": ' + b"9" * 5000]


def rows_of(layout: str, **sizes: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of one layout, one of which can be used."""
    return st.lists(LAYOUTS[layout], **sizes).map(lambda rows: [*rows, GOOD[layout], *rows[:1]])


def both(path: Path, *, layout: str = "auto") -> tuple[Pool, Pool]:
    """The pool in memory and the pool in its file."""
    held, stored = loaded(path, 10**12, layout=layout), loaded(path, -1, layout=layout)
    assert isinstance(held, Pool) and isinstance(stored, Pool)
    assert isinstance(stored.examples, Indexed) and not isinstance(held.examples, Indexed)
    return held, stored


def loaded(path: Path, large: int, *, layout: str = "auto") -> Pool | str:
    """The pool, or what is said where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LARGE", large)
        try:
            return load_pool(path, layout=layout)
        except DataError as error:
            return str(error)


def check_file(path: Path, *, layout: str = "auto") -> None:
    """Both pools are the same in all, or there is none and the same is said of that."""
    if isinstance(said := loaded(path, 10**12, layout=layout), str):
        assert loaded(path, -1, layout=layout) == said
    else:
        check(*both(path, layout=layout), path.parent)


def check(held: Pool, stored: Pool, folder: Path) -> None:
    """All that can be asked of pools."""
    assert repr(list(stored)) == repr(list(held))  # repr: NaN is not equal to itself
    assert repr([stored[k] for k in range(-len(held), 0)]) == repr(list(held))
    assert (stored.layout, stored.file_type, stored.source) == (held.layout, held.file_type, held.source)
    for a, b in ((held, stored), (held.by_id(), stored.by_id())):
        assert b.ids == a.ids == tuple(ids_of(a.examples))
        assert list(b.keys) == [example.content_key for example in a]
        assert (b.fingerprint, b.raw_fingerprint) == (a.fingerprint, a.raw_fingerprint)
        assert b.order.tolist() == a.order.tolist()
        assert numbers_of(b.examples).tolist() == [example.number for example in a]
        assert lines_of(b.examples).tolist() == [example.line for example in a]
        assert column_values(b.examples, "task") == [column(example, "task") for example in a]
        assert column_values(b.examples, "id") == [column(example, "id") for example in a]
        assert [repr(raw_of(b.examples, k)) for k in range(len(a))] == [repr(example.raw) for example in a]
    assert list(stored.rejected) == list(held.rejected) and len(stored.rejected) == len(held.rejected)
    assert list(stored.reasons.items()) == list(held.reasons.items())
    pairs = same_text_pairs(held.examples, held.by_id().examples)
    assert same_text_pairs(stored.examples, stored.by_id().examples).tolist() == pairs.tolist()
    assert pairs.tolist() == [
        [i, j]
        for i, one in enumerate(held)
        for j, other in enumerate(held.by_id())
        if one.content_key == other.content_key
    ]
    positions = np.random.default_rng(len(held)).permutation(len(held))[: 1 + len(held) // 2]
    written: list[list[bytes]] = []
    for name, pool in (("held", held), ("stored", stored)):
        subset, rejected = folder / f"{name}{subset_suffix(pool)}", folder / f"{name}.rejected"
        write_rows(pool, positions, subset)
        write_rejected(pool.rejected, rejected)
        chosen = take(pool.examples, positions)
        handed = hand_over(chosen, folder / f"{name}-trl", trainer="trl", name=name, source="rows")
        written.append([path.read_bytes() for path in (subset, rejected, handed.data)])
    assert written[0] == written[1]


@pytest.mark.parametrize("layout", LAYOUTS)
@LAW
@given(data=st.data())
def test_json_lines(layout: str, data: st.DataObject, tmp_path: Path) -> None:
    rows = data.draw(rows_of(layout, max_size=8))
    lines: list[bytes] = [json.dumps(row, ensure_ascii=data.draw(st.booleans())).encode() for row in rows]
    for broken in data.draw(st.lists(st.sampled_from(BROKEN), max_size=4)):
        lines.insert(data.draw(st.integers(0, len(lines))), broken)
    end = data.draw(st.sampled_from([b"\n", b"\r\n", b" \n"]))
    start = data.draw(st.sampled_from([b"", codecs.BOM_UTF8]))
    path = tmp_path / data.draw(st.sampled_from(["pool.jsonl", "pool.ndjson"]))
    path.write_bytes(start + end.join(lines) + data.draw(st.sampled_from([b"", end, end + end])))
    check_file(path, layout=data.draw(st.sampled_from(["auto", layout])))


@pytest.mark.parametrize("layout", LAYOUTS)
@LAW
@given(data=st.data())
def test_a_json_array(layout: str, data: st.DataObject, tmp_path: Path) -> None:
    rows: list[Any] = [*data.draw(rows_of(layout, max_size=8))]
    for odd in data.draw(st.lists(st.sampled_from([1, None, "ä", [], {}, {"text": "\ud800"}, 1e400]), max_size=3)):
        rows.insert(data.draw(st.integers(0, len(rows))), odd)
    text = json.dumps(rows, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    start = data.draw(st.sampled_from(["", "\ufeff", " \r\n", "\ufeff\n"]))
    (tmp_path / "pool.json").write_bytes((start + text).encode("utf-8", "ignore"))
    check_file(tmp_path / "pool.json", layout=layout)


def test_json_lines_under_another_suffix(tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_bytes(b'{"text": "a"}\n{\n{"text": "b"}\n')
    held, stored = both(tmp_path / "pool.json")
    assert held.file_type == "jsonl" and len(held) == 2
    check(held, stored, tmp_path)


@LAW
@given(
    cells=st.lists(st.lists(few, min_size=1, max_size=4), max_size=8),
    odd=st.lists(st.sampled_from([b'"open', b'"a"b,c\r\n', b"\xff,x\r\n", b"\r\n", b"one\r\n"]), max_size=3),
    start=st.sampled_from([b"", codecs.BOM_UTF8, b"\r\n\n"]),
    third=st.sampled_from(["id", "\u00fcnit"]),
    end=st.sampled_from(["\r\n", "\n"]),
)
def test_a_csv_table(
    cells: list[list[str]], odd: list[bytes], start: bytes, third: str, end: str, tmp_path: Path
) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator=end).writerows([["prompt", "response", third], ["ask", "say", "ä"], *cells])
    (tmp_path / "pool.csv").write_bytes(start + table.getvalue().encode() + b"".join(odd))
    check_file(tmp_path / "pool.csv")


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(LAW, max_examples=25)
@given(data=st.data())
def test_a_parquet_file(layout: str, data: st.DataObject, tmp_path: Path) -> None:
    rows = data.draw(rows_of(layout, min_size=1, max_size=4)) * data.draw(st.sampled_from([1, 30]))
    rows = [{**GOOD[layout], **row} for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in GOOD[layout]}
    columns["id"] = [str(k) if k % 3 else None for k in range(len(rows))]
    made = {name: pa.array(values) for name, values in columns.items()}
    made["task"] = pa.array([f"t{k % 2}" for k in range(len(rows))]).dictionary_encode()
    made["when"] = pa.array(range(len(rows)), pa.timestamp(data.draw(st.sampled_from(["us", "ns"]))))
    pq.write_table(pa.table(made), tmp_path / "pool.parquet", row_group_size=data.draw(st.sampled_from([3, 100])))
    check_file(tmp_path / "pool.parquet")


@LAW
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_any_bytes_are_the_same_rows_or_the_same_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"pool{suffix}"
    path.write_bytes(content)
    check_file(path)


@pytest.mark.parametrize("first", [True, False])
@LAW
@given(picks=st.lists(st.integers(-7, 6), max_size=9), cut=st.slices(14))
def test_choices_and_chains_are_those_of_the_rows(picks: list[int], cut: slice, first: bool, tmp_path: Path) -> None:
    lines = [{"text": f"row {k % 5}", "task": str(k % 2)} for k in range(7)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    held, stored = both(tmp_path / "pool.jsonl")
    want = (*held, *held)
    whole = join(stored.examples, held.examples) if first else join(held.examples, stored.examples)
    views: list[tuple[Callable[[], Any], Any]] = [
        (lambda: whole, want),
        (lambda: whole[cut], want[cut]),
        (lambda: take(whole, picks), [want[k] for k in picks]),
        (lambda: take(whole, picks)[cut], [want[k] for k in picks][cut]),
        (lambda: take(take(stored.examples, range(6, -1, -1)), picks), [held[6::-1][k] for k in picks]),
    ]
    for view, rows in views:
        made = view()
        assert list(made) == list(rows) == [made[k] for k in range(len(rows))] and len(made) == len(rows)
        assert ids_of(made) == [row.id for row in rows]
        assert list(keys_of(made)) == [row.content_key for row in rows]
        assert numbers_of(made).tolist() == [row.number for row in rows]
        assert lines_of(made).tolist() == [row.line for row in rows]
        assert column_values(made, "task") == [column(row, "task") for row in rows]
        assert [raw_of(made, k) for k in range(len(rows))] == [row.raw for row in rows]
    with pytest.raises(IndexError):
        take(whole, [14])
    with pytest.raises(IndexError):
        whole[-15]
