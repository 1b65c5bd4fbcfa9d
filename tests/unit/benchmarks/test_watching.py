"""What a child is seen to hold is its own, whatever its parent held before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks.watching import watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def test_a_child_of_a_large_parent_is_small() -> None:
    large = np.ones(75_000_000)  # 600 MB
    spent = watch(subprocess.Popen([sys.executable, "-c", "import time; held = b'a' * 100_000_000; time.sleep(0.2)"]))
    assert large.all() and spent.status == 0
    assert 1e8 < spent.peak_bytes < 3e8


def test_the_peak_is_the_highest_and_a_killed_child_is_told() -> None:
    code = "import time; held = b'a' * 300_000_000; time.sleep(.2); del held; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch, process)
        assert process.stdout is not None and process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        spent = watching.result(30)
        process.stdout.close()
    assert spent.status == -signal.SIGKILL and spent.cpu_seconds > 0 and 3e8 < spent.peak_bytes < 5e8
