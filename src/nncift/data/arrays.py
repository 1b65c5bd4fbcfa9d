"""Arrays on disk, byte for byte the same for the same content: no pickle, no clock in the archive."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy import ndarray

from nncift.errors import RunError

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_npz(file: Path | IO[bytes], arrays: Mapping[str, ndarray]) -> None:
    """Writes named arrays as an uncompressed `.npz`; unlike `numpy.savez` it stores no time, so equal arrays give equal
    files."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def write_blocks(stream: IO[bytes], blocks: Iterable[ndarray], shape: tuple[int, ...]) -> None:
    """Writes an `.npy` of float32 rows, some rows at a time; the bytes are those of `numpy.save` of all at once."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for block in blocks:
        stream.write(np.ascontiguousarray(block, dtype="<f4").data)


def read_npz(path: Path) -> dict[str, ndarray]:
    """Reads all arrays of an `.npz`.

    Raises:
        RunError: the file is missing, damaged, or holds objects.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:  # closes what is damaged too
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:  # TypeError: a lone .npy
        raise RunError(f"cannot read {str(path)!r}: {error}. Delete the file; it is then computed again.") from error
