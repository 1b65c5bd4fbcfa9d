"""Reading a pool: rows that stay in their file against rows in memory, and against pyarrow's own JSON reader.

    python benchmarks/reading.py [--rows 200000] [--words 85]

Every reader works in a process of its own on the same generated file; memory is what it takes at most beside its imports.
Before a number is printed, both pools must have the same fingerprints, and all readers the same number of rows. `datasets`,
where it is installed, reads through the same pyarrow reader, into files of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nncift.run import peak_memory, reset_peak_memory

GOAL_BYTES = 500  # a row, at most while the file is read; held is less
GOAL_SECONDS = 60  # of one processor, for a million rows of 550 bytes
VOCABULARY = 5000


def write_file(path: Path, rows: int, words: int) -> None:
    """Rows of random words with an id, a third of them the instruction."""
    draw, known = random.Random(0), [f"w{k}" for k in range(VOCABULARY)]
    with path.open("w", encoding="utf-8") as file:
        for k in range(rows):
            drawn = draw.choices(known, k=words)
            ask, say = " ".join(drawn[: words // 3]), " ".join(drawn[words // 3 :])
            file.write(json.dumps({"id": f"r{k:07d}", "instruction": ask, "input": "", "output": say}) + "\n")


def pool(path: Path, *, large: int) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """A reader of ours, and what it has to say."""
    from nncift.data import files

    files.LARGE = large

    def told(made: Any) -> dict[str, Any]:
        return {"rows": len(made), "fingerprints": [made.fingerprint, made.raw_fingerprint]}

    return lambda: files.load_pool(path), told


def arrow(path: Path) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """The peer: columns of text, nothing checked, no ids, no content keys."""
    import pyarrow.json

    return lambda: pyarrow.json.read_json(path), lambda made: {"rows": made.num_rows}


READERS = {
    "on disk": lambda path: pool(path, large=-1),
    "in memory": lambda path: pool(path, large=10**15),
    "pyarrow": arrow,
}


def child(reader: str, path: Path) -> dict[str, Any]:
    """One reader in this process."""
    read, told = READERS[reader](path)
    reset_peak_memory()
    before, started = peak_memory(), time.process_time()
    made = read()
    seconds, peak = time.process_time() - started, peak_memory() - before
    reset_peak_memory()
    held = peak_memory() - before
    return {"cpu_seconds": seconds, "peak": peak, "held": held} | told(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--words", type=int, default=85, help="of a row: 85 are 550 bytes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child[0], Path(options.child[1]))))
        return
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.jsonl"
        write_file(path, options.rows, options.words)
        size = path.stat().st_size
        for name in READERS:
            command = [sys.executable, __file__, "--child", name, str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout)
    assert {one.pop("rows") for one in found.values()} == {options.rows}, "a reader lost rows"
    prints = [found[name].pop("fingerprints") for name in ("on disk", "in memory")]
    assert prints[0] == prints[1], "the pools differ"
    for one in found.values():
        one |= {"bytes_per_row": {kind: one.pop(kind) / options.rows for kind in ("peak", "held")}}
    result = {
        "rows": options.rows,
        "bytes": size,
        "readers": found,
        "goal": {"bytes_per_row": GOAL_BYTES, "cpu_seconds_per_million": GOAL_SECONDS},
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    ours = found["on disk"]
    if ours["bytes_per_row"]["peak"] > GOAL_BYTES or ours["cpu_seconds"] > GOAL_SECONDS * size / 550e6:
        raise SystemExit(f"at most {GOAL_BYTES} bytes a row and {GOAL_SECONDS} s for a million rows are allowed.")


if __name__ == "__main__":
    main()
