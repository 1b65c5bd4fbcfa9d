"""The labelling stage: exact influences of the chosen pairs, block by block, so that a kill loses at most one block."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.data.labels import Labels
from nncift.errors import ModelError, RunError
from nncift.influence.base import Context, Influence, Session
from nncift.ledger import Ledger
from nncift.pipeline.inputs import Axes
from nncift.progress import Reporter
from nncift.run import RunFolder, Work

log = logging.getLogger(__name__)

BLOCK = 256  # pairs: about ten seconds of a 270M model on two cores; larger runs get at most 4,000 blocks

_NOTE = "__note"

Pairs = tuple[Int[ndarray, " L"], Int[ndarray, " L"]]


@dataclass(frozen=True, slots=True)
class Labelling:
    """What is to be labelled.

    Attributes:
        influence: the teacher.
        axes: rows and columns of the kernel.
        pairs: (i, j), sorted by (j, i).
        meta: goes into the labels file, and into the key of the stage.
    """

    influence: Influence
    axes: Axes
    pairs: Pairs
    meta: dict[str, Any]

    @property
    def meta_text(self) -> str:
        """`meta` as the JSON text that the labels file holds."""
        return json.dumps(self.meta, sort_keys=True)

    @property
    def journal(self) -> str:
        """The folder of the blocks, named by what they depend on."""
        return f"labels-{sha256(self.meta_text.encode()).hexdigest()[:8]}"


def label_stage(
    folder: RunFolder, labelling: Labelling, context: Callable[[Ledger], Context], reporter: Reporter
) -> Callable[[Work], None]:
    """The work of the stage, for `RunFolder.stage`; `context` loads the models and is only called where a block is missing."""

    def work(done: Work) -> None:
        journal = _Journal(folder, labelling)
        missing = journal.missing()
        if missing:
            session_ledger = Ledger()
            session = labelling.influence.start(context(session_ledger))
            reporter.begin("label", len(labelling.pairs[0]) + len(journal.targets), "calls")
            reporter.advance(journal.done_already())
            for part in missing:
                journal.fill(part, session, session_ledger, reporter)
        y = journal.collect(done)
        write_labels(folder, "labels.npz", labelling, y)
        done.files.append("labels.npz")
        done.facts["labels"] = len(y)
        if missing:
            reporter.end(f"{len(y):,} exact influences")

    return work


def write_labels(folder: RunFolder, name: str, labelling: Labelling, y: ndarray) -> None:
    """Writes `i`, `j`, `y`, `target_ids`, `pool_ids` and `meta` (a JSON string), and the dense `values` (NaN where a pair has
    no label because both sides have the same text) where every pair is labelled."""
    axes = labelling.axes
    i, j = labelling.pairs
    arrays = {
        "i": i,
        "j": j,
        "y": y,
        "target_ids": np.array([example.id for example in axes.rows], dtype=np.str_),
        "pool_ids": np.array([example.id for example in axes.columns], dtype=np.str_),
        "meta": np.array(labelling.meta_text),
    }
    shape = kernel_shape(axes)
    if len(y) + len(axes.masked) == shape[0] * shape[1]:
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


def kernel_shape(axes: Axes) -> tuple[int, int]:
    """(rows, columns), one row where the influence is pointwise."""
    return max(1, len(axes.rows)), len(axes.columns)


class _Journal:
    """Blocks of labels on disk: first what is computed once per target, then the pairs."""

    def __init__(self, folder: RunFolder, labelling: Labelling) -> None:
        self.folder = folder
        self.labelling = labelling
        self.place = folder.path / labelling.journal
        i, j = labelling.pairs
        self.targets = np.unique(i)
        self.told: set[str] = set()
        size = max(BLOCK, -(-len(i) // 4000))
        self.blocks = dict(_cut(j, size))
        count = len(self.targets)
        self.heads = {
            f"prepared-{k:06d}.npz": slice(s, min(s + size, count)) for k, s in enumerate(range(0, count, size))
        }

    def missing(self) -> list[str]:
        """Names of the parts that are not on disk or damaged, in the order in which they must be made."""
        return [name for name in (*self.heads, *self.blocks) if self._read(name) is None]

    def done_already(self) -> int:
        """Pairs and targets that an interrupted run left behind."""
        parts = {**self.heads, **self.blocks}
        return sum(_length(cut) for name, cut in parts.items() if self._read(name) is not None)

    def fill(self, name: str, session: Session, ledger: Ledger, reporter: Reporter) -> None:
        """Computes one part and writes it, with what it cost."""
        before, started = ledger.record(), time.perf_counter()
        if name in self.heads:
            arrays = session.prepare(self.targets[self.heads[name]], on_progress=reporter.advance)
        else:
            i, j = (axis[self.blocks[name]] for axis in self.labelling.pairs)
            y = session.label(i, j, self._prepared(), on_progress=reporter.advance)
            self._refuse_nonfinite(y, i, j)
            arrays = {"y": y}
        spent = {key: value - before[key] for key, value in ledger.record().items()}
        cut = {row: what for row, what in session.truncated().items() if row not in self.told}
        self.told |= cut.keys()
        note = {"costs": spent, "seconds": time.perf_counter() - started, "truncated": cut}
        with self.folder.atomic(f"{self.place.name}/{name}") as part:
            write_npz(part, {**arrays, _NOTE: np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)})

    def collect(self, done: Work) -> ndarray:
        """All labels in the order of the pairs; costs and truncations go to the stage."""
        values = []
        truncated: dict[str, str] = {}
        for name in (*self.heads, *self.blocks):
            arrays = self._read(name)
            if arrays is None:
                raise RunError(f"{self.place / name} was written and cannot be read back. Is the disk failing?")
            note = json.loads(arrays[_NOTE].tobytes())
            done.ledger.add(Ledger(**note["costs"]))
            done.seconds = (done.seconds or 0.0) + note["seconds"]
            truncated |= note["truncated"]
            if name in self.blocks:
                values.append(arrays["y"])
        done.ledger.truncated = len(truncated)
        if truncated:
            done.facts["truncated"] = dict(sorted(truncated.items()))
            done.note("truncated", f"{len(truncated)} rows lost text to the context limit; stages.json lists them")
        return np.concatenate(values)

    def _prepared(self) -> dict[str, ndarray]:
        parts = [self._read(name) or {} for name in self.heads]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != _NOTE}

    def _read(self, name: str) -> dict[str, ndarray] | None:
        path = self.place / name
        if not path.is_file():
            return None
        try:
            return read_npz(path)
        except RunError:
            path.unlink()
            return None

    def _refuse_nonfinite(self, y: ndarray, i: ndarray, j: ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(y))
        if len(bad):
            axes, k = self.labelling.axes, int(bad[0])
            row = f" on target {axes.rows[int(i[k])].id!r}" if axes.rows else ""
            raise ModelError(
                f"the influence {self.labelling.influence.traits.name!r} of row {axes.columns[int(j[k])].id!r}{row} is {y[k]}, "
                f"and so are {len(bad) - 1} more. Remove the row, or try `--dtype float32`."
            )


def _cut(j: Int[ndarray, " L"], size: int) -> Iterator[tuple[str, slice]]:
    """Blocks of at least `size` pairs that end where a candidate ends, so that no prefix is encoded twice for a cut."""
    starts = np.flatnonzero(np.r_[True, j[1:] != j[:-1]])
    begin = count = 0
    for start in (*starts[1:].tolist(), len(j)):
        if start - begin >= size or start == len(j):
            yield f"block-{count:06d}.npz", slice(begin, start)
            begin, count = start, count + 1


def _length(cut: slice) -> int:
    return cut.stop - cut.start
