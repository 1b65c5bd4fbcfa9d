"""Rows of an experiment: what each word of a recipe does to them, against what a reader of the recipe would write by hand."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nncift.data.files import load_pool
from nncift.errors import ConfigError, DataError
from nncift.experiment.rows import expected_rows, prepare_rows
from nncift.experiment.templates import Template

ALPACA = [
    {
        "instruction": f"Say {k}",
        "input": "loudly" if k % 2 else "",
        "output": f"{k}!" * (1 + k % 5),
        "task": "abc"[k % 3],
    }
    for k in range(23)
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepared(tmp_path: Path, data: list[dict[str, Any]] | None = None, /, **spec: Any) -> list[dict[str, Any]]:
    if data is not None:
        write(tmp_path / "data" / "rows.jsonl", data)
    spec = {"file": "rows.jsonl"} | spec if "parts" not in spec else spec
    out = tmp_path / "out" / "pool.jsonl"
    told = prepare_rows(spec, root=tmp_path / "data", out=out)
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line]
    assert told["rows"] == len(found) and [path.name for path in out.parent.iterdir()] == ["pool.jsonl"]
    return found


def test_a_file_alone_is_copied_row_by_row(tmp_path: Path) -> None:
    assert prepared(tmp_path, ALPACA) == ALPACA


def test_a_slice_is_that_of_python(tmp_path: Path) -> None:
    assert prepared(tmp_path, ALPACA, rows="3:9") == ALPACA[3:9]
    assert prepared(tmp_path, rows=":4") == ALPACA[:4]
    assert prepared(tmp_path, rows="20:") == ALPACA[20:]


def test_columns_are_made_and_dropped(tmp_path: Path) -> None:
    found = prepared(
        tmp_path,
        ALPACA[:5],
        columns={"prompt": "{instruction} {input}", "completion": "{output}", "kind": "{{plain}}"},
        drop=["instruction", "input", "output"],
    )
    assert found[0] == {"task": "a", "prompt": "Say 0", "completion": "0!", "kind": "{plain}"}
    assert found[1]["prompt"] == "Say 1 loudly"
    assert prepared(tmp_path, columns={"text": "{output}"}, drop="all")[1] == {"text": "1!1!"}


def test_mmlu_is_a_recipe_of_columns(tmp_path: Path) -> None:
    rows = [
        {"question": "2 + 2?", "choices": ["3", "4", "5", "22"], "answer": 1, "subject": "sums"},
        {"question": "Up?", "choices": ["no", "yes", "so", "on"], "answer": 3, "subject": "ways"},
    ]
    prompt = "{question}\nA. {choices[0]}\nB. {choices[1]}\nC. {choices[2]}\nD. {choices[-1]}"
    columns = {
        "prompt": prompt,
        "completion": {"text": "{answer}", "map": {0: "A", 1: "B", 2: "C", 3: "D"}},
        "said": "{choices[answer]}",
    }
    found = prepared(tmp_path, rows, columns=columns, drop=["question", "choices", "answer"])
    assert [row["completion"] for row in found] == ["B", "D"]
    assert [row["said"] for row in found] == ["4", "on"]
    assert found[0]["prompt"] == "2 + 2?\nA. 3\nB. 4\nC. 5\nD. 22"


def test_hotpot_is_a_recipe_of_columns(tmp_path: Path) -> None:
    rows = [
        {
            "question": "Who?",
            "answer": "He.",
            "context": {"title": ["a", "b"], "sentences": [["One.", "Two."], ["Three."]]},
        }
    ]
    columns = {"prompt": {"text": "{context[sentences]}\n{question}", "join": " "}, "completion": "{answer}"}
    found = prepared(tmp_path, rows, columns=columns, drop="all")
    assert found == [{"prompt": "One. Two. Three.\nWho?", "completion": "He."}]
    found = prepared(tmp_path, rows, columns={"text": "{context[sentences][0][1]} {answer}"}, drop="all")
    assert found == [{"text": "Two. He."}]


def test_where_keeps_values(tmp_path: Path) -> None:
    assert prepared(tmp_path, ALPACA, where={"task": "b"}) == ALPACA[1::3]
    assert prepared(tmp_path, where={"task": ["a", "c"], "input": ""}) == [
        row for row in ALPACA if row["task"] != "b" and not row["input"]
    ]


def test_rows_are_at_most_so_long_and_there_once(tmp_path: Path) -> None:
    kept = [row for row in ALPACA if len(f"{row['instruction']} {row['input']}".strip() + row["output"]) <= 12]
    assert 0 < len(kept) < len(ALPACA)
    assert prepared(tmp_path, ALPACA, longest=12) == kept
    assert prepared(tmp_path, [*ALPACA, *ALPACA[:5]], distinct=True) == ALPACA
    assert len(prepared(tmp_path)) == 28


def test_a_shuffle_follows_texts_not_positions(tmp_path: Path) -> None:
    shuffled = prepared(tmp_path, ALPACA, shuffle=3)
    assert shuffled != ALPACA and sorted(map(str, shuffled)) == sorted(map(str, ALPACA))
    again = ALPACA.copy()
    random.Random(1).shuffle(again)
    assert prepared(tmp_path, again, shuffle=3) == shuffled
    assert prepared(tmp_path, shuffle=4) != shuffled
    fewer = [row for row in again if row["task"] != "c"]
    assert prepared(tmp_path, fewer, shuffle=3) == [row for row in shuffled if row["task"] != "c"]


def test_take_gives_each_value_as_many(tmp_path: Path) -> None:
    take = {"column": "task", "of": ["c", "a"], "each": 4}
    assert prepared(tmp_path, ALPACA, take=take) == ALPACA[2::3][:4] + ALPACA[0::3][:4]
    columns = {"prompt": "{instruction}", "completion": "{output}"}
    assert prepared(tmp_path, columns=columns, drop="all", take=take)[4] == {"prompt": "Say 0", "completion": "0!"}
    with pytest.raises(DataError, match=r"asks for 9 rows with task = 'c', and there are 7: 23 read from rows.jsonl"):
        prepared(tmp_path, take=take | {"each": 9})


def test_parts_follow_each_other(tmp_path: Path) -> None:
    write(tmp_path / "data" / "chat.jsonl", [
        {"messages": [{"role": "user", "content": f"q{k}"}, {"role": "assistant", "content": f"a{k}"}]} for k in range(6)
    ])  # fmt: skip
    columns = {"prompt": "{messages[0][content]}", "completion": "{messages[-1][content]}", "task": "chat"}
    plain = {"prompt": "{instruction}", "completion": "{output}"}
    parts = [
        {"file": "rows.jsonl", "columns": plain, "drop": ["instruction", "output", "input"], "rows": "0:2"},
        {"file": "chat.jsonl", "columns": columns, "drop": "all", "rows": "1:3"},
    ]  # fmt: skip
    found = prepared(tmp_path, ALPACA, parts=parts)
    assert [row["prompt"] for row in found] == ["Say 0", "Say 1", "q1", "q2"]
    assert [row["task"] for row in found] == ["a", "b", "chat", "chat"]
    assert sorted(map(str, prepared(tmp_path, parts=parts, shuffle=5))) == sorted(map(str, found))
    assert expected_rows({"parts": parts}) == 4


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    odd = [
        {"id": "x\u2028", "prompt": "line\u2028break \x00 \U0001f600", "completion": "ü" * 3},
        {"prompt": "b", "completion": "c"},
    ]
    prepared(tmp_path, odd)
    back = load_pool(tmp_path / "out" / "pool.jsonl")
    assert [row.turns[0].content for row in back] == [odd[0]["prompt"], "b"]
    assert back.ids[0] == "x\u2028"


def test_rows_that_cannot_be_used_are_not_counted(tmp_path: Path) -> None:
    blank = [{"instruction": "Say", "output": ""}, *ALPACA[:3]]
    assert prepared(tmp_path, blank, rows="0:3") == ALPACA[:3]


def test_the_key_follows_the_rows(tmp_path: Path) -> None:
    root = write(tmp_path / "data" / "rows.jsonl", ALPACA).parent
    keys = [
        prepare_rows({"file": "rows.jsonl", "rows": rows}, root=root, out=tmp_path / name)["key"]
        for rows, name in (("0:5", "a"), ("0:5", "b"), ("1:6", "a"))
    ]
    assert keys[0] == keys[1] != keys[2]


def test_too_few_rows_are_an_error_with_the_arithmetic(tmp_path: Path) -> None:
    message = (
        r"`rows: 10:30` of rows.jsonl asks for 20 rows up to row 30, and there are 4: 23 read from rows.jsonl, 16 that "
        r"`where` keeps, 16 usable, 4 of at most 12 characters"
    )
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, ALPACA, where={"task": ["a", "b"]}, longest=12, rows="10:30")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="no row is left"):
        prepared(tmp_path, where={"task": "z"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"shufle": 3}, "Did you mean 'shuffle'"),
        ({"file": "/etc/passwd"}, "relative to the data folder"),
        ({"file": "../rows.jsonl"}, "relative to the data folder"),
        ({"file": None, "parts": [{"file": "rows.jsonl"}]}, "`file` is None"),
        ({"rows": "5"}, "write first and end"),
        ({"rows": "5:5"}, "no row at all"),
        ({"take": {"column": "task"}}, "write {column"),
        ({"longest": "long"}, "a number of characters"),
        ({"columns": {"text": "{a.b!r}"}}, "not of the form"),
        ({"columns": {"text": "{0:>{width}}"}}, "not of the form"),
        ({"columns": {"text": "{"}}, "is no template"),
        ({"columns": {"text": {"text": "{output}", "map": {"a": 1}}}}, "quote both"),
    ],
)  # fmt: skip
def test_wrong_words_are_told(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepared(tmp_path, ALPACA, **spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"columns": {"text": "{outptu}"}}, r"row 1 of rows.jsonl has no column 'outptu'. Did you mean 'output'"),
        ({"columns": {"text": "{output.__class__}"}}, "has no column 'output.__class__'"),
        ({"columns": {"text": "{output[__class__]}"}}, "has text in 'output', which has no entry '__class__'"),
        ({"columns": {"text": {"text": "{task}", "map": {"a": "A"}}}}, "row 2 of rows.jsonl has the value 'b'"),
        ({"where": {"tsak": "a"}}, "Did you mean 'task'"),
        ({"file": "row.jsonl"}, "Did you mean .*rows.jsonl"),
        ({"columns": {"messages": "{output}"}}, "Give all the same|no usable row"),
    ],
)
def test_wrong_columns_are_told_by_row(tmp_path: Path, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, ALPACA, **spec)


def test_templates_run_no_code() -> None:
    class Trap(dict):
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the attribute {name} was read")

    trap = Trap(a=1)
    for text in ("{x.a}", "{x[a].b}"):
        with pytest.raises((ConfigError, DataError)):
            Template.of(text, "new").fill({"x": trap})
    assert Template.of("{x[a]}", "new").fill({"x": trap}) == "1"


def test_the_hub_is_read_through_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return ALPACA

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert prepared(tmp_path, file="hub:owner/name/main#validation", rows="2:4") == ALPACA[2:4]
    assert asked == [("owner/name", "main", "validation")]


def test_counts_are_told_without_reading() -> None:
    assert expected_rows({"file": "hub:a/b", "rows": "10:30"}) == 20
    assert expected_rows({"file": "hub:a/b"}) is None
    assert expected_rows({"file": "a", "take": {"column": "task", "of": ["x", "y"], "each": 7}}) == 14
