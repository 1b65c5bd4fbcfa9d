"""The labelling stage: exact influences of the chosen pairs, and the file that holds them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.data.rows import ids_of
from nncift.errors import RunError
from nncift.influence.base import Context, Exacting, Influence, Session
from nncift.ledger import Ledger
from nncift.pipeline.inputs import Axes, kernel_shape
from nncift.pipeline.journal import Filed, Journal, Labelling
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder, Work

log = logging.getLogger(__name__)

_CHUNK = 4096  # rows whose responses are in memory at once


def label_stage(
    folder: RunFolder, labelling: Labelling, context: Callable[[Ledger], Context], reporter: Reporter
) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`; `context` loads the models and is only called where a block is missing."""

    def work(done: Work) -> None:
        filed = Teacher(labelling.influence, context, reporter).label(Journal(folder, labelling))
        tell(done, [filed], labelling.axes)
        write_labels(folder, "labels.npz", labelling, filed.y)
        done.files.append("labels.npz")
        done.facts["labels"] = len(filed.y)

    return work


class Teacher:
    """An influence function that is started when its first label is needed, and kept for the next round."""

    def __init__(self, influence: Influence, context: Callable[[Ledger], Context], reporter: Reporter) -> None:
        self.influence = influence
        self.context = context
        self.reporter = reporter
        self.ledger = Ledger()
        self.session: Session | None = None

    def label(self, journal: Journal) -> Filed:
        """Fills what a journal lacks, and gives all of it."""
        missing = journal.missing()
        if missing or not journal.started():
            session = self.session or self._start(journal)
            count = len(journal.labelling.pairs[0])
            self.reporter.begin("label", count + len(journal.targets), "scores")
            self.reporter.advance(journal.done_already())
            for part in missing:
                journal.fill(part, session, self.ledger, self.reporter)
            self.reporter.end(f"{count:,} exact influences")
        return journal.collect()

    def _start(self, journal: Journal) -> Session:
        ready = self.context(self.ledger)
        clock = Clock()
        self.session = self.influence.start(ready)
        weights = sum(lm.weights for lm in ready.lms)
        journal.note_start(self.ledger, clock, unscorable_rows(self.influence, ready), weights)
        return self.session


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


def unscorable_rows(influence: Influence, context: Context) -> dict[int, str]:
    """Positions of candidates that cannot be scored, labelled or not: the influence says so, or the response has no token
    for the language model."""
    if isinstance(influence, Exacting):
        return dict.fromkeys(influence.unscorable(context), "no token to score")
    if not context.lms:
        return {}
    tokenizer, silent = context.lms[0].tokenizer, {}
    for start in range(0, len(context.pool), _CHUNK):
        responses = [row.response for row in context.pool[start : start + _CHUNK]]
        ids = tokenizer(responses, add_special_tokens=False, verbose=False)["input_ids"]
        silent |= {start + k: "its response has no token" for k, tokens in enumerate(ids) if not tokens}
    return silent


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
        return None
    return labels_of(stored, labelling) if labelling.made(str(stored.get("meta"))) else None
