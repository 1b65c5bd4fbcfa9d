"""The most memory that a piece of work takes over what the process held before."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_over_baseline(run: Callable[[], object]) -> float | None:
    """Bytes of resident memory at the highest, less those before; None where the system does not say.

    What the allocator holds back is returned to the system first, or work could hide in it.
    """
    if not sys.platform.startswith("linux") or not _RESET.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    try:
        _RESET.write_text("5")  # the high-water mark starts anew
    except OSError:
        return None
    kept = run()
    most = _resident("VmHWM")
    del kept
    return max(0.0, most - before)


def _resident(field: str) -> float:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{field}:"):
            return 1024.0 * int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")
