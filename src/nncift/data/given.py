"""Arrays in files that the user names: looked at before they are read, so that none takes more memory than it is worth."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy import ndarray

from nncift.errors import DataError

PLENTY = 2**30
"""Bytes that an array of a small packed file may take; one of a large file may take a hundred times the file."""
_RATIO = 100


def given_arrays(path: Path, names: Sequence[str], *, mend: str) -> dict[str, ndarray]:
    """Those arrays of an `.npz` that have one of the names; what else lies in it is not read.

    Args:
        path: of the file.
        names: of the arrays.
        mend: how the user comes to a sound file.

    Raises:
        DataError: it is no `.npz`, is damaged, holds objects, or an array would unpack to more than it may.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            there = {entry.filename: entry for entry in archive.infolist()}
            most = max(PLENTY, _RATIO * path.stat().st_size)
            return {
                name: _array(archive, entry, most) for name in names if (entry := there.get(f"{name}.npy")) is not None
            }
    except (Exception, MemoryError) as error:  # zipfile, zlib, ast and numpy raise what they like
        raise DataError(
            f"{path} cannot be read as an .npz: it is damaged, or of another kind ({_said(error)}). {mend}"
        ) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> ndarray:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        shape, _, dtype = _HEADERS[version](stream)
    size = prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds objects, which are never read")
    if min(shape, default=0) < 0 or size > entry.file_size:
        raise ValueError(f"{entry.filename} says that it is {dtype} {shape}, and has {entry.file_size:,} bytes")
    if size > most:
        raise ValueError(f"{entry.filename} would unpack to {size:,} bytes, and at most {most:,} are taken")
    with archive.open(entry) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def given_npy(path: Path) -> ndarray:
    """The array of an `.npy`, mapped into memory and not read.

    Raises:
        DataError: it is no regular file, or no array of numbers.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a readable .npy array of numbers: it is a folder, pipe, socket or device")
    try:
        with path.open("rb") as stream:  # what else `numpy.load` takes, it leaves open where it is damaged
            if not stream.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it does not begin as one does")
        return np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise
    except (Exception, MemoryError) as error:  # as above
        raise DataError(f"{path} is not a readable .npy array of numbers: {_said(error)}") from error


def row_ids(arrays: dict[str, ndarray], name: str, path: Path, *, mend: str) -> list[str]:
    """The ids that an array holds: texts or whole numbers, all of them different.

    Raises:
        DataError: there is no such array, it holds something else, or an id twice.
    """
    found = arrays.get(name)
    if found is None or found.ndim != 1 or not (found.dtype.kind in "Uiu" or found.size == 0):
        kind = "no array" if found is None else f"{found.dtype} {found.shape}, not one text per row in"
        raise DataError(f"{path} has {kind} `{name}`. {mend}")
    try:
        ids = list(map(str, found.tolist()))
    except (ValueError, SystemError) as error:  # a number that stands for no character
        raise DataError(f"{path}: `{name}` holds what is no text ({error}). {mend}") from error
    known: set[str] = set()
    for one in ids:
        if one in known:
            raise DataError(f"{path} has the id {one!r} twice in `{name}`. Ids must differ.")
        known.add(one)
    return ids


def _said(error: BaseException) -> str:
    """What a library says of a file, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"
