"""Laws of loading and writing: nothing is lost, ids are unique and follow the content, what is written loads again."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nncift.data.files import load_pool
from nncift.data.layouts import LAYOUTS, RowProblem, parse
from nncift.data.write import write_rejected, write_rows
from nncift.errors import DataError
from nncift.handing.formats import TRAINERS
from nncift.handing.writing import hand_over

LAW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

any_text = st.text(st.characters(), max_size=8)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
said = text.filter(lambda value: bool(value.strip()))
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
role = st.sampled_from(["system", "user", "assistant", "human", "gpt", "tool"])
turns = st.lists(st.fixed_dictionaries({"role": role, "content": any_text}), max_size=4)
value = any_json | turns
columns = ["instruction", "input", "output", "messages", "conversations", "prompt", "completion", "text", "id"]
any_row = st.dictionaries(st.sampled_from(columns), value, max_size=5)
good_row = st.fixed_dictionaries({"instruction": text, "output": said}, optional={"input": text, "id": any_json})
json_line = (good_row | any_row | any_json).map(lambda item: json.dumps(item).encode())
byte_line = st.binary(max_size=12).filter(lambda line: b"\n" not in line)
any_lines = st.lists(json_line | byte_line | st.sampled_from([b"", b"  ", b"\r"]), max_size=12)


def numbered(examples: Any) -> list[tuple[Any, ...]]:
    return [(example.id, example.turns) for example in examples]


@LAW
@given(lines=any_lines, line_break=st.sampled_from([b"\n", b"\r\n"]), last=st.booleans())
def test_every_line_is_usable_or_rejected_or_blank(
    tmp_path: Path, lines: list[bytes], line_break: bytes, last: bool
) -> None:
    lines = [b'{"instruction": "ask", "output": "say"}', *lines]
    path = tmp_path / "pool.jsonl"
    path.write_bytes(line_break.join(lines) + (line_break if last else b""))
    pool = load_pool(path, layout="alpaca")
    kept = {example.line: example.raw for example in pool}
    lost = {bad.line for bad in pool.rejected}
    blank = {number for number, line in enumerate(lines, start=1) if not line.strip()}
    assert len(kept) + len(lost) + len(blank) == len(lines)
    assert kept.keys() | lost | blank == set(range(1, len(lines) + 1))
    assert all(raw == lines[line - 1].rstrip(b"\r\n") for line, raw in kept.items())
    assert len(set(pool.ids)) == len(pool) and all(pool.ids)
    assert sorted(example.number for example in pool) == [example.number for example in pool]

    write_rows(pool, range(len(pool)), tmp_path / "subset.jsonl")
    assert (tmp_path / "subset.jsonl").read_bytes() == b"".join(raw + b"\n" for raw in kept.values())
    write_rejected(pool.rejected, tmp_path / "rejected.jsonl")
    written = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_bytes().splitlines()]
    assert [(row["line"], row["reason"], row["row"]) for row in written] == [
        (bad.line, bad.reason, bad.row) for bad in pool.rejected
    ]


@LAW
@given(rows=st.lists(good_row, min_size=1, max_size=8), data=st.data())
def test_ids_do_not_depend_on_the_order_of_the_rows(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    first, second = load_pool(rows), load_pool(shuffled)
    assert numbered(first.by_id()) == numbered(second.by_id())
    assert first.fingerprint == second.fingerprint


@LAW
@given(layout=st.sampled_from(LAYOUTS), row=any_row)
def test_a_row_parses_into_turns_that_end_with_a_response_or_is_refused(layout: Any, row: dict[str, Any]) -> None:
    try:
        parsed = parse(layout, row)
    except RowProblem as problem:
        assert problem.reason
    else:
        assert parsed[-1].role == "assistant" and parsed[-1].content.strip()
        "".join(turn.content for turn in parsed).encode("utf-8")


@LAW
@given(rows=st.lists(any_row, max_size=6))
def test_a_subset_of_a_json_array_loads_as_the_same_rows(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([{"text": "one"}, *rows], indent=1))
    pool = load_pool(path, layout="text")
    assert len(pool) + len(pool.rejected) == len(rows) + 1
    write_rows(pool, range(len(pool)), tmp_path / "subset.json")
    again = load_pool(tmp_path / "subset.json", layout="text")
    assert numbered(again) == numbered(pool)
    assert [repr(example.raw) for example in again] == [repr(example.raw) for example in pool]


@LAW
@given(cells=st.lists(st.tuples(text, text, text), min_size=1, max_size=6))
def test_a_subset_of_a_csv_table_loads_as_the_same_rows(tmp_path: Path, cells: list[tuple[str, str, str]]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table).writerows([("prompt", "response", "more"), *cells, ("p", "r", "m")])
    (tmp_path / "pool.csv").write_bytes(table.getvalue().encode())
    pool = load_pool(tmp_path / "pool.csv")
    assert len(pool) + len(pool.rejected) == len(cells) + 1
    assert [example.raw for example in pool] == [
        dict(zip(("prompt", "response", "more"), row, strict=True))
        for row in [*cells, ("p", "r", "m")]
        if row[1].strip()
    ]
    write_rows(pool, range(len(pool)), tmp_path / "subset.csv")
    again = load_pool(tmp_path / "subset.csv")
    assert [example.raw for example in again] == [example.raw for example in pool]
    assert again.ids == pool.ids


@LAW
@given(content=st.binary(max_size=60), suffix=st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_any_bytes_are_rows_or_one_clear_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"pool{suffix}"
    path.write_bytes(content)
    try:
        assert len(load_pool(path)) > 0
    except DataError as error:
        assert path.name in str(error)


@LAW
@given(talk=turns, trainer=st.sampled_from(TRAINERS))
def test_an_export_loads_with_the_same_turns_or_says_why_not(
    tmp_path: Path, talk: list[dict[str, Any]], trainer: str
) -> None:
    ask = {"role": "user", "content": "ask"}
    pool = load_pool([{"messages": talk}, {"messages": [ask, {"role": "assistant", "content": "say"}]}])
    handed = hand_over(pool, tmp_path / "out", trainer=trainer, name="law", source="rows")
    assert handed.rows + sum(handed.reasons.values()) == len(pool)
    told = [] if handed.rejected is None else handed.rejected.read_text(encoding="ascii").splitlines()
    left_out = [json.loads(line)["line"] for line in told]
    held = [example.turns for example in pool if example.line not in left_out]
    assert [example.turns for example in load_pool(handed.data)] == held
    for example in pool:
        roles = "".join(turn.role[0] for turn in example.turns)
        shape = {"trl": ".*", "axolotl": ".*", "messages": ".*", "sharegpt": ".*"}
        shape |= dict.fromkeys(("alpaca", "litgpt"), "u?a") | dict.fromkeys(("llamafactory", "torchtune"), "s?(ua)+")
        assert (re.fullmatch(shape[trainer], roles) is None) == (example.line in left_out)
