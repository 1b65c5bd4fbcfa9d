"""Reader of data sets of the Hugging Face hub, through the optional package `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nncift.data.records import Record, from_mappings
from nncift.errors import DataError, MissingExtraError

PREFIX = "hub:"

_SOURCE = re.compile(r"hub:(?P<name>[\w.-]+(/[\w.-]+)?)(/(?P<config>[\w.-]+))?(#(?P<split>.+))?")


def read_hub(source: str) -> Iterator[Record]:
    """The rows of `hub:owner/name#split`, split `train` unless named; a configuration follows the name as `/config`.

    Raises:
        MissingExtraError: the package `datasets` is not installed.
        DataError: the name is malformed or unknown, or the hub cannot be reached.
    """
    match = _SOURCE.fullmatch(source)
    if match is None or any(part.startswith(".") for part in match["name"].split("/")):
        raise DataError(f"{source!r} does not name a data set. Write hub:owner/name or hub:owner/name#split.")
    if Path(match["name"]).exists():  # the package would read that, with whatever is in it
        raise DataError(
            f"{source!r} names a data set of the hub, and here is also a folder {match['name']!r}, which would be read in "
            "its place. Name its file instead, or work in another folder."
        )
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingExtraError("datasets", "hub", f"reading {source}") from error
    try:
        rows = datasets.load_dataset(match["name"], match["config"], split=match["split"] or "train")
    except Exception as error:  # the package passes on whatever its network and file layers raise
        raise DataError(
            f"cannot load {source}: {type(error).__name__}: {error} "
            f"Check the name, the configuration and the split (hub:owner/name/config#split). Without a network, "
            f"download the file elsewhere and pass its path, or set HF_HUB_OFFLINE=1 if it is in the cache."
        ) from error
    return from_mappings(rows)
