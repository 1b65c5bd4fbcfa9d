"""How this package compiles: serial machine code without the interpreter lock, kept on disk where that is possible."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba

from nncift.errors import ConfigError

_log = logging.getLogger(__name__)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles a function on its first call and keeps the machine code beside the source or in the user's cache folder.

    Products may be fused with the addition that follows (`contract`); nothing is reordered and NaN stays NaN. Functions
    are serial on purpose: numba's own threading layer aborts when two Python threads enter it, so blocks of rows are
    spread over threads by `over_blocks` instead.

    Where no folder can be written (a read-only container), the code is compiled anew in each process.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}}
    try:
        return cast(_Function, numba.njit(cache=True, **options)(function))
    except RuntimeError as error:
        _log.info("compiled code is not kept: %s", error)
        return cast(_Function, numba.njit(**options)(function))


def over_blocks(task: Callable[[int, int], None], count: int, *, threads: int = 0, multiple: int = 1) -> None:
    """Calls `task(start, stop)` for consecutive blocks that cover `range(count)`, on several threads.

    For a task that writes only what belongs to its block, so that the result cannot depend on the number of threads.

    Args:
        task: releases the interpreter lock while it works.
        count: number of rows.
        threads: at most this many at once; 0 means every core this process may use.
        multiple: every block starts at a multiple of this.

    Raises:
        ConfigError: `threads` is negative.
    """
    if threads < 0:
        raise ConfigError(f"threads is {threads}; it must be 0 (all cores) or more.")
    threads = threads or cores()
    blocks = 1 if threads == 1 else 4 * threads  # four each, so that a slow core is not waited for
    size = multiple * max(1, -(-count // (multiple * blocks)))
    starts = range(0, count, size)
    if len(starts) <= 1:
        task(0, count)
        return
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(lambda start: task(start, min(start + size, count)), starts))


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
