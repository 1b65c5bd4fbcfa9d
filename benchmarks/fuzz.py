"""Coverage-guided fuzzing of whatever reads what somebody else wrote: `python -m benchmarks.fuzz --seconds 60 [TARGET ...]`.

Needs the extra `fuzz` (atheris; it has no wheel for every system, which is why `dev` does without). Each target runs in a
process of its own for so many seconds; anything but rows, a value or an `NnciftError` is a crash, and its input is kept. The
table says what was tried: executions, inputs that reached new code, and crashes. It exits with 1 where there is a crash.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "out" / "fuzz"
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None  # opening a file on a disk took two thirds of the time
LONGEST = 4096
SLOWEST = 10  # seconds of one input, which then counts as a hang
MEMORY = 3000  # MB

_WORDS = (
    *("instruction", "output", "input", "prompt", "completion", "messages", "role", "content", "id", "task", "text"),
    *(
        "\\x00",
        "\\xff",
        "\\xef\\xbb\\xbf",
        "\\\\ud800",
        "NaN",
        "Infinity",
        "1e999",
        "\\x0d",
        "\\x0a",
        '\\"',
        "[[[[",
        "{\\x22a\\x22:",
    ),
    *(
        "verb: select",
        "pool: ",
        "budget: ",
        "&a ",
        "*a",
        "!!int ",
        "!!python/object:",
        "<<: ",
        "? ",
        "0x",
        "2024-99-99",
        "---",
    ),
    *(
        "experiment: ",
        "data: ",
        "axes: ",
        "steps: ",
        "without: ",
        "over: ",
        "options: ",
        "tables: ",
        "hardware: ",
        "expect: ",
    ),
    *("choices", "message", "[RESULT] 4", "refusal", "finish_reason", "length", "out of 5"),
)


def rows(suffix: str) -> Callable[[bytes], None]:
    """Reads a file of rows, held and stored, and writes what was read."""
    from nncift.data import files
    from nncift.data.write import write_rejected, write_rows
    from nncift.errors import NnciftError

    folder = Path(tempfile.mkdtemp(prefix="nncift-fuzz-", dir=FAST))
    path, usual = folder / f"pool{suffix}", files.LARGE

    def read(data: bytes) -> None:
        path.write_bytes(data)
        found = []
        for files.LARGE in (usual, -1):
            try:
                pool = files.load_pool(path)
            except NnciftError as error:
                found.append(str(error))
                continue
            write_rejected(pool.rejected, folder / "rejected")
            write_rows(pool, range(len(pool)), folder / f"subset{suffix}")
            again = files.load_pool(folder / f"subset{suffix}", layout=pool.layout)
            assert [(row.id, row.turns) for row in again] == [(row.id, row.turns) for row in pool], (
                "the subset reads otherwise"
            )
            found.append([(row.id, row.turns, row.line) for row in pool])
        assert found[0] == found[1], "rows that are held and rows that are stored differ"

    return read


def answers(data: bytes) -> None:
    """Reads the body of a judge's answer, and the text alone."""
    from nncift.evaluation.judge_reply import Fault, read_reply
    from nncift.evaluation.rubric import parse_grade

    text = data.decode("utf-8", "surrogateescape")
    found = read_reply(text)
    assert isinstance(found, Fault) or found in {1, 2, 3, 4, 5}
    assert parse_grade(text) in {None, 1, 2, 3, 4, 5}


def recipes(data: bytes) -> None:
    """Reads the recipe of a run and of an experiment."""
    from nncift.errors import NnciftError
    from nncift.experiment.recipe import load_recipe
    from nncift.recipe import read_recipe

    with tempfile.TemporaryDirectory(prefix="nncift-fuzz-", dir=FAST) as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_bytes(data)
        for read in (read_recipe, lambda place: load_recipe(str(place))):
            try:
                read(path)
            except NnciftError as error:
                assert "recipe.yaml" in str(error), "an error that does not name the file"


TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "jsonl": lambda: rows(".jsonl"),
    "json": lambda: rows(".json"),
    "csv": lambda: rows(".csv"),
    "parquet": lambda: rows(".parquet"),
    "answers": lambda: answers,
    "recipes": lambda: recipes,
}

_ROW = b'{"instruction": "ask", "input": "", "output": "say", "id": 3}'
_CHAT = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'


def _parquet() -> tuple[bytes, ...]:
    """Columns of text, numbers, lists, times and conversations, packed in several ways, in two groups of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = [{"prompt": f"ask {k}", "completion": "say", "n": [k, 2.5], "id": None} for k in range(3)]
    chats = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(k)}]} for k in range(3)
    ]
    typed = {
        "text": pa.array(["a", "b", "a"]).dictionary_encode(),
        "at": pa.array([0, 10**18, None], pa.timestamp("ns", "UTC")),
        "price": pa.array([b"\xff", None, b""]),
    }
    found = []
    tables = (pa.Table.from_pylist(plain), pa.Table.from_pylist(chats), pa.table(typed))
    for table, packed in zip(tables, ("none", "snappy", "zstd"), strict=True):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=2, compression=packed, store_schema=packed == "zstd")
        found.append(sink.getvalue().to_pybytes())
    return tuple(found)


SEEDS: dict[str, tuple[bytes, ...]] = {
    "jsonl": (_ROW + b"\n" + _ROW, _CHAT + b"\r\n\n" + _ROW, b'{"prompt": "\\ud800", "completion": [1, NaN]}\n'),
    "json": (b"[" + _ROW + b",\n" + _ROW + b"]", b"[" + _CHAT + b", 1, null]", _ROW),
    "csv": (b"instruction,output\na,b\n", b'text\n"a ""b""\n"\r\nc\r', b"prompt,completion\n\xff,b\na\n"),
    "parquet": _parquet(),
    "answers": (
        b'{"choices": [{"message": {"content": "Feedback: good. [RESULT] 4"}, "finish_reason": "stop"}]}',
        b"**Result:** (4/5)",
        b"Result: 4 out of 5.",
    ),
    "recipes": (
        b"nncift: 0.1\nverb: select\npool: a.jsonl\nbudget: 5%\noption: [a=b]\nseed: 3\neta: 1e3\nmodel: []\n",
        *(path.read_bytes() for path in sorted((ROOT / "src/nncift/experiment/recipes").glob("*-small.yaml"))),
    ),
}


def fuzz(target: str, folder: Path, seconds: int) -> None:
    """Runs one target in this process, until the time is over or a crash."""
    import logging

    import atheris

    logging.disable(logging.CRITICAL)
    watched = ["nncift.data", "nncift.evaluation", "nncift.experiment", "nncift.recipe", "nncift.plain", "yaml", "json"]
    with atheris.instrument_imports(include=watched):
        import nncift.data.files
        import nncift.evaluation.judge_reply
        import nncift.experiment.recipe
        import nncift.recipe  # noqa: F401
    one = TARGETS[target]()
    words = folder / "words"
    words.write_text("".join(f'"{word}"\n' for word in _WORDS), encoding="ascii")
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = (
        *(f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}"),
        *(f"-artifact_prefix={folder}/", f"-dict={words}", "-print_final_stats=1", "-seed=1"),
    )
    atheris.Setup([sys.argv[0], *flags, str(corpus)], lambda data: one(bytes(data)))
    atheris.Fuzz()


def measured(target: str, seconds: int) -> tuple[int, int, list[Path]]:
    """Executions, inputs that reached new code, and files of crashes of one target, fuzzed in a process of its own."""
    folder = OUT / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("crash-*"), *folder.glob("timeout-*"), *folder.glob("oom-*")]:
        old.unlink()
    command = [sys.executable, "-m", "benchmarks.fuzz", "--inside", str(folder), "--seconds", str(seconds), target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    (folder / "log").write_text(done.stdout + done.stderr, encoding="utf-8")
    runs = re.findall(r"stat::number_of_executed_units:\s*(\d+)|^Done (\d+) runs", done.stderr, re.MULTILINE)
    crashes = sorted([*folder.glob("crash-*"), *folder.glob("timeout-*"), *folder.glob("oom-*")])
    if not runs or (done.returncode and not crashes):
        raise SystemExit(f"{target} was not fuzzed (exit code {done.returncode}): see {folder / 'log'}")
    return max(int(a or b) for a, b in runs), len(list((folder / "corpus").iterdir())), crashes


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"unknown target {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    if given.inside is not None:
        fuzz(given.targets[0], given.inside, given.seconds)
        return 0
    print(f"{'target':10}{'executions':>12}{'corpus':>8}{'crashes':>9}", flush=True)
    worst = 0
    for target in given.targets or TARGETS:
        runs, corpus, crashes = measured(target, given.seconds)
        print(f"{target:10}{runs:12,}{corpus:8,}{len(crashes):9,}", *map(str, crashes), flush=True)
        worst = max(worst, len(crashes))
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
