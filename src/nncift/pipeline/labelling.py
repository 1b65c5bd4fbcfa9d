"""The labelling stage: exact influences of the chosen pairs, and the file that holds them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.data.rows import ids_of
from nncift.errors import RunError
from nncift.pipeline.desk import Hired, ask
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.pipeline.journal import Filed, Journal, Labelling
from nncift.pipeline.questions import Begin
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder, Work
from nncift.scale.executor import Crew, spread_over

log = logging.getLogger(__name__)


def label_stage(folder: RunFolder, labelling: Labelling, hired: Hired, reporter: Reporter) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`; workers load the models, and only where a block is missing."""

    def work(done: Work) -> None:
        with closing(Teacher(hired, reporter)) as teacher:
            journal = Journal(folder, labelling)
            filed = teacher.label(journal)
        tell(done, [filed], labelling.axes)
        write_labels(folder, "labels.npz", labelling, filed.y)
        done.files.append("labels.npz")
        done.facts["labels"] = len(filed.y)
        done.facts |= teacher.spread([journal])

    return work


class Teacher:
    """Workers that hold an influence function, started when their first label is needed, and kept for the next round."""

    def __init__(self, hired: Hired, reporter: Reporter) -> None:
        self.hired = hired
        self.reporter = reporter
        self.crew: Crew | None = None
        self.peak = 0

    def label(self, journal: Journal) -> Filed:
        """Fills what a journal lacks, and gives all of it."""
        missing = journal.missing()
        if missing or not journal.started():
            crew = self.crew or self._start(journal)
            count = len(journal.labelling.pairs[0])
            self.reporter.begin("label", count + len(journal.targets), "scores")
            self.reporter.advance(journal.done_already())
            self._fill(crew, journal, [name for name in missing if name in journal.heads], None)
            blocks = [name for name in missing if name in journal.blocks]
            self._fill(crew, journal, blocks, journal.prepared() if blocks else None)
            self.reporter.end(f"{count:,} exact influences")
        return journal.collect()

    def spread(self, journals: Sequence[Journal]) -> dict[str, Any]:
        """What the receipt says of shards; nothing where one worker did all in this thread."""
        executor = self.hired.executor
        if executor.name == "serial":
            return self.hired.facts()
        count = sum(len(journal.heads) + len(journal.blocks) for journal in journals)
        return {"shards": spread_over(executor, count) | {"peak_memory": self.peak}}

    def close(self) -> None:
        """Lets the workers go."""
        if self.crew is not None:
            self.crew.close()

    def _start(self, journal: Journal) -> Crew:
        clock = Clock()
        self.crew = self.hired.executor.crew(self.hired.make)
        for answer in self.crew.each(ask, [Begin()]):
            journal.note_start(answer, clock)
        return self.crew

    def _fill(self, crew: Crew, journal: Journal, names: list[str], prepared: dict[str, ndarray] | None) -> None:
        clock = Clock()
        answers = crew.each(ask, (journal.asks(name) for name in names), shared=prepared)
        for name, answer in zip(names, answers, strict=True):
            journal.file(name, answer, clock, self.reporter)
            self.peak, clock = max(self.peak, answer.spent.peak), Clock()


def tell(done: Work, filed: Sequence[Filed], axes: Axes) -> None:
    """Costs, truncations and rows that cannot be scored, of all rounds, go to the stage."""
    truncated: dict[str, str] = {}
    barred: dict[int, str] = {}
    for one in filed:
        done.ledger.add(one.ledger)
        for kind, spent in one.times.items():
            done.times[kind] = done.times.get(kind, 0.0) + spent
        truncated |= one.truncated
        barred |= one.barred
        if one.lm_weights is not None:
            done.facts["lm_weights"] = one.lm_weights
    done.ledger.truncated = len(truncated)
    if truncated:
        done.facts["truncated"] = dict(sorted(truncated.items()))
        done.note("truncated", f"{len(truncated)} rows lost text to the context limit; stages.json lists them")
    if barred:
        done.facts["barred"] = {str(k): {"id": axes.columns[k].id, "why": why} for k, why in sorted(barred.items())}
        count = sum(k < axes.n for k in barred)
        done.note(
            "barred", f"{count} of {axes.n} pool rows cannot be scored and are never picked; stages.json lists them"
        )


def write_labels(folder: RunFolder, name: str, labelling: Labelling, y: ndarray) -> None:
    """Writes `i`, `j`, `y`, `target_ids`, `pool_ids` and `meta` (a JSON string), and the dense `values` (NaN where a pair has
    no label because both sides have the same text) where every pair is labelled."""
    axes = labelling.axes
    i, j = labelling.pairs
    arrays = {
        "i": i,
        "j": j,
        "y": y,
        "target_ids": np.array(ids_of(axes.rows), dtype=np.str_),
        "pool_ids": np.array(ids_of(axes.columns), dtype=np.str_),
        "meta": np.array(labelling.meta_text),
    }
    shape = kernel_shape(axes)
    if len(y) + len(axes.masked) == shape[0] * shape[1]:  # minus infinity stands in the columns of barred rows
        arrays["values"] = Labels(i, j, y, shape).dense()
    with folder.atomic(name) as part:
        write_npz(part, arrays)


def remove_journal(folder: RunFolder, labelling: Labelling) -> None:
    """Deletes the blocks; called once the stage is recorded, so that a kill before that loses none of them."""
    shutil.rmtree(folder.path / replace(labelling, round=None).journal, ignore_errors=True)


def set_aside(folder: RunFolder, labelling: Labelling | None) -> None:
    """Renames a labels file that this run does not use, so that no exact influence is ever lost to another run."""
    path = folder.path / "labels.npz"
    if not path.is_file():
        return
    try:
        meta = str(read_npz(path).get("meta"))
    except RunError:
        return  # damaged; the stage finds out and computes it again
    if labelling is None or meta != labelling.meta_text:
        kept = path.with_name(f"labels-{sha256(meta.encode()).hexdigest()[:8]}.npz")
        path.replace(kept)
        log.warning("the exact influences of the run that was here before are kept as %s", kept)


def labels_of(stored: dict[str, ndarray], labelling: Labelling) -> Labels:
    """All labels but those of barred rows, which are minus infinity."""
    return Labels(stored["i"], stored["j"], stored["y"], kernel_shape(labelling.axes)).take(np.isfinite(stored["y"]))


def kept_labels(path: Path, labelling: Labelling) -> Labels | None:
    """The labels of an earlier call with the same options and rows, or None."""
    if not path.is_file():
        return None
    try:
        stored = read_npz(path)
    except RunError:
        log.warning("%s is damaged; it is computed again", path)
        return None
    return labels_of(stored, labelling) if labelling.made(str(stored.get("meta"))) else None
