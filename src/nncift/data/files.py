"""From what the user names (a file, a data set of the hub, rows in memory) to a pool of usable rows with stable ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from nncift.data.hub import PREFIX, read_hub
from nncift.data.ids import own_id, with_ids
from nncift.data.jsonl import read_json, read_jsonl
from nncift.data.layouts import DETECTED, Layout, RowProblem, check, detect, parse
from nncift.data.records import Record, from_mappings, shown
from nncift.data.rows import Example, Pool, Rejected
from nncift.data.tables import read_csv, read_parquet
from nncift.errors import DataError

MEMORY = "<memory>"

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")

Source = str | PathLike[str] | Iterable[Mapping[str, Any]]


def load_pool(source: Source, *, layout: str = "auto", role: str = "pool") -> Pool:
    """Reads a pool or a target of instruction data; rows that cannot be used are set aside with the reason.

    Use it for every source: the row layout is told from the columns, the file type from the suffix.

    Arguments:
        source: a path (`.jsonl`, `.ndjson`, `.json`, `.parquet`, `.csv`), `hub:owner/name#split`, or rows in memory (a
            list of mappings, a `datasets.Dataset`).
        layout: `auto`, or one of `nncift.data.layouts.LAYOUTS` where the columns do not tell.
        role: what the rows are for, as errors call them (`pool`, `target`).

    Returns:
        the usable rows in source order and the rejected ones; at least one row is usable.

    Raises:
        DataError: the source cannot be read at all, has an unknown layout, or has no usable row.
        MissingExtraError: a hub source without the package `datasets`.

    Cost: one pass; memory in proportion to the rows.
    """
    asked = None if layout == "auto" else check(layout)
    name = fspath(source) if isinstance(source, str | PathLike) else MEMORY
    try:
        file_type, records = _open(source, role)
        used, examples, rejected = _sort_out(records, asked, name, role)
    except OSError as error:
        raise DataError(f"cannot read the {role} {name}: {error.strerror or error}. Check the file.") from error
    if not examples:
        raise DataError(_nothing_usable(name, role, rejected, asked))
    return Pool(with_ids(examples, name), tuple(rejected), name, used, file_type)


def _open(source: Source, role: str) -> tuple[str, Iterator[Record]]:
    """The type in which a subset of the source is written, and the source's rows."""
    if isinstance(source, str) and source.startswith(PREFIX):
        return "jsonl", read_hub(source)
    if isinstance(source, str | PathLike):
        path = Path(fspath(source))
        _refuse_unreadable(path, role)
        match path.suffix.lower():
            case ".json":
                return read_json(path)
            case ".parquet":
                return "parquet", read_parquet(path)
            case ".csv":
                return "csv", read_csv(path)
        return "jsonl", read_jsonl(path)
    if isinstance(source, Mapping):
        raise DataError(
            f"the {role} is one mapping with the keys {', '.join(map(repr, list(source)[:5]))}. Pass its rows: a list "
            f"of mappings, or one split of a data set, such as dataset['train']."
        )
    return "jsonl", from_mappings(source)


def _refuse_unreadable(path: Path, role: str) -> None:
    if path.is_dir():
        files = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        hint = (
            f"Name one of its files, such as {path / files[0]}."
            if files
            else f"It holds no file of rows ({', '.join(SUFFIXES)})."
        )
        raise DataError(f"the {role} {path} is a folder. {hint}")
    if not path.exists():
        raise DataError(f"there is no {role} file {path}. {_nearest(path)}")
    if path.suffix.lower() == ".gz":
        raise DataError(f"the {role} {path} is packed. Unpack it first:  gzip -dk {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"the {role} {path} has the suffix {path.suffix!r}, which says no known file type. "
            f"Known: {', '.join(SUFFIXES)}. Convert or rename the file."
        )
    if path.stat().st_size == 0:
        raise DataError(f"the {role} {path} is empty (0 bytes). Check how it was written or copied.")


def _nearest(path: Path) -> str:
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    if near := get_close_matches(path.name, names, n=1):
        return f"Did you mean {path.parent / near[0]}?"
    if len(path.parts) == 2 and not path.is_absolute() and path.suffix.lower() not in SUFFIXES:
        return f"For a data set of the Hugging Face hub write hub:{path.as_posix()}."
    return "Check the name." if names else f"Check the folder too: {path.parent} does not exist or is empty."


def _sort_out(
    records: Iterator[Record], asked: Layout | None, name: str, role: str
) -> tuple[Layout, list[Example], list[Rejected]]:
    """Usable and rejected rows; the first rows that have columns are held back until they have told the layout."""
    head: list[Record] = []
    rows: list[dict[str, Any]] = []
    for record in records:
        head.append(record)
        if record.row is not None:
            rows.append(record.row)
        if len(rows) == DETECTED:
            break
    used = asked or _detected(rows, name, role)
    examples: list[Example] = []
    rejected: list[Rejected] = []
    for record in chain(head, records):
        made = _example(record, used)
        if isinstance(made, Example):
            examples.append(made)
        else:
            rejected.append(Rejected(name, record.line, made, shown(record.raw)))
    return used, examples, rejected


def _detected(rows: list[dict[str, Any]], name: str, role: str) -> Layout:
    if not rows:
        return "text"  # nothing is readable, so nothing will be usable, and that is the error
    try:
        return detect(rows)
    except DataError as error:
        raise DataError(f"the {role} {name}: {error}") from None


def _example(record: Record, layout: Layout) -> Example | str:
    """The example without its final id, or the reason why there is none."""
    if record.row is None:
        return record.problem
    try:
        turns = parse(layout, record.row)
    except RowProblem as problem:
        return problem.reason
    return Example(own_id(record.row.get("id")), turns, record.number, record.line, record.raw)


def _nothing_usable(name: str, role: str, rejected: list[Rejected], asked: Layout | None) -> str:
    if not rejected:
        return f"the {role} {name} holds no rows. Check how it was written."
    reason, count = Counter(row.reason for row in rejected).most_common(1)[0]
    first = next(row.line for row in rejected if row.reason == reason)
    option = "--format" if role == "pool" else f"--{role}-format"
    mend = f"Leave out {option} {asked} to have the layout told from the columns" if asked else "Mend the rows"
    return (
        f"the {role} {name} has no usable row: {len(rejected):,} rejected, most often "
        f"({count:,}, first in line {first}): {reason}. {mend}, or pass another file."
    )
