"""The kernels of a run, from exact labels, from a free influence or from the estimator, as objectives take them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from nncift.data.labels import Labels
from nncift.estimator.base import Fitted
from nncift.estimator.features import Features
from nncift.influence.base import BlockSession, FactoredSession, Session
from nncift.kernel.base import Kernel
from nncift.kernel.corrected import CorrectedKernel
from nncift.kernel.lines import MASKED, ClosedLines, DenseLines, Lines
from nncift.kernel.lowrank import LowRankKernel
from nncift.objective.base import Kernels
from nncift.objective.spread import Spread
from nncift.pipeline.blocks import Block, blocks
from nncift.pipeline.features import Readable
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.pipeline.route import Backend
from nncift.progress import Reporter


@dataclass(frozen=True, slots=True)
class Filling:
    """How the kernels of a run are laid out.

    Attributes:
        axes: of the run.
        backend: stored or not.
        barred: positions of candidates that cannot be scored; they count for nothing.
        threads: at most so many at once; 0 for all cores.
        spread: workers elsewhere who share what is computed line by line.
    """

    axes: Axes
    backend: Backend
    barred: Int[ndarray, " b"]
    threads: int
    spread: Spread | None = None

    def from_estimator(self, estimator: Fitted, seen: Readable, labels: Labels | None) -> tuple[Kernels, int]:
        """Predicts every pair; where `labels` are given they replace the predictions of their pairs. Also the estimated
        floating-point operations of one walk over all."""
        found: dict[str, Lines] = {}
        flops = 0
        for block in blocks(self.axes):
            everyone = seen.rows
            rows = None if everyone is None else _part(everyone, block.rows)
            kernel = estimator.kernel(rows, _part(seen.columns, block.columns))
            flops += kernel.flops
            known = _nothing(block) if labels is None else block.labels(labels)
            found[block.name] = self._lines(kernel, block, known)
        return self._kernels(found), flops

    def from_labels(self, labels: Labels) -> Kernels:
        """Exact kernels; every pair has a label but the masked ones and those of barred candidates."""
        found: dict[str, Lines] = {}
        for block in blocks(self.axes):
            rows, columns = block.shape
            values, here = np.full((columns, rows), MASKED), block.labels(labels)
            values[here.j, here.i] = here.y
            found[block.name] = DenseLines(values)
        return self._kernels(found)

    def from_session(self, session: Session, reporter: Reporter) -> Kernels:
        """Exact kernels of a free influence, some candidates at a time, without a list of all pairs."""
        factors = session.factors if isinstance(session, FactoredSession) else None
        if self.backend == "tiled":
            assert factors is not None  # `choose_route` was told
            found = {b.name: self._lines(_product(factors, b), b, _nothing(b)) for b in blocks(self.axes)}
            return self._kernels(found)
        parts = {block.name: np.empty(block.shape[::-1], dtype=np.float32) for block in blocks(self.axes)}
        rows, columns = kernel_shape(self.axes)
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
            for block in blocks(self.axes):
                here = (j >= block.columns.start) & (j < block.columns.stop)
                parts[block.name][j[here] - block.columns.start] = values[here, block.rows]
            reporter.advance(len(j))
        reporter.end(f"{rows * columns:,} exact influences")
        return self._kernels({block.name: self._stored(parts[block.name], block) for block in blocks(self.axes)})

    def _lines(self, kernel: Kernel, block: Block, labels: Labels) -> Lines:
        """A kernel with what is known of it, stored or not."""
        corrected = CorrectedKernel(kernel, labels.i, labels.j, labels.y, block.inside(self.axes.masked))
        if self.backend == "dense":
            return self._stored(corrected.fill(self.threads), block)
        return corrected.lines()

    def _stored(self, values: Float32[ndarray, "c r"], block: Block) -> DenseLines:
        masked = block.inside(self.axes.masked)
        values[masked[:, 1], masked[:, 0]] = MASKED
        return DenseLines(values)

    def _kernels(self, found: dict[str, Lines]) -> Kernels:
        axes, of_target = self.axes, self._closed(found["target"], 0)
        masked = {block.name: block.inside(axes.masked) for block in blocks(axes)}
        twins = axes.masked[axes.masked[:, 1] >= axes.n, 0]  # rows whose text an existing row has
        kernels = Kernels(
            of_target,
            self._closed(found["pool"], 0) if "pool" in found else None,
            self._closed(found["existing"], axes.n) if "existing" in found else None,
            self._closed(found["existing_pool"], axes.n) if "existing_pool" in found else None,
            masked=masked["target"],
            known=np.unique(twins[twins < axes.m]),
            known_pool=np.unique(twins[twins >= axes.m]) - axes.m,
            groups=axes.tasks,
            threads=self.threads,
            spread=self.spread,
        )
        if "pool" in found:
            return replace(kernels, masked_pool=masked["pool"])
        if axes.own_target and axes.m == axes.n:  # one kernel is both
            return replace(kernels, pool=of_target, masked_pool=masked["target"])
        return kernels

    def _closed(self, lines: Lines, first: int) -> Lines:
        """The lines of candidates that stand from `first` on, those that are barred closed."""
        closed = np.zeros(lines.shape[0], dtype=np.bool_)
        here = self.barred[(self.barred >= first) & (self.barred < first + len(closed))] - first
        if not len(here):
            return lines
        if isinstance(lines, DenseLines):
            lines.values[here] = MASKED
            return lines
        closed[here] = True
        return ClosedLines(lines, closed)


def _part(features: Features, which: slice) -> Features:
    """The features of some rows; all of them as they are."""
    if which == slice(0, len(features)):
        return features
    return features.take(np.arange(which.start, which.stop))


def _nothing(block: Block) -> Labels:
    """No label."""
    none = np.empty(0, dtype=np.int32)
    return Labels(none, none, np.empty(0, dtype=np.float32), block.shape)


def _product(factors: tuple[ndarray, ndarray], block: Block) -> LowRankKernel:
    """The kernel of an influence that is an inner product."""
    rows, columns = factors
    target, pool = rows[block.rows], columns[block.columns]
    return LowRankKernel(0.0, np.zeros(len(target)), np.zeros(len(pool)), target, pool)
