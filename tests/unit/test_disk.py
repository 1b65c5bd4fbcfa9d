"""What the disk does, in words; JSON that tells of its damage; files that are whole or not there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from nncift.data.arrays import read_npz, write_npz
from nncift.disk import disk_sentence, sealed, unsealed
from nncift.errors import RunError
from nncift.lm.atomic import aside, aside_folder, sweep, write_whole
from nncift.run import LOCK, RunFolder, Work, read_records
from nncift.tuning.features import FeatureStore

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space", "a.npz"), "no space left on the disk to write 'a.npz'. Free some"),
        (OSError(errno.EDQUOT, "Quota", "b"), "no space left"),
        (OSError(errno.EFBIG, "Large", "b"), "ulimit -f"),
        (PermissionError(errno.EACCES, "Permission denied", "c"), "cannot use 'c': Permission denied."),
        (OSError(errno.EROFS, "Read-only file system", "d"), "NNCIFT_CACHE"),
        (OSError(errno.EIO, "Input/output error", "e"), "the disk fails at 'e'"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left"),
        (FileNotFoundError(errno.ENOENT, "No such file", "f"), None),
        (ValueError("No space"), None),
    ],
)
def test_the_disk_in_words(error: Exception, words: str | None) -> None:
    told = disk_sentence(error)
    assert (told is None) == (words is None) and (words or "") in (told or "")


def test_a_cause_is_looked_for() -> None:
    outer = RuntimeError("saving failed")
    outer.__cause__ = FULL
    assert "no space left" in str(disk_sentence(outer))


def test_every_bit_of_sealed_json_counts() -> None:
    value = {"loss": [1.5, None, -0.25], "text": 'ä\ud800 "', "facts": {"n": 3}}
    text = json.dumps(sealed(value))
    assert unsealed(text) == value and unsealed(json.dumps(value)) == value
    for at in range(len(text)):
        for bit in range(7):
            changed = text[:at] + chr(ord(text[at]) ^ 1 << bit) + text[at + 1 :]
            try:
                found = unsealed(changed)
            except ValueError:
                continue
            # what is not noticed says the same, or shows another name that whoever knows the names notices
            assert found == value or found.keys() != value.keys()


def test_no_bit_of_an_array_file_changes_a_number(tmp_path: Path) -> None:
    arrays = {"y": np.arange(20, dtype=np.float32), "note": np.frombuffer(b"{}", dtype=np.uint8)}
    path = tmp_path / "a.npz"
    write_npz(path, arrays)
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in (1, 4):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            try:
                found = read_npz(path)
            except RunError:
                continue
            assert found.keys() <= arrays.keys(), (at, bit)
            assert all(np.array_equal(found[name], arrays[name]) for name in found), (at, bit)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.json"
    write_whole(path, b"old")

    def full(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        write_whole(path, b"new")
    assert caught.value.filename == str(path)
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == {"a.json": b"old"}


def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path: Path) -> None:
    path = tmp_path / "a[1].json"
    dead, living, other = (tmp_path / name for name in ("a[1].json.x.part", "a[1].json.y.part", "b.json.part"))
    for one in (dead, living, other):
        one.write_bytes(b"half")
    (tmp_path / "a[1].json.z.part").mkdir()
    with living.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        sweep(path)
        assert {one.name for one in tmp_path.iterdir()} == {living.name, other.name}
    write_whole(path, b"whole")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, other.name}


def test_two_write_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with aside(path) as first, aside(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first" and [one.name for one in tmp_path.iterdir()] == ["a"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_folder_aside_is_gone_unless_it_was_moved(tmp_path: Path) -> None:
    with aside_folder(tmp_path / "a") as part:
        (part / "x").touch()
    assert not list(tmp_path.iterdir())
    with aside_folder(tmp_path / "a") as part:
        (part / "x").touch()
        part.replace(tmp_path / "a")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_temporary_files_go_however_deep_they_are(tmp_path: Path) -> None:
    place = tmp_path / "run"
    with closing(RunFolder(place)):
        pass
    deep = place / "labels-0" / "round-00" / "block.npz.part"
    deep.parent.mkdir(parents=True)
    deep.touch()
    with closing(RunFolder(place)):
        assert not deep.exists()


def test_a_removal_that_is_cut_short_leaves_a_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    for name in ("a", "z"):
        (folder.path / name).touch()
    gone: list[str] = []
    unlink = os.unlink

    def watched(path: object, **options: object) -> None:
        gone.append(Path(str(path)).name)
        unlink(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", watched)
    folder.remove()
    folder.close()
    assert gone == ["a", "z", LOCK] and not folder.path.exists()


def test_a_run_folder_is_known_without_its_lock_file(tmp_path: Path) -> None:
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.stage("a", {"x": 1}, _writes)
    (tmp_path / "run" / LOCK).unlink()
    with closing(RunFolder(tmp_path / "run")) as folder:
        assert "a" in folder.records
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").touch()
    with pytest.raises(RunError, match="holds other files"):
        RunFolder(tmp_path / "thesis")


def test_a_changed_number_in_the_record_of_a_stage_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.stage("a", {"x": 1}, _writes)
    path = tmp_path / "run" / "stages.json"
    assert read_records(path.parent)["a"].facts == {"labels": 7}
    path.write_text(path.read_text().replace('"labels": 7', '"labels": 5'))
    assert read_records(path.parent) == {}
    assert "its bytes have changed" in caplog.text


def test_the_space_of_features_is_taken_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file with holes would end the process by SIGBUS where the disk is full."""

    def full(descriptor: int, offset: int, size: int) -> None:
        raise FULL

    store = FeatureStore(tmp_path / "there", (2, 3, 4), kept="float16")
    assert all(one.stat().st_blocks * 512 >= one.stat().st_size for one in store.folder.glob("*.npy"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        FeatureStore(tmp_path / "full", (2, 3, 4), kept="float16")
    assert not list((tmp_path / "full").iterdir())


def _writes(done: Work) -> None:
    done.facts["labels"] = 7


def _umask() -> int:
    before = os.umask(0o022)
    os.umask(before)
    return before


def test_an_archive_that_claims_to_be_encrypted_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, {"y": np.zeros(3)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert zipfile.is_zipfile(path)
    with pytest.raises(RunError, match="encrypted"):
        read_npz(path)
