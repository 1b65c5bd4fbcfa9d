"""Exact influences on disk, block by block with what each cost, so that a kill loses at most one block."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.arrays import read_npz, write_npz
from nncift.errors import ModelError, RunError
from nncift.influence.base import Influence
from nncift.ledger import Ledger
from nncift.pipeline.inputs import Axes
from nncift.pipeline.questions import Answer, Heads, Some, barred_in
from nncift.progress import Reporter
from nncift.run import Clock, RunFolder

log = logging.getLogger(__name__)

BLOCK = 256  # pairs: about ten seconds of a 270M model on two cores; larger runs get at most 4,000 blocks

ROWS = 64  # candidates of a block where rows are what costs, so that they can go through the model together

_NOTE = "__note"
_START = "start.npz"

Pairs = tuple[Int[ndarray, " L"], Int[ndarray, " L"]]


@dataclass(frozen=True, slots=True)
class Labelling:
    """What is to be labelled.

    Attributes:
        influence: the teacher.
        axes: rows and columns of the kernel.
        pairs: (i, j), sorted by (j, i).
        meta: goes into the labels file, and into the key of the stage.
        round: counted from 0, where they are labelled in rounds.
    """

    influence: Influence
    axes: Axes
    pairs: Pairs
    meta: dict[str, Any]
    round: int | None = None

    @property
    def meta_text(self) -> str:
        """`meta` as the JSON text that the labels file holds."""
        return json.dumps(self.meta, sort_keys=True)

    def made(self, meta_text: str) -> bool:
        """Whether a labels file with this text is what these options gave. Within a time it is whatever was labelled then."""
        try:
            found = json.loads(meta_text)
        except ValueError:
            return False
        left_out = {"pairs"} if "within" in self.meta else set()
        return isinstance(found, dict) and all(
            found.get(name) == self.meta.get(name) for name in (found.keys() | self.meta.keys()) - left_out
        )

    @property
    def journal(self) -> str:
        """The folder of the blocks, named by what they depend on; each round has one of its own inside."""
        place = f"labels-{sha256(self.meta_text.encode()).hexdigest()[:8]}"
        if self.round is None:
            return place
        drawn = sha256(b"".join(axis.tobytes() for axis in self.pairs)).hexdigest()
        return f"{place}/round-{self.round:02d}-{drawn[:8]}"


@dataclass(frozen=True, slots=True)
class Filed:
    """What the parts of a journal hold together.

    Attributes:
        y: labels in the order of the pairs.
        ledger: what they cost.
        times: `seconds` and `cpu_seconds`.
        truncated: rows that lost text, and what.
        barred: positions of candidates that cannot be scored, and why.
        lm_weights: of the language models; None where another journal tells.
    """

    y: Float[ndarray, " L"]
    ledger: Ledger
    times: dict[str, float]
    truncated: dict[str, str]
    barred: dict[int, str]
    lm_weights: int | None


class Journal:
    """Blocks of labels on disk: first what is computed once per target, then the pairs.

    A later round goes on from the journal of the `earlier` one: what starting took is told there, and targets that had their
    turn are not prepared again.
    """

    def __init__(self, folder: RunFolder, labelling: Labelling, earlier: Journal | None = None) -> None:
        self.folder = folder
        self.labelling = labelling
        self.earlier = earlier
        self.place = folder.path / labelling.journal
        i, j = labelling.pairs
        self.targets = np.setdiff1d(i, earlier.every_target() if earlier else [])
        self.told: set[str] = set()
        size = max(BLOCK, -(-len(i) // 4000))
        if labelling.influence.traits.priced == "row":
            size = max(size, ROWS * len(np.unique(i)))
        self.blocks = dict(_cut(j, size))
        count = len(self.targets)
        self.heads = {
            f"prepared-{k:06d}.npz": slice(s, min(s + size, count)) for k, s in enumerate(range(0, count, size))
        }

    def every_target(self) -> Int[ndarray, " T"]:
        """The targets of this round and of those before."""
        return self.targets if self.earlier is None else np.union1d(self.earlier.every_target(), self.targets)

    def missing(self) -> list[str]:
        """Names of the parts that are not on disk or damaged, in the order in which they must be made."""
        return [name for name in (*self.heads, *self.blocks) if self._read(name) is None]

    def started(self) -> bool:
        """Whether it is known what starting cost, and which rows cannot be scored."""
        return self.earlier is not None or self._read(_START) is not None

    def done_already(self) -> int:
        """Pairs and targets that an interrupted run left behind."""
        parts = {**self.heads, **self.blocks}
        return sum(_length(cut) for name, cut in parts.items() if self._read(name) is not None)

    def note_start(self, answer: Answer, clock: Clock) -> None:
        """Writes what it cost to start, for example to train; where it was interrupted before, both times count."""
        if self.earlier is not None:
            self.earlier.note_start(answer, clock)
            return
        note = {"costs": answer.spent.costs, "truncated": {}, "barred": answer.silent} | spent_by(answer, clock)
        note["lm_weights"] = answer.weights
        if (before := self._read(_START)) is not None:
            earlier = json.loads(before[_NOTE].tobytes())
            both = Ledger(**earlier["costs"])
            both.add(Ledger(**answer.spent.costs))
            note["costs"] = both.record()
            note |= {name: note[name] + earlier[name] for name in ("seconds", "cpu_seconds")}
        self._write(_START, {}, note)

    def asks(self, name: str) -> Heads | Some:
        """The question that a part answers."""
        if name in self.heads:
            return Heads(self.targets[self.heads[name]])
        return Some(*(axis[self.blocks[name]] for axis in self.labelling.pairs))

    def file(self, name: str, answer: Answer, clock: Clock, reporter: Reporter) -> None:
        """Writes one part, with what it cost."""
        barred: dict[int, str] = {}
        question = self.asks(name)
        if isinstance(question, Some):
            self._refuse_nonfinite(answer.arrays["y"], question.i, question.j)
            barred = barred_in(answer.arrays["y"], question.j)
        cut = {row: what for row, what in answer.truncated.items() if row not in self.told}
        self.told |= cut.keys()
        note = {"costs": answer.spent.costs, "truncated": cut, "barred": barred}
        self._write(name, answer.arrays, note | spent_by(answer, clock))
        reporter.advance(_length({**self.heads, **self.blocks}[name]) - answer.told)

    def silent(self) -> list[int]:
        """Positions of candidates that were found to be unscorable when labelling started."""
        found = self._read(_START)
        return [] if found is None else [int(k) for k in json.loads(found[_NOTE].tobytes())["barred"]]

    def collect(self) -> Filed:
        """All labels in the order of the pairs, and what they cost."""
        values: list[ndarray] = []
        filed = Filed(np.zeros(0), Ledger(), {"seconds": 0.0, "cpu_seconds": 0.0}, {}, {}, None)
        for name in (*([] if self.earlier else [_START]), *self.heads, *self.blocks):
            arrays = self._read(name)
            if arrays is None:
                raise RunError(f"{self.place / name} was written and cannot be read back. Is the disk failing?")
            note = json.loads(arrays[_NOTE].tobytes())
            filed.ledger.add(Ledger(**note["costs"]))
            for kind in filed.times:
                filed.times[kind] += note[kind]
            filed.truncated.update(note["truncated"])
            filed.barred.update({int(row): why for row, why in note["barred"].items()})
            if name == _START:
                filed = replace(filed, lm_weights=note["lm_weights"])
            if name in self.blocks:
                values.append(arrays["y"])
        return replace(filed, y=np.concatenate(values))

    def prepared(self) -> dict[str, ndarray]:
        """What was computed of every target so far, in the order of the targets."""
        parts = [self._read(name) or {} for name in self.heads]
        before = {} if self.earlier is None else self.earlier.prepared()
        if not parts:
            return before
        own = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key != _NOTE}
        if self.earlier is None or not before:
            return own
        order = np.argsort(np.concatenate([self.earlier.every_target(), self.targets]), kind="stable")
        return {key: np.concatenate([before[key], own[key]])[order] for key in own}

    def _write(self, name: str, arrays: dict[str, ndarray], note: dict[str, Any]) -> None:
        with self.folder.atomic(f"{self.labelling.journal}/{name}") as part:
            write_npz(part, {**arrays, _NOTE: np.frombuffer(json.dumps(note).encode(), dtype=np.uint8)})

    def _read(self, name: str) -> dict[str, ndarray] | None:
        path = self.place / name
        if not path.is_file():
            return None
        try:
            found = read_npz(path)
            if name in self.blocks and len(found["y"]) != _length(self.blocks[name]):
                raise RunError("its labels are fewer than its pairs")
            json.loads(found[_NOTE].tobytes())
            return found
        except (RunError, KeyError, ValueError) as error:
            log.warning("%s is damaged (%s); it is computed again", path, error)
            path.unlink()
            return None

    def _refuse_nonfinite(self, y: ndarray, i: ndarray, j: ndarray) -> None:
        bad = np.flatnonzero(np.isnan(y) | np.isposinf(y))
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


def spent_by(answer: Answer, clock: Clock) -> dict[str, float]:
    """`seconds` since the clock was made, and `cpu_seconds` of all processes."""
    spent = clock.spent()
    spent["cpu_seconds"] += answer.spent.cpu_seconds
    return spent


def _length(cut: slice) -> int:
    return cut.stop - cut.start
