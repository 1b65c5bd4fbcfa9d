"""How much memory there is, and how much of it a run may use."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from nncift.errors import ConfigError

_MEMINFO, _CGROUPS, _OWN = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def memory() -> int:
    """Bytes of memory that this process can have at most: the machine's, or its container's where that has less."""
    here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([here, *(limit for limit, _ in _limits())])


def available() -> int:
    """Bytes that can still be had without swapping: what the system calls available, or what is left in the container."""
    left = [limit - used for limit, used in _limits()]
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        left.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    return max(0, min(left)) if left else memory()


def allowed(text: str) -> int | None:
    """Bytes that `--memory` allows, None for any number.

    Args:
        text: `auto` (what is available, and what this process holds already), a size such as `8GB`, or `0` for no limit.

    Raises:
        ConfigError: it is no size.
    """
    if text.strip().lower() == "auto":
        return available() + _held()
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kmgt]i?)?b?\s*", text, re.IGNORECASE)
    if match is None:
        raise ConfigError(
            f"--memory {text!r} is no size. Write for example 8GB; auto is what is available, 0 no limit."
        )
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()]) or None


def _held() -> int:
    """Bytes that this process holds already, pages of files not counted."""
    with suppress(OSError, ValueError, IndexError):
        resident, shared = map(int, Path("/proc/self/statm").read_text(encoding="ascii").split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _limits() -> list[tuple[int, int]]:
    """(limit, used) of the control groups that this process is in, both versions, as far as they limit memory."""
    found = []
    for folder in _groups():
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                most = int((folder / limit).read_text())  # "max" is no number: no limit
                if most < 1 << 60:
                    found.append((most, int((folder / used).read_text()) - _cached(folder)))
    return found


def _groups() -> list[Path]:
    found = [_CGROUPS, _CGROUPS / "memory"]
    with suppress(OSError):
        for line in _OWN.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            if "memory" in kinds.split(",") or not kinds:
                group = (_CGROUPS / "memory" if kinds else _CGROUPS) / path.lstrip("/")
                found += [one for one in (group, *group.parents) if one.is_relative_to(_CGROUPS) and one not in found]
    return found


def _cached(folder: Path) -> int:
    """Pages of files that a group holds and would give back."""
    for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0
