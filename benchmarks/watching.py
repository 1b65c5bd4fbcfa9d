"""What one process spends and holds, seen from outside.

The peak that `wait4` tells (`ru_maxrss`) is no use for this: a child begins with its parent's peak, so that a small run
started by a large process would be as large as that. `VmHWM` begins anew with the program; it never falls, so that the
last look before the end misses only what is first held within one interval.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds and the most bytes resident at once, mapped files counted; `status` as of `Popen.returncode`."""

    cpu_seconds: float
    peak_bytes: int
    status: int


def watch(process: subprocess.Popen[bytes]) -> Spent:
    """Waits for its end (Linux)."""
    peak = 0
    while True:
        peak = max(peak, _peak(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits for it again
            return Spent(usage.ru_utime + usage.ru_stime, peak, process.returncode)
        time.sleep(INTERVAL)


def _peak(pid: int) -> int:
    """0 once it has ended: its memory is gone before it is."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
