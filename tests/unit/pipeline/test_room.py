"""How much memory there is: the machine's, or what is left of a container's limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nncift.errors import ConfigError
from nncift.pipeline import room

HERE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which 5 GB are available, without groups."""
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    5000000 kB\n")
    (tmp_path / "own").write_text("0::/jobs/one\n")
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(room, "_OWN", tmp_path / "own")
    monkeypatch.setattr(room, "_CGROUPS", tmp_path / "groups")
    return tmp_path


def limit(
    group: Path, most: str, used: int, file: int = 0, *, names: tuple[str, str] = ("memory.max", "memory.current")
) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / names[0]).write_text(f"{most}\n")
    (group / names[1]).write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 3\ninactive_file {file}\n")


def test_without_a_group_it_is_what_the_system_calls_available(system: Path) -> None:
    assert room.available() == 5_000_000 * 1024 and room.memory() == HERE


def test_a_group_that_leaves_less_decides(system: Path) -> None:
    limit(system / "groups" / "jobs" / "one", "4000000", 3_000_000, file=500_000)
    assert room.available() == 4_000_000 - 3_000_000 + 500_000
    assert room.memory() == 4_000_000


def test_the_group_around_it_may_decide(system: Path) -> None:
    limit(system / "groups" / "jobs" / "one", "max", 1)
    limit(system / "groups" / "jobs", "2000000", 1_999_000)
    assert room.available() == 1_000 and room.memory() == 2_000_000


def test_the_first_version_of_groups(system: Path) -> None:
    (system / "own").write_text("9:cpu,cpuacct:/x\n7:memory:/docker/ab\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limit(system / "groups" / "memory", str(1 << 63), 5, names=names)  # how that version writes "no limit"
    limit(system / "groups" / "memory" / "docker" / "ab", "7000000", 6_000_000, names=names)
    assert room.available() == 1_000_000 and room.memory() == 7_000_000


def test_more_used_than_allowed_is_none_left(system: Path) -> None:
    limit(system / "groups" / "jobs", "1000", 2_000)
    assert room.available() == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8e9), ("500 mb", 5e8), ("1.5GiB", 1.5 * 2**30), ("2g", 2e9), (".5TB", 5e11), ("10", 10), ("0", None)],
)  # fmt: skip
def test_sizes(text: str, count: float | None) -> None:
    assert room.allowed(text) == count


def test_auto_counts_what_the_process_holds_already(system: Path) -> None:
    found = room.allowed("auto")
    assert found is not None and found > room.available() + 10_000_000


@pytest.mark.parametrize("text", ["much", "8 GB of it", "-1GB", "", "80%"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        room.allowed(text)
