"""The labelling stage: exact influences of the chosen pairs, and the file that holds them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from hashlib import sha256

import numpy as np
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.data.rows import ids_of
from nncift.errors import RunError
from nncift.influence.base import Context, Exacting, Influence
from nncift.ledger import Ledger
from nncift.pipeline.inputs import kernel_shape
from nncift.pipeline.journal import Journal, Labelling
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder, Work

log = logging.getLogger(__name__)

_CHUNK = 4096  # rows whose responses are in memory at once


def label_stage(
    folder: RunFolder, labelling: Labelling, context: Callable[[Ledger], Context], reporter: Reporter
) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`; `context` loads the models and is only called where a block is missing."""

    def work(done: Work) -> None:
        journal = Journal(folder, labelling)
        missing = journal.missing()
        if missing or not journal.started():
            ledger = Ledger()
            ready = context(ledger)
            clock = Clock()
            session = labelling.influence.start(ready)
            weights = sum(lm.weights for lm in ready.lms)
            journal.note_start(ledger, clock, unscorable_rows(labelling.influence, ready), weights)
            reporter.begin("label", len(labelling.pairs[0]) + len(journal.targets), "scores")
            reporter.advance(journal.done_already())
            for part in missing:
                journal.fill(part, session, ledger, reporter)
            reporter.end(f"{len(labelling.pairs[0]):,} exact influences")
        y = journal.collect(done)
        write_labels(folder, "labels.npz", labelling, y)
        done.files.append("labels.npz")
        done.facts["labels"] = len(y)

    return work


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
    shutil.rmtree(folder.path / labelling.journal, ignore_errors=True)


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
