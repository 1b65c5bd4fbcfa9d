"""What `make audit` makes of answers and of installed files."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from importlib.metadata import PathDistribution
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[3] / "benchmarks" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_package_that_was_not_looked_up_is_not_called_clean(audit: ModuleType) -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
    skipped, own = {"name": "c", "skip_reason": "not found"}, {"name": "nncift", "skip_reason": "not found"}
    assert audit.verdict_of([sound, own])[0] == audit.CLEAN
    assert audit.verdict_of([sound, skipped])[0] == audit.UNREACHED
    verdict, words = audit.verdict_of([sound, bad, skipped])
    assert verdict == audit.HOLES and "b 2: PYSEC-1" in words and "(c" in words


def test_a_file_that_is_not_the_wheels_is_found(audit: ModuleType, tmp_path: Path) -> None:
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
