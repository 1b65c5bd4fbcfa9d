"""Parquet files whose sizes lie, each a change of one number in a small sound file; read in a process with a limit.

Run by the tests, with the folder for the file as its argument: a line for each outcome, with how often, and the worst.

The metadata of such a file are records of the compact Thrift protocol, read here into (number, type, value) and written
again, so that what stands behind a changed number is still found where it was.
"""

from __future__ import annotations

import io
import json
import logging
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nncift.data.files import load_pool
from nncift.errors import NnciftError
from nncift.run import peak_memory, reset_peak_memory

_TRUE, _FALSE, _BYTE, _INTS, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12
LIES = (-(2**63), -1, 0, 7, 41, 2**20, 2**31 - 1, 2**31, 2**40, 2**62)

ROOM = 3_000_000_000
"""Address space beside what the process has when it begins."""

Fields = list[tuple[int, int, Any]]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    return varint((value << 1) ^ (value >> 63) if value >= 0 else ((-value) << 1) - 1)


@dataclass
class Listed:
    """A list; `claimed` where it says another length than it has."""

    kind: int
    values: list[Any]
    claimed: int | None = None


class Reader:
    """Reads a record from some byte on."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            one = self.byte()
            value |= (one & 0x7F) << shift
            shift += 7
            if one < 0x80:
                return value

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def value(self, kind: int, *, listed: bool = False) -> Any:
        if kind in (_TRUE, _FALSE):
            return self.byte() if listed else kind == _TRUE
        if kind == _BYTE:
            return self.byte()
        if kind in _INTS:
            return self.zigzag()
        if kind == _DOUBLE:
            self.at += 8
            return self.data[self.at - 8 : self.at]
        if kind == _BINARY:
            size = self.varint()
            self.at += size
            return self.data[self.at - size : self.at]
        if kind in _LISTS:
            head = self.byte()
            size, inner = head >> 4, head & 15
            size = self.varint() if size == 15 else size
            return Listed(inner, [self.value(inner, listed=True) for _ in range(size)])
        assert kind == _STRUCT, kind
        return self.struct()

    def struct(self) -> Fields:
        fields, last = [], 0
        while head := self.byte():
            last = last + (head >> 4) if head >> 4 else self.zigzag()
            fields.append((last, head & 15, self.value(head & 15)))
        return fields


def written(kind: int, value: Any) -> bytes:
    if kind in (_TRUE, _FALSE):
        return b"" if isinstance(value, bool) else bytes([value])
    if kind == _BYTE:
        return bytes([value])
    if kind in _INTS:
        return zigzag(value)
    if kind == _DOUBLE:
        return value
    if kind == _BINARY:
        return varint(len(value)) + value
    if kind in _LISTS:
        size = len(value.values) if value.claimed is None else value.claimed
        head = bytes([size << 4 | value.kind]) if size < 15 else bytes([0xF0 | value.kind]) + varint(size)
        return head + b"".join(written(value.kind, one) for one in value.values)
    return struct(value)


def struct(fields: Fields) -> bytes:
    out, last = b"", 0
    for number, kind, value in fields:
        step = number - last
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + zigzag(number)
        out += written(kind, value)
        last = number
    return out + b"\0"


def numbers(fields: Fields, path: str = "") -> Iterator[tuple[str, Callable[[int], None]]]:
    """Every number and length of a record by its path, and what sets it."""
    for at, (number, kind, value) in enumerate(fields):
        here = f"{path}.{number}" if path else str(number)

        def put(lie: int, at: int = at, number: int = number, kind: int = kind) -> None:
            fields[at] = (number, kind, lie)

        if kind in _INTS:
            yield here, put
        elif kind == _STRUCT:
            yield from numbers(value, here)
        elif kind in _LISTS:

            def claim(lie: int, value: Listed = value) -> None:
                value.claimed = abs(lie) % 2**32

            yield f"{here}#", claim
            for k, one in enumerate(value.values[:2]):
                if value.kind == _STRUCT:
                    yield from numbers(one, f"{here}[{k}]")


def sound(compression: str = "snappy", *, dictionary: bool = True, rows: int = 40) -> bytes:
    """A small file as anybody writes it."""
    table = pa.table({"instruction": [f"ask {k % 7}" for k in range(rows)], "output": ["say"] * rows})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=compression, use_dictionary=dictionary, write_statistics=False)
    return sink.getvalue()


def lying() -> Iterator[tuple[str, bytes]]:
    """Names and files: each number of the footer and of the first page header with each lie, the length of the footer, and
    its bytes one by one."""
    for compression, dictionary in (("snappy", True), ("none", False), ("zstd", False)):
        whole = sound(compression, dictionary=dictionary)
        size = int.from_bytes(whole[-8:-4], "little")
        start = len(whole) - 8 - size
        kind = f"{compression}{'-dictionary' if dictionary else ''}"

        def closed(footer: bytes, whole: bytes = whole, start: int = start) -> bytes:
            return whole[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"

        assert closed(struct(Reader(whole, start).struct())) == whole  # what is not changed is the same
        for path in [path for path, _ in numbers(Reader(whole, start).struct())]:
            for lie in LIES:
                fields = Reader(whole, start).struct()
                dict(numbers(fields))[path](lie)
                yield f"{kind} footer {path}={lie}", closed(struct(fields))
        for lie in LIES:
            yield f"{kind} length of footer={lie}", whole[:-8] + (abs(lie) % 2**32).to_bytes(4, "little") + b"PAR1"
        for at in range(start, len(whole) - 8):  # names of columns among them, which then are no text
            yield f"{kind} byte {at}", whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :]
        yield from _pages(kind, whole, start)


def _pages(kind: str, whole: bytes, start: int) -> Iterator[tuple[str, bytes]]:
    """The header of the first page of the first column with each lie; offsets behind it follow."""
    reader = Reader(whole, 4)
    reader.struct()
    behind = reader.at
    for path in [path for path, _ in numbers(Reader(whole, 4).struct())]:
        for lie in LIES:
            fields = Reader(whole, 4).struct()
            dict(numbers(fields))[path](lie)
            head = struct(fields)
            moved = len(head) - (behind - 4)
            footer = Reader(whole, start).struct()
            for _, put, offset in _offsets(footer):
                if offset > 4:
                    put(offset + moved)
            made = struct(footer)
            body = whole[:4] + head + whole[behind:start]
            yield f"{kind} page {path}={lie}", body + made + len(made).to_bytes(4, "little") + b"PAR1"


def _offsets(footer: Fields) -> Iterator[tuple[str, Callable[[int], None], int]]:
    """Where pages lie, by the columns of the first row group."""
    groups = next(value for number, _, value in footer if number == 4)
    for column in next(value for number, _, value in groups.values[0] if number == 1).values:
        meta = next(value for number, _, value in column if number == 3)
        for at, (number, kind, value) in enumerate(meta):
            if number in (9, 11):  # data page, dictionary page

                def put(offset: int, meta: Fields = meta, at: int = at, number: int = number, kind: int = kind) -> None:
                    meta[at] = (number, kind, offset)

                yield str(number), put, value


def many(rows: int) -> bytes:
    """Rows of one text in a few hundred bytes, each size as it is: a run of levels, and one of places in a dictionary."""
    whole = sound("none", rows=40).replace(b"ask", b"say")
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer, body = Reader(whole, start).struct(), bytearray(b"PAR1")
    groups = next(value for number, _, value in footer if number == 4).values
    for column in next(value for number, _, value in groups[0] if number == 1).values:
        meta = next(value for number, _, value in column if number == 3)
        places = {number: value for number, _, value in meta}
        dictionary = Reader(whole, places[11])
        dictionary.struct()
        behind = dictionary.at
        page = Reader(whole, places[9])
        head = page.struct()
        run = varint(rows << 1)
        levels = run + b"\1"
        data = (
            len(levels).to_bytes(4, "little") + levels + b"\1" + run + b"\0"
        )  # places of one bit, all of them the first
        put = dict(numbers(head))
        put["2"](len(data))
        put["3"](len(data))
        put["5.1"](rows)
        put = dict(numbers(meta))
        begin = len(body)
        put["11"](begin)
        body += whole[places[11] : behind] + whole[behind : places[9]]
        put["9"](len(body))
        body += struct(head) + data
        put["5"](rows)
        put["6"](len(body) - begin)
        put["7"](len(body) - begin)
    put = dict(numbers(footer))
    put["3"](rows)
    put["4[0].3"](rows)
    made = struct(footer)
    return bytes(body) + made + len(made).to_bytes(4, "little") + b"PAR1"


def main(folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    path = folder / "pool.parquet"
    every = [("as it is", sound()), ("many", many(99_999)), *lying()]
    every += [(f"many {rows}", many(rows)) for rows in (110_000, 2**31 - 1)]
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + ROOM, space + ROOM))
    for name, data in every:
        path.write_bytes(data)
        reset_peak_memory()
        before, begun, sure = peak_memory(), time.perf_counter(), True
        try:
            pool = load_pool(path)
            said = f"{len(pool)} rows, {len(pool.rejected)} rejected"
        except NnciftError as error:
            said = re.sub(r"\d[\d,]*", "N", str(error).replace(str(path), "FILE"))
        except BaseException as error:
            said, sure = repr(error)[:300], False
        found = {"name": name, "said": said, "sure": sure, "peak": peak_memory() - before}
        sys.stdout.write(json.dumps(found | {"seconds": round(time.perf_counter() - begun, 2)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
