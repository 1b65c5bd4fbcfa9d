"""Loading: every bad row is set aside with file, line and reason, every unusable source is one clear sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nncift.data.files import load_pool
from nncift.data.records import SHOWN
from nncift.errors import DataError, MissingExtraError

GOOD = b'{"instruction": "ask", "output": "say"}'


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def row(i: int, **more: Any) -> dict[str, Any]:
    return {"instruction": f"ask {i}", "output": f"say {i}", **more}


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in rows)


def test_jsonl_keeps_numbers_lines_and_bytes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \nbroken\n" + b" " + GOOD + b" ")
    pool = load_pool(path)
    assert (pool.layout, pool.file_type, pool.source) == ("alpaca", "jsonl", str(path))
    assert [(example.number, example.line, example.raw) for example in pool] == [
        (0, 1, GOOD),
        (2, 5, b" " + GOOD + b" "),
    ]
    assert [(bad.file, bad.line, bad.row) for bad in pool.rejected] == [(str(path), 4, "broken")]
    assert pool.rejected[0].reason.startswith("broken JSON: ")


HOSTILE = [
    (b"[" * 100_000, "nested too deeply (more than 100 levels)"),
    (b'{"instruction": "a", "output": "b", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    (b'{"instruction": "a", "output": "b", "x": ' + b"9" * 5_000 + b"}", "a number with too many digits"),
    (b'{"instruction": "a", "output": "\xff"}', "not UTF-8 (byte 33 of the row)"),
    (b'{"instruction": "a", "output": "\\ud800"}', "column 'output' holds a lone surrogate"),
    (b'{"instruction": "a", "output": NaN}', "column 'output' is a number, expected text"),
    (b"[1, 2]", "the row is a list, expected an object"),
    (b"null", "the row is null, expected an object"),
    (b'"text"', "the row is text, expected an object"),
    (b'{"messages": []}', "missing column 'instruction' and 'output' (the row has the layout 'messages'"),
    (b'{"text": "minority"}', "the row has the layout 'text'"),
    (b'{"instruction": "cut', "broken JSON"),
    (b"\x00\x01", "broken JSON"),
]


@pytest.mark.parametrize(("line", "reason"), HOSTILE)
def test_a_hostile_line_costs_that_line_only(tmp_path: Path, line: bytes, reason: str) -> None:
    pool = load_pool(put(tmp_path / "a.jsonl", GOOD + b"\n" + line + b"\n" + GOOD + b"\n"))
    assert [example.line for example in pool] == [1, 3]
    (bad,) = pool.rejected
    assert bad.line == 2 and reason in bad.reason
    assert len(bad.row) < SHOWN + 100


def test_a_huge_line_is_usable_and_a_huge_rejected_row_is_cut_with_a_mark(tmp_path: Path) -> None:
    huge = b"x" * 3_000_000
    good = b'{"instruction": "ask", "output": "' + huge + b'"}'
    pool = load_pool(put(tmp_path / "a.jsonl", good + b"\n{" + huge + b"\n"))
    assert len(pool[0].response) == len(huge)
    assert len(pool.rejected[0].row) < SHOWN + 100
    assert pool.rejected[0].row.endswith("… [cut: 3,000,001 characters in all]")


def test_nan_and_lone_surrogates_in_unused_columns_do_no_harm(tmp_path: Path) -> None:
    content = b'{"instruction": "ask", "output": "say", "score": NaN, "note": "\\ud800"}\n'
    assert load_pool(put(tmp_path / "a.jsonl", content))[0].raw == content.rstrip()


def test_own_ids_count_only_when_they_are_text_or_integers_and_unique() -> None:
    values = ["a", 7, "7", "twin", "twin", True, None, "", "  ", ["a"], float("nan"), {"a": 1}, 2.0, "\ud800", 10**5000]
    pool = load_pool([row(i, id=value) for i, value in enumerate(values)])
    assert len(set(pool.ids)) == len(values)
    assert pool.ids[0] == "a"
    for example in pool.examples[1:]:
        assert example.id == example.content_key[:16]
    assert load_pool([row(1, id=7), row(2, id=-3)]).ids == ("7", "-3")


def test_equal_rows_without_id_are_counted_in_order_of_appearance() -> None:
    pool = load_pool([row(1), row(2), row(1), row(1)])
    key = pool[0].content_key[:16]
    assert [pool.ids[i] for i in (0, 2, 3)] == [key, f"{key}-1", f"{key}-2"]


def test_an_own_id_that_looks_like_a_hash_does_not_collide() -> None:
    key = load_pool([row(1)]).ids[0]
    pool = load_pool([row(1), row(1), row(2, id=key), row(3, id=f"{key}-1")])
    assert pool.ids[2:] == (key, f"{key}-1")
    assert len(set(pool.ids)) == 4


def test_a_shared_id_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    load_pool([row(1, id="x"), row(2, id="x"), row(3, id="y")])
    assert "2 rows share their id" in caplog.text


def test_rows_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    pool = load_pool(iter([row(1), [1], {3: "x"}, row(2)]))
    assert (pool.source, pool.file_type) == ("<memory>", "jsonl")
    assert [(example.number, example.line, example.raw) for example in pool] == [(0, 1, row(1)), (3, 4, row(2))]
    assert [bad.reason for bad in pool.rejected] == [
        "the row is a list, expected an object",
        "a column name is not text",
    ]


def test_an_asked_layout_wins_over_detection() -> None:
    rows = [{"text": "t", "prompt": "p", "completion": "c"}]
    assert load_pool(rows).layout == "prompt-completion"
    assert load_pool(rows, layout="text")[0].turns[0].content == "t"


def test_the_layout_is_told_from_the_first_hundred_rows_not_the_first_few() -> None:
    rows = [{"text": f"t{i}"} for i in range(7)] + [row(i) for i in range(9)]
    pool = load_pool(rows)
    assert (pool.layout, len(pool), len(pool.rejected)) == ("alpaca", 9, 7)


def test_json_array_keeps_lines_and_rejects_what_is_no_object(tmp_path: Path) -> None:
    text = '\ufeff [\n  {"instruction": "ask",\n   "output": "ä"},\n\n  5, {"instruction": "b", "output": "c"}\n]\n'
    pool = load_pool(put(tmp_path / "a.json", text.encode()))
    assert pool.file_type == "json"
    assert [(example.number, example.line) for example in pool] == [(0, 2), (2, 5)]
    assert [(bad.line, bad.row) for bad in pool.rejected] == [(5, "5")]


@pytest.mark.parametrize("first", [GOOD, b"{broken"])
def test_json_lines_under_the_wrong_suffix_are_recognised(tmp_path: Path, first: bytes) -> None:
    pool = load_pool(put(tmp_path / "a.json", first + b"\n" + GOOD + b"\n"))
    assert pool.file_type == "jsonl" and pool[len(pool) - 1].line == 2


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", b"[" + GOOD + b",\n" + GOOD + b"\n", "line 3: broken JSON array (no closing ']')"),
        ("a.json", b"[" + GOOD + b"\n" + GOOD + b"]", "line 2: broken JSON array (expected ','"),
        ("a.json", b"[" + GOOD + b"]\n[1]", "line 2: broken JSON array (text behind"),
        ("a.json", b"[\n\n{oops}]", "line 3: broken JSON array"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'[{"a": ' + b"9" * 5_000 + b"}]", "too many digits"),
        ("a.json", b'[{"a":\n "\xff"}]', "line 2: not UTF-8"),
        ("a.json", b'{"data":\n [' + GOOD + b"]}", "holds one JSON object with the keys 'data'"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", "\ufeff[]".encode("utf-16-le"), "stored as UTF-16"),
        ("a.jsonl", "\ufeff{}".encode("utf-16-be"), "stored as UTF-16"),
        ("a.jsonl", b"", "is empty (0 bytes)"),
        ("a.jsonl", b"\n \n", "holds no rows"),
        ("a.jsonl", b"{\n{\n[]\n", "no usable row: 3 rejected, most often (2, first in line 1): broken JSON"),
        ("a.jsonl", b'{"frage": 1}\n', "has these columns: 'frage'"),
        ("a.csv", "\ufeffa,b\n".encode("utf-16-le"), "stored as UTF-16"),
        ("a.csv", b"text,text\na,b\n", "has the column 'text' twice"),
        ("a.csv", b'"text\n', "the header cannot be read"),
        ("a.csv", b"text\n", "holds no rows"),
        ("a.parquet", b"PAR1 not really", "not a Parquet file"),
        ("a.jsonl.gz", b"\x1f\x8b", "gzip -dk"),
        ("a.txt", b"hi", "the suffix '.txt'"),
    ],
)
def test_an_unusable_file_is_one_clear_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        load_pool(put(tmp_path / name, content))
    assert sentence in str(caught.value) and name in str(caught.value)


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", GOOD)
    with pytest.raises(DataError, match=r"no target file .*trian\.jsonl\. Did you mean .*train\.jsonl\?"):
        load_pool(tmp_path / "trian.jsonl", role="target")
    with pytest.raises(DataError, match=r"Check the folder too: .*no does not exist"):
        load_pool(tmp_path / "no" / "train.jsonl")
    with pytest.raises(DataError, match="write hub:no-such-owner/name"):
        load_pool("no-such-owner/name")


def test_a_folder_names_a_file_of_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no file of rows"):
        load_pool(tmp_path)
    put(tmp_path / "train.json", GOOD)
    with pytest.raises(DataError, match=r"is a folder. Name one of its files, such as .*train\.json"):
        load_pool(tmp_path)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(DataError, match=r"unknown row layout 'alpacca'\. Did you mean 'alpaca'"):
        load_pool([row(1)], layout="alpacca")
    with pytest.raises(DataError, match=r"one mapping with the keys 'train'.*dataset\['train'\]"):
        load_pool({"train": [row(1)]})  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"no usable row: 1 rejected.*Leave out --format text"):
        load_pool([row(1)], layout="text")
    with pytest.raises(DataError, match="the target <memory> holds no rows"):
        load_pool([], role="target")


def fake_hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    """Stands in for the package `datasets`; returns the calls it gets."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None = None, *, split: str) -> Any:
        calls.append((name, config, split))
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("datasets")
    module.__dict__["load_dataset"] = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


@pytest.mark.parametrize(
    ("source", "call"),
    [
        ("hub:owner/name", ("owner/name", None, "train")),
        ("hub:owner/name#test[:10]", ("owner/name", None, "test[:10]")),
        ("hub:owner/name/main#test", ("owner/name", "main", "test")),
        ("hub:name", ("name", None, "train")),
    ],
)
def test_hub_sources(monkeypatch: pytest.MonkeyPatch, source: str, call: tuple[Any, ...]) -> None:
    calls = fake_hub(monkeypatch, [row(1), row(2)])
    pool = load_pool(source)
    assert calls == [call]
    assert (pool.source, pool.file_type, len(pool)) == (source, "jsonl", 2)


def test_hub_failures_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, RuntimeError("no route"))
    with pytest.raises(DataError, match=r"cannot load hub:a/b: RuntimeError: no route.*HF_HUB_OFFLINE"):
        load_pool("hub:a/b")
    with pytest.raises(DataError, match="does not name a data set"):
        load_pool("hub:")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[hub\]"'):
        load_pool("hub:a/b")


def test_the_room_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, nncift.data.files, nncift.data.write, nncift.data.template, nncift.data.demo\n"
        "sys.exit(', '.join({'torch', 'transformers', 'datasets'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
