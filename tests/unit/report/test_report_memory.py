"""What the report reads of large files does not become memory of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nncift.report.landscape import _vectors

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from nncift.report.landscape import _vectors

def peak():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])

before = peak()
_vectors(Path(sys.argv[1]), np.arange(0, 300_000, 60))
print(peak() - before)
"""


def test_vectors_are_those_of_the_file(tmp_path: Path) -> None:
    made = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    np.save(tmp_path / "v.npy", made)
    for at in (np.arange(0), np.array([699]), np.random.default_rng(1).permutation(700)[:333]):
        assert np.array_equal(_vectors(tmp_path / "v.npy", at), made[at])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's own account")
def test_vectors_from_all_over_a_file_do_not_map_all_of_it(tmp_path: Path) -> None:
    place = tmp_path / "v.npy"
    np.save(place, np.ones((300_000, 256), dtype=np.float32))  # 307 MB, of which 5 MB are asked for
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(place)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000, "kB"
