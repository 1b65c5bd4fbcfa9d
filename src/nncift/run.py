"""The run folder: stages keyed by the content of what they depend on, written atomically, resumed after a kill.

A stage leaves its artefacts and, last, an entry in `stages.json` with its key, the checksums of the artefacts, what it
cost and what there was to note. A stage whose key is unchanged and whose artefacts are whole is not run again.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from nncift.disk import checked, sealed
from nncift.errors import RunError
from nncift.ledger import Ledger
from nncift.lm.atomic import PART, naming, sync_folder
from nncift.plain import DAMAGE
from nncift.redact import redact, redacted
from nncift.version import __version__

log = logging.getLogger(__name__)

LOCK = ".nncift.lock"
STAGES = "stages.json"
_PACKAGES = (
    *("numpy", "numba", "torch", "transformers", "sentence-transformers", "pyarrow", "safetensors"),
    *("peft", "accelerate", "bitsandbytes"),
)


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a stage left behind.

    Attributes:
        key: hash of everything it depends on.
        files: artefact name -> SHA-256.
        costs: counters of the ledger, `seconds` and `cpu_seconds`, summed over all attempts that contributed, and
            `peak_memory`, bytes of this process (and of the GPU, the larger) at their highest.
        facts: what later stages and the summary read.
        notes: caps, truncations and fallbacks.
    """

    key: str
    files: dict[str, str]
    costs: dict[str, float]
    facts: dict[str, Any]
    notes: dict[str, str]

    def __post_init__(self) -> None:
        """Refuses what no stage leaves; above all files elsewhere, which would be deleted when they are stale."""
        for name, kind in (("key", str), ("files", dict), ("costs", dict), ("facts", dict), ("notes", dict)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name!r} is {type(getattr(self, name)).__name__}")
        for file in self.files:
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise ValueError(f"{file!r} lies outside the folder")


@dataclass(slots=True)
class Work:
    """Filled in by a stage while it runs."""

    ledger: Ledger = field(default_factory=Ledger)
    files: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)  # empty: what the stage took this time
    cpu_elsewhere: float = 0.0  # CPU seconds of workers in other processes, which `times` does not hold

    def note(self, kind: str, message: str) -> None:
        """One warning line now, one field of the run's record for good."""
        log.warning("%s", message)
        self.notes[kind] = redact(message)


class Clock:
    """Seconds of the wall and of all processors since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        """`seconds` and `cpu_seconds`."""
        return {"seconds": time.perf_counter() - self._wall, "cpu_seconds": time.process_time() - self._cpu}


class RunFolder:
    """A run folder in use by this process alone.

    Args:
        path: the folder; made where it is missing.
        reading: nothing will be written, so that it may lie where nothing can be.

    Raises:
        RunError: another process works in it, it is a file, or it cannot be written.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self.path = path
        self._lock: TextIO | None = _locked(path, reading=reading)
        if not reading:
            for leftover in sorted(path.rglob(f"*{PART}"), reverse=True):  # what lies in a folder before the folder
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        self.records = read_records(path)

    def close(self) -> None:
        """Gives the folder free."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def stage(self, name: str, depends: dict[str, Any], work: Callable[[Work], None]) -> StageRecord:
        """Runs `work` unless the stage was done with the same dependencies and its artefacts are whole.

        Args:
            name: of the stage.
            depends: JSON-able; everything that the result depends on, the stage's code version included.
            work: does it, naming its artefacts in `Work.files` (paths relative to the folder).
        """
        key = content_key(depends)
        record = self.records.get(name)
        if record is not None and record.key == key and _whole(self.path, name, record):
            for message in record.notes.values():
                log.warning("%s", message)
            return record
        (self.path / "done.json").unlink(missing_ok=True)
        done = Work()
        reset_peak_memory()
        clock = Clock()
        work(done)
        spent = done.times or clock.spent()
        spent["cpu_seconds"] += done.cpu_elsewhere
        times = {kind: round(value, 3) for kind, value in spent.items()}
        costs = {**done.ledger.record(), **times, "peak_memory": peak_memory()}
        files = {file: file_hash(self.path / file) for file in sorted(done.files)}
        for stale in set(record.files if record else ()) - set(files):
            (self.path / stale).unlink(missing_ok=True)
        self.records[name] = StageRecord(key, files, costs, done.facts, done.notes)
        self._write_records()
        return self.records[name]

    def forget_all_but(self, names: set[str]) -> None:
        """Drops stages that this run does not go through, with their artefacts: a folder tells of one run only."""
        kept = {file for name in names for file in self.records[name].files}
        for name in [name for name in self.records if name not in names]:
            for file in set(self.records.pop(name).files) - kept:
                (self.path / file).unlink(missing_ok=True)
        self._write_records()

    def remove(self) -> None:
        """Deletes the folder, the mark that it is a run's last, so that what a kill leaves of it is still known as one."""
        for path in sorted(self.path.iterdir()):
            if path.name != LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(self.path)

    def write_json(self, name: str, value: Any) -> None:
        """Writes one JSON file atomically, keys in the given order."""
        with self.atomic(name) as part:
            part.write_text(json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n", encoding="utf-8")

    @contextmanager
    def atomic(self, name: str) -> Iterator[Path]:
        """A temporary path that becomes `name` when the block ends well; a kill leaves the old file or none."""
        final = self.path / name
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f"{final.name}{PART}")
        with naming(final):
            try:
                yield part
                with part.open("rb") as stream:
                    os.fsync(stream.fileno())
                part.replace(final)
            except BaseException:
                part.unlink(missing_ok=True)  # on a full disk it holds what others need
                raise
        sync_folder(final.parent)

    def _write_records(self) -> None:
        self.write_json(STAGES, {name: _as_json(record) for name, record in self.records.items()})

    def intact(self) -> bool:
        """Whether the files of every stage are as the stage left them."""
        return all(_whole(self.path, name, record) for name, record in self.records.items())


def _whole(folder: Path, name: str, record: StageRecord) -> bool:
    for file, expected in record.files.items():
        path = folder / file
        if not path.is_file() or file_hash(path) != expected:
            log.warning("%s of the stage %r is missing or damaged; it is computed again", path, name)
            return False
    return True


def read_records(folder: Path) -> dict[str, StageRecord]:
    """What the stages of a run folder left behind, by name; nothing where there is none or the record is damaged."""
    path = folder / STAGES
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        found = {name: StageRecord(**checked(record)) for name, record in body.items()}
        if outside := [file for record in found.values() for file in record.files if not _stays_inside(file)]:
            raise ValueError(f"it names the file {outside[0]!r}, which is none of this folder")
        return found
    except (*DAMAGE, OSError) as error:
        log.warning("%s is damaged (%s); every stage is computed again", path, error)
        return {}


@contextmanager
def as_left(folder: Path) -> Iterator[None]:
    """Reads what a run left in its folder; whatever else lies there is told in one sentence.

    Raises:
        RunError: what is read is not what a run writes.
    """
    try:
        yield
    except (*DAMAGE, OSError) as error:
        said = f"{type(error).__name__}: {error}"
        raise RunError(
            f"the run folder {str(folder)!r} is damaged, or was written by something else ({said[:200]}). Make it again with "
            f"`nncift run {folder / 'recipe.yaml'}`."
        ) from error


def _stays_inside(name: str) -> bool:
    """Whether a name is of a file in the folder: a record that came from elsewhere could have others read or deleted."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def _locked(path: Path, *, reading: bool) -> TextIO:
    """The lock file of a folder, held. It stays when the run ends: it also tells a run folder from a folder of the user's."""
    lock = path / LOCK
    try:
        if path.is_dir() and any(path.iterdir()) and not lock.exists() and not (path / STAGES).is_file():
            raise RunError(f"{str(path)!r} holds other files and is no run folder. Choose another with -o.")
        path.mkdir(parents=True, exist_ok=True)
        stream = lock.open("r" if reading and not os.access(path, os.W_OK) else "a+", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"cannot write the run folder {str(path)!r}: {error.strerror}. Choose another with -o."
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise RunError(
            f"the run folder {str(path)!r} is in use by another process. Wait for it, or choose another with -o."
        ) from error
    if not lock.exists() or lock.stat().st_ino != os.fstat(stream.fileno()).st_ino:
        stream.close()  # whoever held it has removed the folder meanwhile
        return _locked(path, reading=reading)
    return stream


def reset_peak_memory() -> None:
    """Lets the peak begin anew, where the system allows it (Linux); elsewhere it is the peak of the process so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> int:
    """Most bytes that this process held at once since the last reset: resident memory, or the GPU's where that is more."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        held = 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
        held = max(held, torch.cuda.max_memory_allocated())
    return held


def content_key(depends: dict[str, Any]) -> str:
    """Hash of anything JSON-able, whatever the order of its keys."""
    return sha256(json.dumps(depends, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def lists_key(lists: Mapping[str, Iterable[Any]]) -> str:
    """`content_key` of the lists by their names; their entries are taken one by one, so that no list is in memory."""
    digest = sha256(b"{")
    for number, name in enumerate(sorted(lists)):
        digest.update(f"{', ' if number else ''}{json.dumps(name)}: [".encode())
        before = b""
        for entry in lists[name]:
            digest.update(before + json.dumps(entry, sort_keys=True, ensure_ascii=True).encode())
            before = b", "
        digest.update(b"]")
    digest.update(b"}")
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def environment(extra: dict[str, Any]) -> dict[str, Any]:
    """Versions and machine, for `environment.json`: what a reader needs to tell why two runs differ."""
    versions = {}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "nncift": __version__,
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        **redacted(extra),
    }


def _as_json(record: StageRecord) -> dict[str, Any]:
    return sealed({item.name: getattr(record, item.name) for item in fields(record)})
