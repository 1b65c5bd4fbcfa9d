"""From what the user names (a file, a data set of the hub, rows in memory) to a pool of usable rows with stable ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from nncift.data.drafts import draft
from nncift.data.folders import SUFFIXES, files_in
from nncift.data.hub import PREFIX, read_hub
from nncift.data.ids import unique_ids
from nncift.data.jsonl import read_json, read_jsonl
from nncift.data.layouts import DETECTED, Layout, check, detect
from nncift.data.pieces import ParquetAgain, ParquetCopy, copied
from nncift.data.records import Reading, Record, decode, from_mappings, shown
from nncift.data.rows import Example, Pool, Rejected, reasons_of
from nncift.data.stored import RowFile, RowFiles, SourceFile
from nncift.data.storing import Storing
from nncift.data.tables import read_csv, read_parquet, unpacked_bytes
from nncift.errors import DataError

MEMORY = "<memory>"

LARGE = 32_000_000
"""Bytes of a file whose rows stay there. Below it nothing is won: they take three times as much in memory, and are read from
there ten times as fast."""

Source = str | PathLike[str] | Iterable[Mapping[str, Any]]


def load_pool(source: Source, *, layout: str = "auto", role: str = "pool") -> Pool:
    """Reads a pool or a target of instruction data; rows that cannot be used are set aside with the reason.

    Use it for every source: the row layout is told from the columns, the file type from the suffix.

    Args:
        source: a path (`.jsonl`, `.ndjson`, `.json`, `.parquet`, `.csv`), a folder of `.parquet` or of `.jsonl` files, which
            are one behind the other in the order of their names, `hub:owner/name#split`, or rows in memory (a list of
            mappings, a `datasets.Dataset`).
        layout: `auto`, or one of `nncift.data.layouts.LAYOUTS` where the columns do not tell.
        role: what the rows are for, as errors call them (`pool`, `target`).

    Returns:
        the usable rows in source order and the rejected ones; at least one row is usable.

    Raises:
        DataError: the source cannot be read at all, has an unknown layout, or has no usable row.
        MissingExtraError: a hub source without the package `datasets`.

    Cost: one pass; memory in proportion to the rows. Of a file of more than 32 MB it is about 80 bytes a row beside its
    id, whatever its length: such rows stay in the file, which must not change, and are read when they are asked for. A
    Parquet file of that size is copied into the folder for temporary files.
    """
    asked = None if layout == "auto" else check(layout)
    name = fspath(source) if isinstance(source, str | PathLike) else MEMORY
    try:
        parts = _parts(source, name, role)
        read = _stored if _is_large(parts) else _held
        pool = read(parts, asked, name, role)
    except OSError as error:
        raise DataError(f"cannot read the {role} {name}: {error.strerror or error}. Check the file.") from error
    if not len(pool):
        raise DataError(_nothing_usable(name, role, pool.rejected, asked))
    return pool


def open_source(source: Source, role: str) -> tuple[Reading, Path | None]:
    """The source's rows before anything is known about their layout, and its file where it is one.

    Raises:
        DataError: there is no such file, or it is of no known type.
        MissingExtraError: a hub source without the package `datasets`.
    """
    if isinstance(source, str) and source.startswith(PREFIX):
        return _once("jsonl", read_hub(source)), None
    if isinstance(source, str | PathLike):
        path = Path(fspath(source))
        _refuse_unreadable(path, role)
        match path.suffix.lower():
            case ".json":
                return read_json(path), path
            case ".parquet":
                return Reading("parquet", lambda: read_parquet(path)), path
            case ".csv":
                return read_csv(path), path
        return Reading("jsonl", lambda: read_jsonl(path), decode), path
    if isinstance(source, Mapping):
        raise DataError(
            f"the {role} is one mapping with the keys {', '.join(map(repr, list(source)[:5]))}. Pass its rows: a list "
            f"of mappings, or one split of a data set, such as dataset['train']."
        )
    return _once("jsonl", from_mappings(source)), None


def _once(file_type: str, records: Iterator[Record]) -> Reading:
    return Reading(file_type, lambda: records)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of a source, or all of it; `path` is None where it is no file."""

    name: str
    reading: Reading
    path: Path | None


def _parts(source: Source, name: str, role: str) -> list[_Part]:
    """The files of a folder, or the source itself."""
    if isinstance(source, str | PathLike) and not name.startswith(PREFIX) and Path(name).is_dir():
        return [_Part(str(path), *open_source(path, role)) for path in files_in(Path(name), role)]
    return [_Part(name, *open_source(source, role))]


def _is_large(parts: list[_Part]) -> bool:
    """Whether the rows of files stay there; of a packed file it is what they are unpacked that counts."""
    found = 0
    for path in (part.path for part in parts if part.path is not None):
        found += _bytes(path)
        if found > LARGE:
            return True
    return False


def _bytes(path: Path) -> int:
    if path.suffix.lower() != ".parquet":
        return path.stat().st_size
    return unpacked_bytes(path, LARGE)


def _refuse_unreadable(path: Path, role: str) -> None:
    if not path.exists():
        if path.is_symlink():
            raise DataError(f"the {role} {path} is a link that leads nowhere. Mend the link, or name the file itself.")
        raise DataError(f"there is no {role} file {path}. {_nearest(path)}")
    if not path.is_file():
        raise DataError(
            f"the {role} {path} is a pipe, socket or device, and rows are read more than once. Write them into a file first."
        )
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


def _through(readers: Iterable[Callable[[], Iterator[Record]]]) -> Iterator[tuple[int, Record]]:
    """The records of all parts, each with the number of its part; rows are numbered through."""
    before = 0
    for part, reader in enumerate(readers):
        count = 0
        for record in reader():
            yield part, replace(record, number=before + record.number) if before else record
            count += 1
        before += count


def _held(parts: list[_Part], asked: Layout | None, name: str, role: str) -> Pool:
    """A pool in memory; the first rows that have columns are held back until they have told the layout."""
    records = _through([part.reading.records for part in parts])
    head: list[tuple[int, Record]] = []
    used = asked or _detected(_first_rows(records, head), name, role)
    examples: list[Example] = []
    rejected: list[Rejected] = []
    for part, record in chain(head, records):
        made = draft(record, used)
        if isinstance(made, Example):
            examples.append(made)
        else:
            rejected.append(Rejected(parts[part].name, record.line, made, shown(record.raw)))
    ids = unique_ids([example.id for example in examples], lambda k: examples[k].content_key, name)
    named = (one if one.id == own else replace(one, id=own) for one, own in zip(examples, ids, strict=True))
    return Pool(tuple(named), tuple(rejected), name, used, parts[0].reading.file_type)


def _stored(parts: list[_Part], asked: Layout | None, name: str, role: str) -> Pool:
    """A pool whose rows stay in their files; these are begun twice where the first rows have to tell the layout."""
    paths = [part.path for part in parts if part.path is not None]
    sources = [SourceFile.open(path) for path in paths]
    readings = [part.reading for part in parts]
    copies = [ParquetCopy(p) if r.again is None else None for p, r in zip(paths, readings, strict=True)]
    readers = [
        reading.records if copy is None else partial(read_parquet, path, copy)
        for path, reading, copy in zip(paths, readings, copies, strict=True)
    ]
    if asked is None:
        asked = _detected(_first_rows(_through([reading.records for reading in readings])), name, role)
    storing, starts = Storing(), [0] * len(parts)
    for part, record in _through(readers):
        starts[part + 1 :] = [record.number + 1] * (len(parts) - part - 1)
        made = draft(record, asked)
        if isinstance(made, Example):
            storing.use(record, made)
        else:
            storing.reject(record, made)
    files = []
    for source, reading, copy in zip(sources, readings, copies, strict=True):
        source.refuse_replaced()
        held, again = (source, reading.again) if copy is None else (copy.finish(), None)
        files.append(RowFile(source, held, again or ParquetAgain(), asked, None if copy is None else copied))
    file = files[0] if len(files) == 1 else RowFiles(tuple(files), tuple(starts))
    return Pool(storing.rows(file, name), storing.rejects(file), name, asked, readings[0].file_type)


def _first_rows(
    records: Iterator[tuple[int, Record]], head: list[tuple[int, Record]] | None = None
) -> list[dict[str, Any]]:
    """The first rows that have columns; the records up to the last of them go into `head`."""
    rows: list[dict[str, Any]] = []
    for record in records:
        if head is not None:
            head.append(record)
        if (row := record[1].row) is not None:  # a hundred rows may be large, and only their columns are asked for
            rows.append({name: None if value is None else True for name, value in row.items()})
        if len(rows) == DETECTED:
            break
    return rows


def _detected(rows: list[dict[str, Any]], name: str, role: str) -> Layout:
    if not rows:
        return "text"  # nothing is readable, so nothing will be usable, and that is the error
    try:
        return detect(rows)
    except DataError as error:
        raise DataError(f"the {role} {name}: {error}") from None


def _nothing_usable(name: str, role: str, rejected: Sequence[Rejected], asked: Layout | None) -> str:
    reasons = reasons_of(rejected)
    if not reasons:
        return f"the {role} {name} holds no rows. Check how it was written."
    reason, count = Counter(reasons).most_common(1)[0]
    first = rejected[reasons.index(reason)]
    option = "--format" if role == "pool" else f"--{role}-format"
    mend = f"Leave out {option} {asked} to have the layout told from the columns" if asked else "Mend the rows"
    line = f"line {first.line}" if first.file == name else f"line {first.line} of {Path(first.file).name}"
    return (
        f"the {role} {name} has no usable row: {len(rejected):,} rejected, most often "
        f"({count:,}, first in {line}): {reason}. {mend}, or pass another file."
    )
