"""Fills the kernels of a run, from exact labels or from the estimator, laid out as the objectives take them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.base import Fitted
from nncift.influence.base import BlockSession, Session
from nncift.objective.base import Kernels
from nncift.pipeline.features import Readable
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.progress import Reporter

_SHARE_OF_MEMORY = 0.6


@dataclass(frozen=True, slots=True)
class Filled:
    """The whole kernel in the three blocks that objectives know, candidate-major, float32.

    Attributes:
        target: [n, m].
        pool: [n, n] or None.
        existing: [e, m] or None.
        flops: estimated floating-point operations of predicting them; 0 where nothing was predicted.
    """

    target: Float32[ndarray, "n m"]
    pool: Float32[ndarray, "n n"] | None
    existing: Float32[ndarray, "e m"] | None
    flops: int = 0


def kernel_bytes(axes: Axes) -> int:
    """Memory of all kernels of a run."""
    rows, columns = kernel_shape(axes)
    return 4 * (rows * axes.n + axes.m * (columns - axes.n))


def refuse_if_too_large(axes: Axes) -> None:
    """Refuses before anything is spent where the kernels cannot fit.

    Raises:
        ConfigError: with the arithmetic and what to lower.
    """
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = kernel_bytes(axes)
    if need > _SHARE_OF_MEMORY * have:
        rows, columns = kernel_shape(axes)
        beside = 4 * (rows - axes.m) * axes.n
        fits = int((_SHARE_OF_MEMORY * have - beside) / (4 * columns))
        mend = (
            f"Lower --max-targets to at most {fits:,}."
            if fits > 0
            else "Use --objective flvmi, which needs no pool × pool kernel."
        )
        raise ConfigError(
            f"the kernels of {rows:,} rows × {columns:,} candidates take {need / 1e9:.1f} GB, more than "
            f"{_SHARE_OF_MEMORY:.0%} of this machine's {have / 1e9:.1f} GB. {mend}"
        )


def from_estimator(estimator: Fitted, axes: Axes, seen: Readable, labels: Labels | None, *, threads: int) -> Filled:
    """Predicts every pair; where `labels` are given they replace the predictions of their pairs."""
    everyone, whole = seen.rows, len(seen.columns)
    pool, existing = (seen.columns.take(np.arange(*span)) for span in ((0, axes.n), (axes.n, whole)))
    target = None if everyone is None else everyone.take(np.arange(axes.m))
    kernels = {"target": estimator.kernel(target, pool)}
    if everyone is not None and len(everyone) > axes.m:
        kernels["pool"] = estimator.kernel(everyone.take(np.arange(axes.m, len(everyone))), pool)
    if len(existing):
        kernels["existing"] = estimator.kernel(target, existing)
    blocks = {name: kernel.fill(threads) for name, kernel in kernels.items()}
    flops = sum(kernel.flops for kernel in kernels.values())
    filled = Filled(blocks["target"], blocks.get("pool"), blocks.get("existing"), flops)
    if labels is not None:
        _put(filled, axes, labels)
    return filled


def from_labels(axes: Axes, labels: Labels) -> Filled:
    """Exact kernels; every pair but the masked ones has a label."""
    filled = _empty(axes)
    _put(filled, axes, labels)
    return filled


def from_session(axes: Axes, session: Session, reporter: Reporter) -> Filled:
    """Exact kernels of a free influence, some candidates at a time, without a list of all pairs."""
    filled = _empty(axes)
    rows, columns = kernel_shape(axes)
    every = np.arange(rows, dtype=np.int32)
    prepared = session.prepare(every, on_progress=lambda count: None)
    step = max(1, (1 << 22) // rows)
    reporter.begin("fill", columns, "rows")
    for start in range(0, columns, step):
        j = np.arange(start, min(start + step, columns), dtype=np.int32)
        if isinstance(session, BlockSession):
            values = session.block(slice(start, start + len(j)))
        else:
            y = session.label(np.tile(every, len(j)), np.repeat(j, rows), prepared, on_progress=lambda count: None)
            values = y.reshape(len(j), rows)
        _put_rows(filled, axes, j, values)
        reporter.advance(len(j))
    reporter.end(f"{rows * columns:,} exact influences")
    return filled


def bar(filled: Filled, barred: Int[ndarray, " b"]) -> None:
    """Writes over the entries of candidates that cannot be scored what is worth nothing: the lowest of each row."""
    n = len(filled.target)
    own, known = barred[barred < n], barred[barred >= n] - n
    for kernel in (filled.target, filled.pool):
        if kernel is not None and len(own):
            kernel[own] = np.inf
            kernel[own] = kernel.min(axis=0)
    if filled.existing is not None and len(known):
        filled.existing[known] = filled.target.min(axis=0)


def kernels(filled: Filled, axes: Axes) -> Kernels:
    """As an objective takes them: pairs of the same text are masked, and an existing row with the text of a represented row
    covers it as well as anything can."""
    masked = axes.masked
    i, j = masked[:, 0], masked[:, 1]
    among_targets = i < axes.m
    if filled.existing is not None:
        twins = masked[among_targets & (j < axes.n)]
        known = masked[among_targets & (j >= axes.n)] - np.array([0, axes.n])
        lowest = min(filled.target.min(), filled.existing.min())
        filled.target[twins[:, 1], twins[:, 0]] = lowest  # what stands in masked pairs must not decide
        filled.existing[known[:, 1], known[:, 0]] = lowest
        filled.existing[known[:, 1], known[:, 0]] = max(filled.target.max(), filled.existing.max())
    in_pool = j < axes.n
    return Kernels(
        filled.target,
        filled.pool,
        filled.existing,
        masked[among_targets & in_pool],
        masked[~among_targets & in_pool] - np.array([axes.m, 0]),
        axes.tasks,
    )


def _empty(axes: Axes) -> Filled:
    rows, columns = kernel_shape(axes)
    return Filled(
        np.zeros((axes.n, axes.m), dtype=np.float32),
        np.zeros((axes.n, rows - axes.m), dtype=np.float32) if rows > axes.m else None,
        np.zeros((columns - axes.n, axes.m), dtype=np.float32) if columns > axes.n else None,
    )


def _put(filled: Filled, axes: Axes, labels: Labels) -> None:
    """Writes labels into the block each belongs to."""
    i, j, y = labels.i, labels.j, labels.y
    target, pool = (i < axes.m) & (j < axes.n), (i >= axes.m) & (j < axes.n)
    filled.target[j[target], i[target]] = y[target]
    if filled.pool is not None:
        filled.pool[j[pool], i[pool] - axes.m] = y[pool]
    if filled.existing is not None:
        known = (i < axes.m) & (j >= axes.n)
        filled.existing[j[known] - axes.n, i[known]] = y[known]


def _put_rows(filled: Filled, axes: Axes, j: ndarray, values: Float32[ndarray, "c m"]) -> None:
    """Writes whole candidates into the blocks."""
    inside = j < axes.n
    filled.target[j[inside]] = values[inside, : axes.m]
    if filled.pool is not None:
        filled.pool[j[inside]] = values[inside, axes.m :]
    if filled.existing is not None:
        filled.existing[j[~inside] - axes.n] = values[~inside, : axes.m]
