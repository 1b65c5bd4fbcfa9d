"""Trials: something goes wrong in a run, the same command is given again, and what is then there is held against what a run
without faults leaves."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak.forking import Ended
from benchmarks.soak.works import Reference, Work, begun, left_behind, promised, refer, rows_in

FINISHED = "finished"


@dataclass(slots=True)
class Tally:
    """One line of the table.

    Attributes:
        fault: what went wrong.
        work: in what.
        tried: how often.
        survived: how often everything that is promised was the same afterwards.
        lost: rows that were missing afterwards.
        again: blocks that were computed again, the most of one trial.
        left: temporary files that stayed.
        skipped: why nothing was tried; empty where something was.
        failures: what was wrong, trial by trial.
        seconds: of all trials.
    """

    fault: str
    work: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    again: int = 0
    left: int = 0
    skipped: str = ""
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


class Trial:
    """One trial: the folder where it happens, and what was wrong with it."""

    def __init__(self, reference: Reference, place: Path, tally: Tally, name: str) -> None:
        self.reference, self.place, self.tally, self.name = reference, place, tally, name
        self.problems: list[str] = []
        self.out = place / "out"

    def require(self, holds: bool, problem: str) -> None:
        """Notes a problem unless something holds."""
        if not holds:
            self.problems.append(problem)

    def told(self, ended: Ended, code: int, *words: str) -> None:
        """The run had to end with a code and one clear sentence."""
        lines = ended.err.strip().splitlines()
        last = lines[-1] if lines else ""
        self.require(ended.code == code, f"exit code {ended.code} instead of {code}: {last}")
        self.require("Traceback" not in ended.err, f"a traceback: {last}")
        self.require(last.startswith("nncift: "), f"not one of the program's sentences: {last!r}")
        for word in words:
            self.require(word.lower() in last.lower(), f"{word!r} is not in {last!r}")

    def resume(self, *, again: int | None = 1, said: str | None = None, work: Work | None = None) -> Ended:
        """Gives the same command again, and holds what is there against the reference.

        Args:
            again: blocks of each kind that may have been computed twice; None for any number.
            said: must be in what the run prints.
            work: another command than that of the reference.
        """
        ended = (work or self.reference.work).run(self.place)
        self.require(ended.code == 0, f"resumed, it ends with {ended.code}: {ended.err.strip()[-300:]}")
        self.require("Traceback" not in ended.err, "resumed, it shows a traceback")
        if said is not None:
            self.require(said in ended.err, f"resumed, it says nothing of {said}: {ended.err[-300:]!r}")
        self.compare(again=again)
        return ended

    def compare(self, *, again: int | None = 1) -> None:
        """Holds what is there against the reference."""
        wanted, found = self.reference.promised, promised(self.out)
        others = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        self.require(not others, f"other than promised: {', '.join(others[:4])}")
        lost = max(0, rows_in(wanted) - rows_in(found))
        more = Counter(line.split()[0] for line in (begun(self.place) - self.reference.blocks).elements())
        most, left = max(more.values(), default=0), left_behind(self.place)
        self.require(lost == 0, f"{lost} rows lost")
        self.require(again is None or most <= again, f"{most} blocks computed again")
        self.require(not left, f"left behind: {', '.join(left[:4])}")
        self.tally.lost += lost
        self.tally.left += len(left)
        self.tally.again = max(self.tally.again, most if again is not None else 0)


class Campaign:
    """All trials of one seed.

    Args:
        works: every command.
        folder: of everything that is made.
        seed: of all that is drawn.
        tell: told of each line when it is complete.
    """

    def __init__(
        self, works: dict[str, Work], folder: Path, *, seed: int, tell: Callable[[Tally], None] = lambda _: None
    ) -> None:
        self.works, self.folder, self.seed, self.tell = works, folder, seed, tell
        self.tallies: list[Tally] = []
        self._references: dict[str, Reference] = {}
        self._count = 0

    def reference(self, name: str) -> Reference:
        """The uninterrupted run of a work, made when it is first asked for."""
        if name not in self._references:
            self._references[name] = refer(self.works[name], self.folder / FINISHED / name)
        return self._references[name]

    def draw(self, *words: str) -> random.Random:
        """Random numbers of one line."""
        return random.Random(f"{self.seed} {' '.join(words)}")

    @contextmanager
    def line(self, fault: str, work: str) -> Iterator[Tally]:
        """A line of the table, with the time that it took."""
        tally, started = Tally(fault, work), time.monotonic()
        yield tally
        tally.seconds = round(time.monotonic() - started, 1)
        self.tallies.append(tally)
        self.tell(tally)

    @contextmanager
    def trial(self, tally: Tally, name: str, *, start: Path | None = None) -> Iterator[Trial]:
        """A trial in a folder of its own, which may start as a copy of another; what fails is noted and stops nothing."""
        self._count += 1
        place = self.folder / f"trial-{self._count}"
        if start is None:
            place.mkdir()
        else:
            shutil.copytree(start, place, symlinks=True)
        trial = Trial(self.reference(tally.work), place, tally, name)
        try:
            yield trial
        except TimeoutError as error:
            trial.problems.append(str(error))
        tally.tried += 1
        tally.survived += not trial.problems
        tally.failures += [f"{name}: {problem}" for problem in trial.problems]
        shutil.rmtree(place)
