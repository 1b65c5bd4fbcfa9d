"""Files that nobody should write, made in the test: each case says which of its rows are sound, or that it is an error."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DEEP = 100_000


@dataclass(frozen=True)
class Rows:
    """A file of rows.

    Attributes:
        name: of the case, also of its file.
        write: writes the file at a path.
        good: the responses of the rows that must be loaded, in order; None where the whole file is refused.
    """

    name: str
    write: Callable[[Path], object]
    good: tuple[str, ...] | None


def row(response: str, **more: Any) -> dict[str, Any]:
    """A sound row."""
    return {"instruction": f"ask {response}", "output": response, **more}


def line(response: str, **more: Any) -> bytes:
    """A sound line."""
    return json.dumps(row(response, **more)).encode()


FIRST, LAST = line("first"), line("last")
BOTH = ("first", "last")

LINES: dict[str, bytes] = {
    "brackets": b"[" * DEEP,
    "braces": b'{"a":' * DEEP,
    "closed-brackets": b"[" * DEEP + b"]" * DEEP,
    "deep-column": b'{"instruction": "a", "output": "b", "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep-task": b'{"instruction": "a", "output": "b", "task": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "half-deep-task": b'{"instruction": "a", "output": "b", "task": ' + b"[" * 400 + b"]" * 400 + b"}",
    "cut-object": b'{"instruction": "a", "outp',
    "cut-escape": b'{"instruction": "a", "output": "\\u12',
    "two-objects": FIRST + LAST,
    "two-objects-cr": FIRST + b"\r" + LAST,
    "number": b"17",
    "text": b'"text"',
    "null": b"null",
    "list": b"[1, 2, 3]",
    "empty-object": b"{}",
    "empty-list": b"[]",
    "single-quotes": b"{'instruction': 'a', 'output': 'b'}",
    "bare-word": b"hello",
    "latin-1": '{"instruction": "caf\xe9", "output": "b"}'.encode("latin-1"),
    "utf-16-line": '{"instruction": "a", "output": "b"}'.encode("utf-16-le"),
    "utf-7-bytes": b'{"instruction": "\xff\xfe", "output": "b"}',
    "overlong-utf-8": b'{"instruction": "\xc0\xaf", "output": "b"}',
    "surrogate-bytes": b'{"instruction": "\xed\xa0\x80", "output": "b"}',
    "lone-surrogate": b'{"instruction": "a", "output": "\\ud800"}',
    "lone-surrogate-prompt": b'{"instruction": "\\udfff", "output": "b"}',
    "nul-byte": b"\0",
    "nul-run": b"\0" * 4096,
    "nul-in-object": b'{"instruction": "a", \0"output": "b"}',
    "huge-integer": b'{"instruction": "a", "output": "b", "n": ' + b"9" * 100_000 + b"}",
    "nan-response": b'{"instruction": "a", "output": NaN}',
    "infinite-response": b'{"instruction": "a", "output": -Infinity}',
    "number-response": b'{"instruction": "a", "output": 1e999}',
    "null-response": b'{"instruction": "a", "output": null}',
    "empty-response": b'{"instruction": "a", "output": ""}',
    "blank-response": b'{"instruction": "a", "output": " \\n\\u3000"}',
    "list-response": b'{"instruction": "a", "output": ["b"]}',
    "missing-response": b'{"instruction": "a"}',
    "other-layout": b'{"prompt": "a", "completion": "b"}',
    "chat-layout": b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    "twin-keys-last-bad": b'{"instruction": "a", "output": "b", "output": null}',
    "comment": b"// a comment",
    "trailing-comma": b'{"instruction": "a", "output": "b",}',
    "bom-inside": b"\xef\xbb\xbf" + FIRST,
    "form-feed": b"\x0c{}",
    "huge-broken": b'{"instruction": "' + b"x" * 2_000_000,
}
"""Bad lines: between two good ones each costs itself alone."""

ODD_BUT_SOUND: dict[str, bytes] = {
    "nan-column": line("odd")[:-1] + b', "x": NaN, "y": [Infinity, -Infinity]}',
    "nan-id": line("odd")[:-1] + b', "id": NaN}',
    "huge-id": line("odd")[:-1] + b', "id": ' + b"9" * 4000 + b"}",
    "list-id": line("odd", id=["a"]),
    "object-id": line("odd", id={"a": 1}),
    "true-id": line("odd", id=True),
    "path-id": line("odd", id="../../../etc/passwd"),
    "absolute-id": line("odd", id="/etc/passwd"),
    "nul-id": line("odd", id="a\0b"),
    "surrogate-id": b'{"instruction": "a", "output": "odd", "id": "\\ud800"}',
    "line-break-id": line("odd", id="a\nb\r\n\u2028"),
    "escape-id": line("odd", id="\x1b[2J"),
    "blank-id": line("odd", id="   "),
    "long-id": line("odd", id="x" * 100_000),
    "twin-id": line("odd", id="twin") + b"\n" + line("again", id="twin"),
    "surrogate-column": b'{"instruction": "a", "output": "odd", "\\ud800": "\\udfff"}',
    "nul-column": b'{"instruction": "a", "output": "odd", "\\u0000": 1}',
    "number-key": b'{"instruction": "a", "output": "odd", "1": 2, "": 3}',
    "twin-keys": b'{"instruction": "a", "output": "b", "output": "odd"}',
    "nested-column": b'{"instruction": "a", "output": "odd", "x": ' + b"[" * 60 + b"]" * 60 + b"}",
    "odd-task": b'{"instruction": "a", "output": "odd", "task": {"a": [1, null, NaN]}}',
    "nul-prompt": b'{"instruction": "a\\u0000b", "output": "odd"}',
    "carriage-return": line("odd") + b"\r",
    "blank-lines": b"\n\r\n   \n\t\n" + line("odd"),
    "line-separator": '{"instruction": "a\u2028b\x85c", "output": "odd"}'.encode(),
    "wide-row": line("odd", **{f"column {k}": k for k in range(5000)}),
    "long-prompt": line("odd", input="x" * 2_000_000),
    "many-escapes": b'{"instruction": "' + b"\\u00e9" * 300_000 + b'", "output": "odd"}',
}
"""Lines that look bad, and are sound rows all the same."""


def row_cases() -> Iterator[Rows]:
    """All files of rows."""
    yield from _line_cases()
    yield from _whole_files()
    yield from _json_arrays()
    yield from _csv_files()
    yield from _parquet_files()


def _line_cases() -> Iterator[Rows]:
    for name, bad in LINES.items():
        yield Rows(f"line-{name}.jsonl", partial(_put, data=b"\n".join([FIRST, bad, LAST])), BOTH)
    for name, odd in ODD_BUT_SOUND.items():
        middle = ("odd", "again") if name == "twin-id" else ("odd",)
        yield Rows(
            f"odd-{name}.jsonl", partial(_put, data=b"\n".join([FIRST, odd, LAST, b""])), ("first", *middle, "last")
        )
    for name in ("brackets", "latin-1", "nul-run", "lone-surrogate"):
        yield Rows(f"first-{name}.jsonl", partial(_put, data=LINES[name] + b"\n" + FIRST + b"\n" + LAST), BOTH)
        yield Rows(f"last-{name}.ndjson", partial(_put, data=FIRST + b"\n" + LAST + b"\n" + LINES[name]), BOTH)
    everything = b"\n".join([FIRST, *LINES.values(), LAST])
    yield Rows("everything.jsonl", partial(_put, data=everything), BOTH)
    yield Rows("everything-crlf.jsonl", partial(_put, data=everything.replace(b"\n", b"\r\n")), BOTH)
    yield Rows("bom.jsonl", partial(_put, data=b"\xef\xbb\xbf" + FIRST + b"\n" + LAST), BOTH)
    yield Rows("two-boms.jsonl", partial(_put, data=b"\xef\xbb\xbf" * 2 + FIRST + b"\n" + LAST), ("last",))


_TWO = FIRST + b"\n" + LAST + b"\n"
_ARRAY = b"[" + FIRST + b",\n" + LAST + b"]"
_TABLE = b"instruction,output\nask,first\nask,last\n"
_SOUND = {".jsonl": _TWO, ".json": _ARRAY, ".csv": _TABLE}
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def _whole_files() -> Iterator[Rows]:
    """What may lie at a path of any suffix, and is refused whole."""
    for suffix in SUFFIXES:
        for name, make in {
            "folder": Path.mkdir,
            "loop": lambda path: path.symlink_to(path.name),
            "dangling": lambda path: path.symlink_to("nowhere"),
            "fifo": os.mkfifo,
            "socket": _socket,
            "zero-device": lambda path: path.symlink_to("/dev/zero"),
            "null-device": lambda path: path.symlink_to("/dev/null"),
            "terminal-device": lambda path: path.symlink_to("/dev/full"),
            "absent": lambda path: None,
        }.items():
            yield Rows(f"{name}{suffix}", make, None)
        for name, data in {
            "empty": b"",
            "blank": b" \n\t\r\n \n",
            "nul": b"\0" * 100_000,
            "random": bytes(range(256)) * 40,
            "bom-alone": b"\xef\xbb\xbf",
            "half-a-bom": b"\xef\xbb",
            "gzip": gzip.compress(_TWO),
            "gzip-bomb": gzip.compress(b"[" * 5_000_000, 9),
            "zip": b"PK\x03\x04" + bytes(60),
            "zstd": b"\x28\xb5\x2f\xfd" + bytes(60),
            "brackets": b"[" * DEEP,
            "quotes": b'"' * 99_999,
            "long-line": b"x" * 4_000_000,
            "parquet-magic": b"PAR1" + bytes(30) + b"PAR1",
        }.items():
            yield Rows(f"{name}{suffix}", partial(_put, data=data), None)
    for suffix, sound in _SOUND.items():
        for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            yield Rows(f"{code}{suffix}", partial(_put, data=sound.decode().encode(code)), None)
        yield Rows(f"ebcdic{suffix}", partial(_put, data=sound.decode().encode("cp500")), None)
        yield Rows(f"packed{suffix}.gz", partial(_put, data=gzip.compress(sound)), None)
    yield Rows("no-suffix", partial(_put, data=_TWO), None)
    yield Rows("program.py", partial(_put, data=b"raise SystemExit"), None)
    yield Rows("x" * 300 + ".jsonl", lambda path: None, None)
    yield Rows("nul\0name.jsonl", lambda path: None, None)
    yield Rows("surrogate-\ud800.jsonl", lambda path: None, None)
    yield Rows("odd\udcff\n\x1b[2Jname.jsonl", partial(_put, data=_TWO), BOTH)
    yield Rows("lines.json", partial(_put, data=_TWO), BOTH)
    yield Rows("bom.csv", partial(_put, data=b"\xef\xbb\xbf" + _TABLE), BOTH)
    yield Rows("bom.json", partial(_put, data=b"\xef\xbb\xbf" + _ARRAY), BOTH)


def _json_arrays() -> Iterator[Rows]:
    def array(*elements: bytes) -> bytes:
        return b"[" + b",\n".join(elements) + b"]"

    lost = ("number", "text", "null", "list", "empty-object", "lone-surrogate", "nan-response", "missing-response",
            "other-layout", "half-deep-task")  # fmt: skip
    for name in lost:
        yield Rows(f"element-{name}.json", partial(_put, data=array(FIRST, LINES[name], LAST)), BOTH)
    for name in ("nan-column", "huge-id", "path-id", "surrogate-id", "surrogate-column", "twin-keys", "nested-column"):
        data = array(FIRST, ODD_BUT_SOUND[name], LAST)
        yield Rows(f"odd-{name}.json", partial(_put, data=data), ("first", "odd", "last"))
    for name in (
        "cut-object",
        "brackets",
        "braces",
        "deep-column",
        "latin-1",
        "huge-integer",
        "single-quotes",
        "nul-byte",
    ):
        yield Rows(f"broken-{name}.json", partial(_put, data=array(FIRST, LINES[name], LAST)), None)
    for name, data in {
        "cut": _ARRAY[:-1],
        "twice": _ARRAY * 2,
        "empty-array": b"[]",
        "commas": b"[,,,]",
        "trailing-comma": _ARRAY[:-1] + b",]",
        "number": b"1",
        "object-of-lists": b'{"instruction": ["a"], "output": ["b"]}',
        "object-of-rows": b'{"train": ' + _ARRAY + b"}",
        "arrays-in-arrays": b"[" + _ARRAY + b"]",
    }.items():
        yield Rows(f"{name}.json", partial(_put, data=data), None)


def _csv_files() -> Iterator[Rows]:
    head, first, last = b"instruction,output\n", b"ask,first\n", b"ask,last\n"
    for name, bad in {
        "too-many-cells": b"a,b,c\n",
        "too-few-cells": b"a\n",
        "many-cells": b"a," * 200_000 + b"\n",
        "latin-1": "caf\xe9,b\n".encode("latin-1"),
        "quote-inside": b'"a"b,c\n',
        "blank-response": b"a,   \n",
        "empty-cells": b",\n",
        "quoted-latin-1": '"caf\xe9\n","b"\n'.encode("latin-1"),
    }.items():
        yield Rows(f"record-{name}.csv", partial(_put, data=head + first + bad + last), BOTH)
    for name, odd in {
        "nul": b"a\0b,odd\n",
        "blank-lines": b"\n\n\r\n" + b"a,odd\n",
        "lone-cr": b"a,odd\r",
        "crlf": b"a,odd\r\n",
        "quoted-breaks": b'"a\nb\r\nc\rd",odd\n',
        "formula": b"=cmd|' /C calc'!A0,odd\n",
        "long-cell": b'"' + b"x" * 2_000_000 + b'",odd\n',
    }.items():
        yield Rows(f"odd-{name}.csv", partial(_put, data=head + first + odd + last), ("first", "odd", "last"))
    yield Rows("open-quote.csv", partial(_put, data=head + first + last + b'"a,b\n' * 2001), BOTH)
    for name, data in {
        "twin-columns": b"output,output\na,b\n",
        "header-alone": head,
        "open-header": b'"instruction,output\na,b\n',
        "no-known-column": b"a,b\n1,2\n",
        "latin-1-header": "instruction,r\xe9ponse\na,b\n".encode("latin-1"),
        "wide-header": b",".join(b"c%d" % k for k in range(200_000)) + b"\n",
        "wide-twins": b"x," * 200_000 + b"x\n",
        "semicolons": head.replace(b",", b";") + first.replace(b",", b";"),
    }.items():
        yield Rows(f"{name}.csv", partial(_put, data=data), None)


def _parquet_files() -> Iterator[Rows]:
    two = {"instruction": ["ask", "ask"], "output": ["first", "last"]}
    sound = _parquet(pa.table(two))
    for name, data in {
        "cut": sound[:-20],
        "cut-in-half": sound[: len(sound) // 2],
        "no-footer": sound[:-8] + bytes(4) + b"PAR1",
        "huge-footer": sound[:-8] + b"\xff\xff\xff\x7f" + b"PAR1",
        "twice": sound[4:] + sound[:4],
        "no-rows": _parquet(pa.table(two).slice(0, 0)),
        "no-columns": _parquet(pa.table({})),
        "twin-columns": _parquet(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["output", "output"])),
        "numbers": _parquet(pa.table({"instruction": [1, 2], "output": [3, 4]})),
        "nulls": _parquet(pa.table({"instruction": pa.nulls(2), "output": pa.nulls(2)})),
        "bad-page": sound[:60] + bytes(30) + sound[90:],
    }.items():
        yield Rows(f"{name}.parquet", partial(_put, data=data), None)
    odd: dict[str, pa.Array] = {
        "far-dates": pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
        "far-stamps": pa.array([2**52, -(2**52)], pa.timestamp("s")),
        "far-nanoseconds": pa.array([2**62 + 1, -(2**62) - 1], pa.timestamp("ns")),
        "far-durations": pa.array([2**62, -(2**62)], pa.duration("s")),
        "nowhere-time-zone": pa.array([1, 2], pa.timestamp("us", tz="Nowhere/Atlantis")),
        "surrogate-bytes": pa.array([b"\xed\xa0\x80", b"\xff"], pa.binary()),
        "not-utf-8": pa.StringArray.from_buffers(
            2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")
        ),
        "nan": pa.array([float("nan"), float("inf")]),
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "map": pa.array([[("k", 1)], [("k", 2), ("k", 3)]], pa.map_(pa.string(), pa.int64())),
        "empty-struct": pa.array([{"a": None}, None], pa.struct([("a", pa.null())])),
        "twin-fields": pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"]),
        "nested": _nested(60),
        "decimals": pa.array([1, 2], pa.int64()).cast(pa.decimal128(38, 10)),
        "half-floats": pa.array([1.5, 2.5], pa.float16()),
    }
    for name, column in odd.items():
        table = pa.table(
            {"instruction": pa.array(["ask", "ask"]), "output": pa.array(["first", "last"]), "odd": column}
        )
        yield Rows(f"odd-{name}.parquet", partial(_put_table, table=table), BOTH)
    mixed = pa.table({"instruction": ["a"] * 4, "output": ["first", "", None, "last"]})
    yield Rows("mixed.parquet", partial(_put_table, table=mixed), BOTH)
    for name, kind in {"binary": pa.binary(), "large": pa.large_string(), "view": pa.string_view()}.items():
        table = pa.table({"instruction": ["ask", "ask"], "output": pa.array(["first", "last"]).cast(kind)})
        yield Rows(f"text-{name}.parquet", partial(_put_table, table=table), None if name == "binary" else BOTH)


def _nested(levels: int) -> pa.Array:
    column = pa.array([1, 2])
    for _ in range(levels):
        column = pa.StructArray.from_arrays([column], names=["a"])
    return column


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _put_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _socket(path: Path) -> None:
    where = Path.cwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(where)
