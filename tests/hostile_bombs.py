"""Small files that unpack to much, and large ones: read in a process with a limit; each line of the output is the peak of one.

Run by the tests, with the folder for the files as its argument.
"""

from __future__ import annotations

import gc
import gzip
import json
import logging
import resource
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hostile_footers import Reader, numbers, struct
from hostile_values import RECIPES, header
from nncift.data.files import load_pool
from nncift.embed.precomputed import Precomputed
from nncift.errors import NnciftError
from nncift.influence.recorded import Recorded
from nncift.recipe import read_recipe
from nncift.rehearsal.matrix import read_matrix
from nncift.run import peak_memory, reset_peak_memory

MB = 1_000_000
LEAST = 64 * MB
"""What every reader may take, whatever the file."""
ROOM = 3000 * MB
"""Address space beside what the process has when it begins."""

Bomb = tuple[str, Callable[[Path], int], Callable[[Path], object]]


def bombs() -> Iterator[Bomb]:
    """Name, what writes the file and says what it may take beside `LEAST`, and what reads it."""
    yield "long-row.jsonl", long_row, load_pool
    yield "long-broken.jsonl", long_broken, load_pool
    yield "long-rows.jsonl", long_rows, load_pool
    yield "array.json", array, load_pool
    yield "open-quote.csv", open_quote, load_pool
    yield "wide.csv", wide, load_pool
    yield "gzip.jsonl", packed, load_pool
    yield "zero.jsonl", lambda path: path.symlink_to("/dev/zero") or 0, load_pool
    yield "repeated.parquet", lambda path: repeated(path, store_schema=False), load_pool
    yield "repeated-codes.parquet", lambda path: repeated(path, store_schema=True), load_pool
    yield "understated.parquet", understated, load_pool
    yield "understated-codes.parquet", lambda path: understated(path, store_schema=True), load_pool
    yield "one-value.parquet", one_value, load_pool
    yield "deep.jsonl", lambda path: path.write_bytes(b"[" * 20 * MB) * 3, load_pool
    yield "claimed.npz", lambda path: claimed(path, rows=2**28, size=2**30 + 4096), read_matrix
    yield "half-claimed.npz", lambda path: claimed(path, rows=2**27, size=2**29 + 4096), read_matrix
    yield "sparse.npz", sparse, recorded
    yield "endless.npy", endless, lambda path: Precomputed(str(path))
    yield "laughs.yaml", lambda path: path.write_bytes(RECIPES["laughs"]), read_recipe
    yield "lists.yaml", lambda path: path.write_bytes(RECIPES["lists"]), read_recipe
    yield "long.yaml", lambda path: path.write_bytes(b"verb: select\nbudget: " + b"x" * 36 * MB) and 0, read_recipe


def long_row(path: Path) -> int:
    return 6 * path.write_bytes(b'{"instruction": "a", "output": "' + b"x" * 36 * MB + b'"}\n')


def long_broken(path: Path) -> int:
    return 4 * path.write_bytes(b'{"instruction": "a", "output": "b"}\n{"instruction": "' + b"x" * 36 * MB)


def long_rows(path: Path) -> int:
    row = b'{"instruction": "a", "output": "' + b"x" * MB + b'"}\n'
    with path.open("wb") as file:
        for _ in range(110):
            file.write(row)
    return 6 * len(row)


def array(path: Path) -> int:
    row = b'{"instruction": "a", "output": "' + b"x" * 100_000 + b'"}'
    return 6 * path.write_bytes(b"[" + b",\n".join([row] * 400) + b"]")


def open_quote(path: Path) -> int:
    return 6 * path.write_bytes(b'instruction,output\nask,say\n"' + b"a,b\n" * 4 * MB)


def wide(path: Path) -> int:
    names = b",".join(b"c%d" % k for k in range(200_000))
    return 100 * path.write_bytes(names + b"\n" + names + b"\n")


def packed(path: Path) -> int:
    with gzip.open(path, "wb", 9) as file:
        for _ in range(200):
            file.write(bytes(MB))
    return 0


def repeated(path: Path, *, store_schema: bool) -> int:
    """Two hundred rows of a megabyte in a file of less than one."""
    text = pa.array(["x" * MB])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), text)
    table = pa.table({"instruction": ["ask"] * 200, "output": column})
    pq.write_table(table, path, store_schema=store_schema)
    return 4 * 32 * MB + 4 * 16 * MB


def understated(path: Path, *, store_schema: bool = False) -> int:
    """Such a file whose footer says that all of it is one byte, unpacked."""
    stated = repeated(path, store_schema=store_schema)
    whole = path.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    footer = Reader(whole, start).struct()
    put = dict(numbers(footer))
    for place in ("4[0].2", "4[0].1[0].3.6", "4[0].1[1].3.6"):
        put[place](1)
    made = struct(footer)
    path.write_bytes(whole[:start] + made + len(made).to_bytes(4, "little") + b"PAR1")
    return stated


def one_value(path: Path) -> int:
    pq.write_table(pa.table({"instruction": ["ask"], "output": ["x" * 50 * MB]}), path, compression="zstd")
    return 8 * 50 * MB


def claimed(path: Path, *, rows: int, size: int) -> int:
    """An archive whose directory says that an array has far more bytes than there are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("pool_ids", "target_ids"):
            archive.writestr(f"{name}.npy", header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows},), }}"))
            archive.getinfo(f"{name}.npy").file_size = size
    return 0


def sparse(path: Path) -> int:
    """A few pairs of a matrix that would take 10 GB."""
    ids = np.array([f"row {k}" for k in range(50_000)])
    i = np.arange(2)
    np.savez_compressed(path, pool_ids=ids, target_ids=ids, i=i, j=i, y=np.ones(2))
    return 40 * path.stat().st_size + 8 * ids.nbytes


def recorded(path: Path) -> object:
    rows = load_pool([{"text": f"say {k}", "id": f"row {k}"} for k in range(2)]).examples
    asked = np.arange(2)
    told = SimpleNamespace(pool=rows, targets=rows, asked_pool=asked, asked_targets=asked)
    return Recorded(str(path)).start(told).label(asked, asked, {}, on_progress=lambda done: None)  # pyright: ignore


def endless(path: Path) -> int:
    path.write_bytes(header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 384), }"))
    return 0


def resident() -> int:
    """Bytes that the process holds now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def main(folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    space = 1024 * 1024 * (int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() // 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (space + ROOM, space + ROOM))
    for name, write, read in bombs():
        path = folder / name
        stated = LEAST + write(path)
        gc.collect()
        pa.default_memory_pool().release_unused()
        before = resident()
        reset_peak_memory()
        begun, said, ended = time.perf_counter(), "", False
        try:
            said = type(read(path)).__name__
            ended = True
        except NnciftError as error:
            said, ended = str(error)[:300], True
        except BaseException as error:
            said = repr(error)[:300]
        peak = peak_memory() - before
        took = round(time.perf_counter() - begun, 2)
        size = path.stat().st_size
        found = {
            "name": name,
            "ended": ended,
            "peak": peak,
            "stated": stated,
            "file": size,
            "seconds": took,
            "said": said,
        }
        sys.stdout.write(json.dumps(found) + "\n")
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
