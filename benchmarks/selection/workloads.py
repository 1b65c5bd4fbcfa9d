"""Workloads by name, imported on first use: a process for one does not carry what the others import."""

from __future__ import annotations

from importlib import import_module

from benchmarks.selection.workload import Workload

_PLACES = {
    "fill": ("fill", "FILL"),
    "facility": ("coverage", "FACILITY"),
    "conditional": ("coverage", "CONDITIONAL"),
    "matrix-free": ("matrix_free", "MATRIX_FREE"),
    "means": ("means", "MEANS"),
}


def load(name: str) -> Workload:
    """A workload by its name."""
    module, attribute = _PLACES[name]
    return getattr(import_module(f"benchmarks.selection.{module}"), attribute)
