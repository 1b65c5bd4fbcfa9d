"""A folder of shards as one source: its files of one type, in the order of their names."""

from __future__ import annotations

import logging
from pathlib import Path

from nncift.data.shards import is_shard, missing_of
from nncift.errors import DataError

log = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")

_SHARDS = ((".parquet",), (".jsonl", ".ndjson"))
"""Types of which a folder may hold many, each with its suffixes."""

_COUNTED = ((".csv",), (".json",))
"""Types of which a folder holds shards only where their names say so: others of the kind stand for themselves."""

_OF_A_RUN = ("stages.json", "recipe.yaml")


def holds_shards(folder: Path) -> bool:
    """Whether a folder is no run's, and has a file that is a shard."""
    return not _is_run(folder) and bool(_by_type(_files(folder)))


def files_in(folder: Path, role: str) -> list[Path]:
    """The shards in a folder, by name; those of folders inside it, and files that begin with a dot or an underscore, are none.

    Raises:
        DataError: there is none, or there are some of two types; or it is a run folder.
    """
    if _is_run(folder):
        raise DataError(
            f"the {role} {folder} is a run folder. Its chosen rows are in it, as subset.* or the folder subset: name that."
        )
    files = _files(folder)
    some = _by_type(files)
    if len(some) == 1:
        full = [path for path in some[0] if path.stat().st_size]
        if full and len(full) < len(some[0]):
            log.warning("%d of %d shards in %s are empty files", len(some[0]) - len(full), len(some[0]), folder)
        if missing := missing_of(some[0]):
            log.warning("%s lacks %d of the %d shards that the names count", folder, missing, len(some[0]) + missing)
        return full or some[0]
    if some:
        both = " and ".join(paths[0].name for paths in some)
        raise DataError(f"the {role} {folder} is a folder of files of two types, such as {both}. Keep one type in it.")
    raise DataError(f"the {role} {folder} is a folder. {_hint(folder, files)}")


def _is_run(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _OF_A_RUN)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] not in "._")


def _by_type(files: list[Path]) -> list[list[Path]]:
    """The shards of each type of which there are some."""
    found = [[path for path in files if path.suffix.lower() in suffixes] for suffixes in _SHARDS]
    if not any(found):
        counted = [path for path in files if is_shard(path.name)]
        found = [[path for path in counted if path.suffix.lower() in suffixes] for suffixes in _COUNTED]
    return [paths for paths in found if paths]


def _hint(folder: Path, files: list[Path]) -> str:
    """What to do about a folder without shards."""
    named = [path.name for path in files if path.suffix.lower() in SUFFIXES]
    if named:
        return f"Name one of its files, such as {folder / named[0]}."
    packed = [path.name for path in files if path.suffix.lower() in (".gz", ".zst", ".zip")]
    if packed:
        return f"Its files are packed. Unpack them first:  gzip -dk {folder / packed[0]}"
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    if inside:
        return f"It holds no shards itself (.parquet or .jsonl). Name the folder that does, such as {inside[0]}."
    return f"It holds no file of rows ({', '.join(SUFFIXES)})."
