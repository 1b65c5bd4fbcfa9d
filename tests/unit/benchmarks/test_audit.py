"""What `make audit` makes of answers and of installed files."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

from benchmarks import audit, lock


def test_a_package_that_was_not_looked_up_is_not_called_clean() -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
    skipped, own = {"name": "c", "skip_reason": "not found"}, {"name": "nncift", "skip_reason": "not found"}
    assert audit.verdict_of([sound, own])[0] == audit.CLEAN
    assert audit.verdict_of([sound, skipped])[0] == audit.UNREACHED
    verdict, words = audit.verdict_of([sound, bad, skipped])
    assert verdict == audit.HOLES and "b 2: PYSEC-1" in words and "(c" in words


def test_a_file_that_is_not_the_wheels_is_found(tmp_path: Path) -> None:
    info = tmp_path / "thing-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
    body = b"answer = 42\n"
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"thing.py,sha256={digest},12\ngone.py,sha256={digest},12\nthing.pyc,,\n")
    (tmp_path / "thing.py").write_bytes(body)
    assert audit.changed_files([PathDistribution(info)]) == (1, 2, ["thing: gone.py is missing"])
    (tmp_path / "gone.py").write_bytes(body)
    assert audit.changed_files([PathDistribution(info)]) == (1, 2, [])
    (tmp_path / "thing.py").write_bytes(b"answer = 43\n")
    assert audit.changed_files([PathDistribution(info)])[2] == ["thing: thing.py was changed"]


def test_other_versions_than_the_locked_are_told(tmp_path: Path) -> None:
    for name, version in (("same_one", "1"), ("other", "2"), ("new", "3"), ("nncift", "9")):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    installed = [PathDistribution(place) for place in tmp_path.iterdir()]
    assert audit.unlike_the_lock(installed, {"same-one": "1", "other": "1"}) == [
        "new 3 (not locked)",
        "other 2 (locked: 1)",
    ]


def test_the_lock_has_a_hash_for_every_package_that_is_asked_for() -> None:
    lines = [line for line in lock.LOCK.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    project = tomllib.loads((lock.ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *project["optional-dependencies"]["offline"],
        *project["optional-dependencies"]["dev"],
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", one)[0].lower().replace("_", "-") for one in asked} - {"nncift"}  # pyright: ignore
    assert names <= lock.locked().keys()
    for line in (lock.ROOT / "constraints.txt").read_text().split():
        name, version = line.split("==")
        assert lock.locked()[name].partition("+")[0] == version


def test_a_lock_tells_names_versions_and_hashes_alone() -> None:
    own = {"metadata": {"name": "nncift", "version": "1"}, "download_info": {"url": "file:///a", "dir_info": {}}}
    other = {"metadata": {"name": "Thing", "version": "2"},
             "download_info": {"url": "https://host/thing.whl", "archive_info": {"hashes": {"sha256": "0" * 64}}}}  # fmt: skip
    machine = {"python_version": "3.11", "platform_system": "Linux", "platform_machine": "x86_64"}
    text = lock.lock_of({"install": [other, own], "environment": machine})
    assert text.splitlines()[-1] == "thing==2 --hash=sha256:" + "0" * 64 and "host" not in text and "nncift" not in text
