"""Files that are there whole or not at all, and nothing of those that a kill cut short."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from secrets import token_hex

PART = ".part"


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file aside and moves it into place; its folder is created. Two processes at once leave either's file."""
    with aside(path) as part:
        part.write_bytes(data)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A temporary file that becomes `path` when the block ends well, and is removed when it does not; its folder is created.

    What an earlier process left of the same file when it was killed is removed. A temporary file is locked while its process
    lives, so that this needs no clock and no process number.

    Raises:
        OSError: it cannot be written, naming `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    with naming(path):
        part, descriptor = _locked_beside(path)
        try:
            yield part
            os.fsync(descriptor)
            part.replace(path)
            sync_folder(path.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


@contextmanager
def aside_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, gone after the block unless it was moved away; see `aside`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    part = _beside(path)
    part.mkdir()
    descriptor = os.open(part, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with naming(path):
            yield part
    finally:
        os.close(descriptor)
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, all of its files on the disk. What was there is gone
    then: a kill leaves the old folder, none, or the new one, and never files of both or a part of one.

    Raises:
        OSError: it cannot be written, naming `path`.
    """
    with aside_folder(path) as part:
        yield part
        for file in sorted(part.iterdir()):
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        sync_folder(part)
        remove_whole(path)
        part.replace(path)
        sync_folder(path.parent)


def remove_whole(path: Path) -> None:
    """Removes a file or folder, of which no part is left by its name after a kill."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    old = _beside(path)
    path.rename(old)
    shutil.rmtree(old)


def sweep(path: Path) -> None:
    """Removes what processes that are gone left of a file or folder that they were making."""
    for part in path.parent.glob(f"{escape(path.name)}*{PART}"):
        with suppress(OSError):  # another process works on it, or the folder cannot be written
            descriptor = os.open(part, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Lets a new name outlive a power cut, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets an error of the system that does not say which file it is of name this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.{token_hex(6)}{PART}")


def _locked_beside(path: Path) -> tuple[Path, int]:
    while True:
        part = _beside(path)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists() and os.fstat(descriptor).st_ino == part.stat().st_ino:
            return part, descriptor
        os.close(descriptor)  # swept in the instant before it was locked
