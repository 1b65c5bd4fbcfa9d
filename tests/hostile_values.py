"""Files that nobody should write, beside those of rows: influences, vectors, recipes, answers of judges, run folders."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hostile import DEEP

POOL, TARGETS = ("a", "b", "c"), ("s", "t")


def npz(**arrays: Any) -> bytes:
    """An `.npz` of arrays, packed; bytes stand for themselves."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", array if isinstance(array, bytes) else npy(np.asarray(array)))
    return sink.getvalue()


def npy(array: np.ndarray) -> bytes:
    """The bytes of an array in a file."""
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, allow_pickle=array.dtype.hasobject)
    return sink.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    """The bytes of an `.npy` that says so of itself."""
    said = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(said)) + said + data


def _of(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


ARRAYS: dict[str, bytes] = {
    "empty": b"",
    "objects": npy(np.array([{"a": 1}, None], dtype=object)),
    "endless": header(_of("(1000000000000, 1000000)")),
    "overflow": header(_of("(4294967296, 4294967296, 4294967296)")),
    "negative": header(_of("(-5, 3)"), bytes(60)),
    "shape-of-texts": header(_of("('a', 3)"), bytes(60)),
    "cut": npy(np.ones((400, 3), dtype=np.float32))[:600],
    "code": header("__import__('os').system('true')"),
    "brackets": header("(" * 5000),
    "minus-signs": header("-" * 5000 + "1"),
    "huge-header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
    "odd-version": b"\x93NUMPY\x09\x09" + bytes(80),
    "odd-type": header(_of("(3,)", "'<q99999999'"), bytes(60)),
    "wide-type": header(_of("(3, 3)", "'|V2147483647'"), bytes(60)),
    "subarray": header(_of("(3,)", "('<f4', (99999, 99999))"), bytes(60)),
    "texts": npy(np.array(["a", "b"])),
    "complex": npy(np.ones((2, 3), dtype=np.complex64)),
    "dates": npy(np.zeros((2, 3), dtype="datetime64[s]")),
    "records": npy(np.zeros(3, dtype=[("a", "f4"), ("b", "O")]).astype([("a", "f4"), ("b", "i4")])),
    "scalar": npy(np.float32(3)),
    "three-axes": npy(np.ones((2, 3, 4), dtype=np.float32)),
    "no-columns": npy(np.ones((3, 0), dtype=np.float32)),
    "nan": npy(np.full((3, 4), np.nan, dtype=np.float32)),
    "infinite": npy(np.full((3, 4), -np.inf, dtype=np.float64)),
    "too-long": npy(np.ones((99, 4), dtype=np.float32)),
    "npz": npz(a=np.ones((3, 4))),
    "zeros": bytes(5000),
    "text": b"1,2,3\n4,5,6\n",
}
"""Bytes of `.npy` files, none of which holds vectors of the three rows."""

_IDS = {"pool_ids": np.array(POOL), "target_ids": np.array(TARGETS)}
_FULL = np.arange(6, dtype=np.float32).reshape(2, 3)
_PAIRS = {"i": np.repeat([0, 1], 3), "j": np.tile([0, 1, 2], 2), "y": np.arange(6.0)}


def _flipped() -> bytes:
    """The checksum of what is packed does not hold."""
    data = bytearray(npz(**_IDS, values=_FULL))
    data[60] ^= 0xFF
    return bytes(data)


def _encrypted() -> bytes:
    data = bytearray(npz(**_IDS, values=_FULL))
    for at in (6, data.index(b"PK\x01\x02") + 8):
        data[at] |= 1
    return bytes(data)


def _method(number: int) -> bytes:
    data = bytearray(npz(**_IDS, values=_FULL))
    at = data.index(b"PK\x01\x02")
    data[8] = data[at + 10] = number
    return bytes(data)


MATRICES: dict[str, bytes] = {
    "empty": b"",
    "text": b"i,j,y\n0,0,1\n",
    "array": npy(_FULL),
    "zip-of-nothing": npz(),
    "no-ids": npz(values=_FULL),
    "no-values": npz(**_IDS),
    "cut": npz(**_IDS, values=_FULL)[:-30],
    "flipped": _flipped(),
    "encrypted": _encrypted(),
    "unknown-packing": _method(99),
    "lzma-without": _method(14),
    "no-arrays": npz(pool_ids=b"x", target_ids=b"y", values=b"z"),
    "transposed": npz(**_IDS, values=_FULL.T),
    "one-axis": npz(**_IDS, values=np.ones(6)),
    "twin-ids": npz(pool_ids=np.array(["a", "b", "a"]), target_ids=np.array(TARGETS), values=_FULL),
    "many-twins": npz(pool_ids=np.array(["x"] * 200_000), target_ids=np.array(TARGETS), values=_FULL),
    "ids-of-bytes": npz(pool_ids=np.array([b"a", b"b", b"c"]), target_ids=np.array(TARGETS), values=_FULL),
    "ids-of-floats": npz(pool_ids=np.array([1.0, 2.0, np.nan]), target_ids=np.array(TARGETS), values=_FULL),
    "ids-of-objects": npz(pool_ids=np.array(POOL, dtype=object), target_ids=np.array(TARGETS), values=_FULL),
    "ids-of-no-character": npz(
        pool_ids=header(_of("(3,)", "'<U1'"), b"\xff" * 12), target_ids=np.array(TARGETS), values=_FULL
    ),
    "surrogate-ids": npz(pool_ids=np.array(["\ud800", "b", "c"]), target_ids=np.array(TARGETS), values=_FULL),
    "other-ids": npz(pool_ids=np.array(["x", "y", "z"]), target_ids=np.array(TARGETS), values=_FULL),
    "path-ids": npz(pool_ids=np.array(["../a", "/b", "c\0"]), target_ids=np.array(TARGETS), values=_FULL),
    "fewer-ids": npz(pool_ids=np.array(["a", "b"]), target_ids=np.array(TARGETS), values=_FULL[:, :2]),
    "positions-below-zero": npz(**_IDS, **(_PAIRS | {"i": np.array([-1] * 6)})),
    "positions-too-high": npz(**_IDS, **(_PAIRS | {"j": np.array([3] * 6)})),
    "huge-positions": npz(**_IDS, **(_PAIRS | {"j": np.array([2**64 - 1] * 6, dtype=np.uint64)})),
    "positions-of-floats": npz(**_IDS, **(_PAIRS | {"i": np.zeros(6)})),
    "positions-of-other-length": npz(**_IDS, **(_PAIRS | {"i": np.zeros(5, dtype=int)})),
    "influences-of-texts": npz(**_IDS, **(_PAIRS | {"y": np.array(list("abcdef"))})),
    "influences-of-objects": npz(**_IDS, **(_PAIRS | {"y": np.array([None] * 6, dtype=object)})),
    "complex-influences": npz(**_IDS, **(_PAIRS | {"y": np.ones(6, dtype=complex)})),
    "no-pairs": npz(**_IDS, i=np.zeros(0, int), j=np.zeros(0, int), y=np.zeros(0)),
    "all-nan": npz(**_IDS, values=np.full((2, 3), np.nan)),
    "all-infinite": npz(**_IDS, values=np.full((2, 3), np.inf)),
    **{f"values-{name}": npz(**_IDS, values=data) for name, data in ARRAYS.items() if name not in ("npz", "text")},
}
"""Bytes of `.npz` files of influences, none of which can be used for three rows and two targets."""

_LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{name}'] * 10)}]\n" for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)
_HEAD = "verb: select\npool: pool.jsonl\n"

RECIPES: dict[str, bytes] = {
    name: text if isinstance(text, bytes) else text.encode()
    for name, text in {
        "empty": "",
        "number": "17",
        "list": "- a\n- b\n",
        "no-verb": "pool: a\n",
        "laughs": f"{_HEAD}{_LAUGHS}budget: *i\n",
        "laughing-option": f"{_LAUGHS}{_HEAD}option: *i\n",
        "laughing-verb": f"{_LAUGHS}verb: *i\n",
        "holds-itself": f"{_HEAD}budget: &a [*a]\n",
        "mapping-holds-itself": f"{_HEAD}budget: &a {{x: *a}}\n",
        "object": f"{_HEAD}budget: !!python/object/apply:os.system ['true']\n",
        "object-new": "!!python/object:nncift.config.SelectConfig {}\n",
        "name": f"{_HEAD}budget: !!python/name:os.system\n",
        "module": f"{_HEAD}budget: !!python/module:os\n",
        "unknown-tag": f"{_HEAD}budget: !thing 3\n",
        "binary": f"{_HEAD}budget: !!binary gICA\n",
        "set": f"{_HEAD}budget: !!set {{a, b}}\n",
        "ordered": f"{_HEAD}budget: !!omap [a: 1]\n",
        "no-integer": f"{_HEAD}seed: !!int abc\n",
        "no-float": f"{_HEAD}eta: !!float abc\n",
        "no-truth": f"{_HEAD}trust_remote_code: !!bool maybe\n",
        "no-date": f"{_HEAD}budget: !!timestamp abc\n",
        "wrong-date": f"{_HEAD}budget: 2024-99-99\n",
        "map-of-text": "!!map foo\n",
        "huge-integer": f"{_HEAD}seed: {'9' * 5000}\n",
        "huge-hexadecimal": f"{_HEAD}seed: 0x{'f' * 50_000}\n",
        "integer-as-float": f"{_HEAD}eta: {'9' * 400}\n",
        "nan": f"{_HEAD}eta: .nan\n",
        "infinite": f"{_HEAD}nu: .inf\n",
        "list-as-key": f"{_HEAD}? [a, b]\n: c\n",
        "mapping-as-key": f"{_HEAD}? {{a: b}}\n: c\n",
        "number-as-key": f"{_HEAD}1: 2\n",
        "null-as-key": f"{_HEAD}null: 2\n",
        "long-key": f"{_HEAD}{'k' * 900}: 2\n",
        "surrogate": f'{_HEAD}target: "\\ud800"\n',
        "past-unicode": f'{_HEAD}target: "\\U00110000"\n',
        "lists": "[" * 90_000,
        "mappings": "{a: " * 20_000,
        "dashes": "- " * 50_000,
        "keys": "? " * 50_000,
        "colons": "a: " * 20_000,
        "quotes": "'" * 49_999,
        "tabs": f"{_HEAD}\tbudget: 3\n",
        "open-quote": f'{_HEAD}budget: "5%\n',
        "unknown-alias": f"{_HEAD}budget: *nobody\n",
        "two-documents": f"{_HEAD}---\n{_HEAD}",
        "directive": "%YAML 9.9\n---\nverb: select\n",
        "merge-of-text": f"{_HEAD}<<: text\n",
        "nul": b"verb: select\0\n",
        "utf-16": _HEAD.encode("utf-16"),
        "latin-1": "verb: select\npool: caf\xe9\n".encode("latin-1"),
        "random": bytes(range(256)) * 20,
        "long": f"{_HEAD}budget: {'x' * 2_000_000}\n",
        "longest-but-one": f"{_HEAD}budget: [{'x, ' * 30_000}]\n",
        "unknown-option": f"{_HEAD}bugdet: 5%\n",
        "list-for-text": f"{_HEAD}budget: [5%]\n",
        "mapping-for-list": f"{_HEAD}model: {{a: b}}\nseed: {{}}\n",
        "null-pool": "verb: select\npool: null\n",
        "false-seed": f"{_HEAD}seed: false\n",
        "other-verb": "verb: rm -rf\n",
        "list-verb": "verb: [select]\n",
    }.items()
}
"""Bytes of files, none of which is a recipe of `select` or of an experiment."""

_ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Feedback: good. [RESULT] 4"}, "finish_reason": "stop"}]
}


def _reply(**message: Any) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]})


ANSWERS: dict[str, str] = {
    "empty": "",
    "page": "<html><body>502 Bad Gateway</body></html>",
    "null": "null",
    "number": "4",
    "huge-number": "9" * 5000,
    "brackets": "[" * DEEP,
    "nested": '{"choices":' * 20_000,
    "no-choices": "{}",
    "empty-choices": '{"choices": []}',
    "choices-of-text": '{"choices": "abc"}',
    "choices-by-name": '{"choices": {"0": {}}}',
    "null-choice": '{"choices": [null]}',
    "no-message": '{"choices": [{}]}',
    "null-message": '{"choices": [{"message": null}]}',
    "content-of-parts": _reply(content=[{"type": "text", "text": "[RESULT] 4"}]),
    "content-of-number": _reply(content=4),
    "null-content": _reply(content=None),
    "blank-content": _reply(content=" \n\t\u3000"),
    "refusal": _reply(content="[RESULT] 5", refusal="no"),
    "no-grade": _reply(content="It is good."),
    "grade-too-high": _reply(content="[RESULT] 6"),
    "grade-below": _reply(content="[RESULT] -4"),
    "fraction": _reply(content="[RESULT] 4.5"),
    "two-grades": _reply(content="[RESULT] 4 or 5"),
    "other-digits": _reply(content="[RESULT] \u0664"),
    "superscript": _reply(content="[RESULT] \u00b2"),
    "wide-digit": _reply(content="[RESULT] \uff14"),
    "surrogate": '{"choices": [{"message": {"content": "[RESULT] \\ud800"}}]}',
    "nul": _reply(content="[RESULT] 4\0" + "7"),
    "long-spaces": _reply(content="[RESULT]" + " " * 2_000_000),
    "many-markers": _reply(content="[RESULT] " * 200_000),
    "many-brackets": _reply(content="[" * 2_000_000),
    "many-half-markers": _reply(content="[ result" * 200_000),
    "many-dresses": _reply(content="[RESULT]" + "*_`" * 500_000 + "x"),
    "many-digits": _reply(content="[RESULT] " + "4" * 1_000_000),
    "many-words": _reply(content="[RESULT] 4 " + "a1 " * 300_000),
    "out-of-spaces": _reply(content="[RESULT] 4 out" + " " * 1_000_000 + "of 6"),
    "odd-finish": json.dumps(_ANSWER).replace('"stop"', '["length"]').replace("] 4", "] 9"),
}
"""Bodies of answers that hold no grade."""


def special_files() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """What may lie where a file is expected."""
    yield "folder", Path.mkdir
    yield "loop", lambda path: path.symlink_to(path.name)
    yield "fifo", os.mkfifo
    yield "null-device", lambda path: path.symlink_to("/dev/null")
    yield "zero-device", lambda path: path.symlink_to("/dev/zero")
    yield "absent", lambda path: None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "brackets": lambda data: b"[" * DEEP,
    "null": lambda data: b"null",
    "list": lambda data: b"[]",
    "object": lambda data: b"{}",
    "number": lambda data: b"17",
    "nan": lambda data: b"NaN",
    "latin-1": lambda data: b'{"a": "\xe9"}',
    "zeros": lambda data: bytes(len(data)),
    "utf-16": lambda data: data.decode("latin-1").encode("utf-16"),
    "other-types": lambda data: data.replace(b": {", b": [").replace(b"}", b"]"),
    "renamed": lambda data: data.replace(b'"s', b'"z').replace(b'"o', b'"q'),
    "texts-for-numbers": lambda data: data.replace(b": 1", b': "x"').replace(b": 0", b": null"),
    "outside": lambda data: data.replace(b"subset.jsonl", b"../../../outside.jsonl"),
    "flipped": lambda data: b"".join(bytes([byte ^ 0x20 * (k == len(data) // 3)]) for k, byte in enumerate(data)),
}
"""What is done to a file of a run folder."""
