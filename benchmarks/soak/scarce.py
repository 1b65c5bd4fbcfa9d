"""Places that cannot be written: a full disk, a read-only folder, a folder in which another process works."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.campaign import FINISHED, Campaign, Trial
from benchmarks.soak.hooks import Fault
from benchmarks.soak.works import left_behind, spacious_moments

NOBODY = 65534
FULL = "no space left"


def full_by_injection(campaign: Campaign, work: str, count: int) -> None:
    """From some call on nothing more fits; then there is room again."""
    with campaign.line("full disk, by injection", work) as tally:
        spacious = spacious_moments(campaign.reference(work))
        for at in sorted(campaign.draw("full", work).sample(range(spacious), min(count, spacious))):
            with campaign.trial(tally, f"call {at}") as trial:
                _short_of_space(trial, Fault(at, "full"), FULL)


def files_too_large(campaign: Campaign, work: str, count: int) -> None:
    """No file may be larger than so many bytes."""
    with campaign.line("file size limit", work) as tally:
        for size in (3000, 300)[:count]:
            with campaign.trial(tally, f"{size} bytes") as trial:
                _short_of_space(trial, Fault(largest=size), "cannot write")


def full_file_system(campaign: Campaign, work: str, count: int) -> None:
    """A real file system of some size, which is then made larger."""
    with campaign.line("full disk, a real one", work) as tally:
        if not _can_mount(campaign.folder / "mount"):
            tally.skipped = "mounting is not permitted here"
            return
        used = sum(
            path.stat().st_size for path in (campaign.reference(work).place / "out").rglob("*") if path.is_file()
        )
        for part in range(1, count + 1):
            size = used * part // (count + 1)
            with campaign.trial(tally, f"{size} bytes") as trial, _mounted(trial.out, size):
                _short_of_space(trial, Fault(), FULL)


def read_only(campaign: Campaign, work: str) -> None:
    """The folder, or the cache, belongs to somebody else; then it may be written."""
    with campaign.line("read-only folder", work) as tally:
        if os.getuid() == 0 and not _reaches(NOBODY):
            tally.skipped = "root writes everywhere, and nobody else can read this checkout"
            return
        fault = Fault(user=NOBODY) if os.getuid() == 0 else Fault()
        for name in ("out", "cache"):
            with campaign.trial(tally, name) as trial:
                closed = trial.place / name
                closed.mkdir()
                if fault.user is not None:
                    _give(trial.place, fault.user)
                    os.chown(closed, 0, 0)
                closed.chmod(0o555)
                ended = trial.reference.work.run(trial.place, fault)
                if ended.code:
                    trial.told(ended, 2, name, "permission denied")
                else:
                    trial.require("note: " in ended.err and name == "cache", f"not a word of {name}")
                closed.chmod(0o755)
                if not ended.code:
                    shutil.rmtree(trial.out)
                    (trial.place / "trace").unlink()
                trial.resume()


def second_process(campaign: Campaign, work: str, count: int = 2) -> None:
    """Two at once in one folder: the second is told so, and once the first is killed nothing is in the way."""
    with campaign.line("second process, stale lock", work) as tally:
        for share in (0.5, 0.9)[:count]:
            with campaign.trial(tally, f"at {share:.0%}") as trial:
                reference = trial.reference
                first = reference.work.start(trial.place, Fault(int(share * (reference.ended.moments or 0)), "stop"))
                trial.require(first.wait_until_stopped(), "it did not stop")
                before = _files(trial.out)
                trial.told(reference.work.run(trial.place), 2, "in use by another process")
                trial.require(_files(trial.out) == before, "the second process changed the folder")
                first.kill(9)
                first.wait()
                trial.resume()


def foreign_folder(campaign: Campaign, work: str) -> None:
    """A folder of somebody else's files is not touched."""
    with campaign.line("folder of other files", work) as tally, campaign.trial(tally, "thesis.txt") as trial:
        trial.out.mkdir()
        (trial.out / "thesis.txt").write_text("x", encoding="ascii")
        trial.told(trial.reference.work.run(trial.place), 2, "holds other files")
        trial.require(_files(trial.out) == {"thesis.txt": b"x"}, "it was touched")


def _short_of_space(trial: Trial, fault: Fault, words: str) -> None:
    """It may get through where only a cache or a page could not be written."""
    ended = trial.reference.work.run(trial.place, fault)
    if ended.code:
        trial.told(ended, 2, words)
    else:
        trial.require("note: " in ended.err, "not a word of it")
    left = left_behind(trial.place)
    trial.require(not left, f"a temporary file stays: {', '.join(left)}")
    if trial.out.is_mount():
        subprocess.run(["mount", "-o", "remount,size=1g", str(trial.out)], check=True)
    trial.resume()


@contextmanager
def _mounted(place: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes.

    Raises:
        OSError, CalledProcessError: it is not permitted.
    """
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _can_mount(place: Path) -> bool:
    try:
        with _mounted(place, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        place.rmdir()


def _reaches(user: int) -> bool:
    """Whether a user without rights can read this checkout and its inputs."""
    code = f"import os; os.setuid({user}); open({str(Path(__file__))!r}).close()"
    return subprocess.run(["python3", "-c", code], capture_output=True, check=False).returncode == 0


def _give(place: Path, user: int) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, user, user)
    for path in place.parents:
        if path.name == FINISHED or path.stat().st_mode & 0o005 == 0:
            path.chmod(path.stat().st_mode | 0o055)
            break


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
