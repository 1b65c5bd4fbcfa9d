"""Arrays on disk, byte for byte the same for the same content: no pickle, no clock in the archive."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy import ndarray

from nncift.errors import RunError

_DAMAGE = (
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    OverflowError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What damaged bytes raise: `RuntimeError` where they claim to be encrypted or packed in a way that nobody knows."""
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


def _read_whole(archive: zipfile.ZipFile, name: str) -> ndarray:
    """One array; the checksum is compared when the last byte is read, which a damaged shape would not come to."""
    with archive.open(name) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"more bytes than {name} has numbers")
    return array


def read_npz(path: Path) -> dict[str, ndarray]:
    """Reads all arrays of an `.npz`.

    Raises:
        RunError: the file is missing, damaged, or holds objects.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            return {name.removesuffix(".npy"): _read_whole(archive, name) for name in archive.namelist()}
    except (*_DAMAGE, OSError) as error:
        raise RunError(f"cannot read {str(path)!r}: {error}. Delete the file; it is then computed again.") from error
