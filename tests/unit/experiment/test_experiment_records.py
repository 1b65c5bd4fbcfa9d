"""Records and their keys: what changes a key, what does not, and what a damaged file means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nncift.experiment.grid import Cell
from nncift.experiment.records import (
    Record,
    cell_key,
    ids_hash,
    read_record,
    record_path,
    scrubbed,
    without_places,
    write_record,
)

CELL = Cell("select/a", "select", {"v": "8"}, {"influence": "random", "budget": 8}, "words", ("pool",), {})


def key(options: dict[str, Any] | None = None, needs: dict[str, str] | None = None, **rows: str) -> str:
    cell = Cell("select/a", "select", {}, CELL.options | (options or {}), "words", ("pool", "target"), {})
    files = {"pool": "somewhere/pool.jsonl", "target": "t.jsonl", "output": "o"}
    return cell_key(cell, cell.config(files), rows={"pool": "1", "target": "2"} | rows, needs=needs or {})


def test_a_key_is_of_what_matters() -> None:
    assert key() == key({"threads": 7, "batch_tokens": 64}) == key({"seed": 0}) == key(test="3")
    others = [key({"seed": 1}), key({"budget": 9}), key(pool="9"), key(target="9"), key(needs={"select/b": "x"})]
    assert len({key(), *others}) == 6


def test_a_key_is_of_the_axes_of_who_pays_and_of_local_models_and_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"pool": "pool.jsonl", "output": "o"}

    def of(cell: Cell) -> str:
        return cell_key(cell, cell.config(files), rows={"pool": "1"}, needs={})

    assert len({of(CELL), of(replace(CELL, axes={"u": "8"})), of(replace(CELL, alone=True))}) == 3
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"one")
    before = key({"model": str(model)})
    (model / "model.safetensors").write_bytes(b"two")
    assert key({"model": str(model)}) != before
    code = tmp_path / "own_teacher.py"
    code.write_text("class Own:\n    pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = key({"influence": "own_teacher:Own"})
    code.write_text("class Own:\n    changed = True\n", encoding="utf-8")
    assert key({"influence": "own_teacher:Own"}) != first


def test_an_error_is_kept_without_quotes_and_folders() -> None:
    told = scrubbed(
        "no influence of pool row 'My secret?' on \"it's mine\", see /srv/cache/models/x and DIR/failures/a.txt"
    )
    assert "secret" not in told and "mine" not in told and "/srv" not in told
    assert told.startswith("no influence of pool row '…' on") and told.endswith("DIR/failures/a.txt")


def test_vectors_are_told_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "v.npy"
    path.write_bytes(b"one")
    before = key({"embedder": str(path)})
    (tmp_path / "w.npy").write_bytes(b"one")
    assert key({"embedder": str(tmp_path / "w.npy")}) == before
    path.write_bytes(b"two")
    assert key({"embedder": str(path)}) != before


def test_a_record_comes_back_and_a_damaged_one_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = Record("select/a", "select", {"v": "8"}, "k", "done", None, 1.5, {"rows": 3, "notes": {"a": "\ud800"}})
    assert read_record(tmp_path, "select/a") is None
    write_record(tmp_path, record)
    assert read_record(tmp_path, "select/a") == record
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.json"]
    for text in ("{", '{"cell": "select/a"}', "[]", "3"):
        record_path(tmp_path, "select/a").write_text(text)
        assert read_record(tmp_path, "select/a") is None
    assert "done again" in caplog.text


def test_ids_are_told_apart_by_their_order_and_their_ends() -> None:
    assert len({ids_hash(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a\n1 b"])}) == 5


def test_places_are_replaced_everywhere() -> None:
    value = {"x/here": ["in x/here/y", 3, None, {"b": "x"}]}
    assert without_places(value, {"x/here": "DIR"}) == {"DIR": ["in DIR/y", 3, None, {"b": "x"}]}
