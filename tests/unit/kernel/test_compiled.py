"""How blocks are spread over threads, and what happens where nothing can be written."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from nncift.kernel.compiled import compiled, over_blocks


@pytest.mark.parametrize("count", [0, 1, 3, 4, 17, 1000])
@pytest.mark.parametrize("threads", [0, 1, 2, 7])
@pytest.mark.parametrize("multiple", [1, 4])
def test_blocks_cover_every_row_once(count: int, threads: int, multiple: int) -> None:
    seen = np.zeros(count, dtype=int)
    starts = []

    def task(start: int, stop: int) -> None:
        seen[start:stop] += 1
        starts.append(start)

    over_blocks(task, count, threads=threads, multiple=multiple)
    assert (seen == 1).all()
    assert all(start % multiple == 0 for start in starts)


def test_an_error_in_a_block_is_raised() -> None:
    def task(start: int, stop: int) -> None:
        raise ValueError(f"block {start}")

    with pytest.raises(ValueError, match="block 0"):
        over_blocks(task, 100, threads=2)


def test_compiles_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def without_folder(*function: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*function, **options)  # numba itself decorates without options where this compiles before all else

    monkeypatch.setattr(numba, "njit", without_folder)
    assert compiled(_double)(21) == 42


def _double(x: int) -> int:
    return 2 * x


def test_the_rooms_import_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, nncift.kernel.factorised\n"
        "import nncift.objective.greedy, nncift.objective.coverage, nncift.objective.modular\n"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
