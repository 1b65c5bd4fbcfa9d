"""Files that were damaged: a byte changed, cut to half, emptied, deleted; of results, of blocks on the way, and of caches."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.soak.campaign import Campaign
from benchmarks.soak.hooks import Fault
from benchmarks.soak.works import UNLIKE

ANEW = {*UNLIKE, "recipe.yaml", "evaluation.yaml", "rejected.jsonl", "results.json", "cells.json", "experiment.yaml"}
"""Every run writes these again, so that there is nothing to be said; `stages.json` is told apart."""
WRITTEN = {"recipe.yaml", "rejected.jsonl", "environment.json", "report.html", ".nncift.lock"}
"""Of a cell's run folder: nobody reads them, or no more than their words."""
NAMES = {
    "**/*": "result",
    "cells/**/*": "record",
    "select/**/*": "run folder of a cell",
    "data/**/*": "copy of the rows",
}
Way = Callable[[Path, random.Random], None]


def flip(path: Path, draw: random.Random) -> None:
    """Another bit somewhere."""
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))


def halve(path: Path, draw: random.Random) -> None:
    """The second half is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path, draw: random.Random) -> None:
    """Nothing is in it."""
    path.write_bytes(b"")


def delete(path: Path, draw: random.Random) -> None:
    """It is gone."""
    path.unlink()


WAYS: dict[str, Way] = {"a bit": flip, "half": halve, "empty": empty, "gone": delete}


def results(campaign: Campaign, work: str, count: int | None, *, pattern: str = "**/*", also: str = "") -> None:
    """Every file of a finished folder in turn; the same command mends it, and says so where a stage or a cell made it.

    Args:
        campaign: whose trials they are.
        work: whose folder.
        count: trials at most; None for all.
        pattern: of the files, below `out`.
        also: files that are deleted with each of them, so that what was damaged is needed.
    """
    with campaign.line(f"damaged {NAMES[pattern]}", work) as tally:
        reference, draw = campaign.reference(work), campaign.draw("damage", work, pattern)
        out = reference.place / "out"
        files = [path.relative_to(out) for path in sorted(out.glob(pattern)) if path.is_file() and path.stat().st_size]
        every = [(file, way) for file in files for way in WAYS if not also or file.name not in WRITTEN]
        for file, way in every if count is None else draw.sample(every, min(count, len(every))):
            with campaign.trial(tally, f"{file}, {way}", start=reference.place) as trial:
                WAYS[way](trial.out / file, draw)
                for path in trial.out.glob(also) if also else ():
                    path.unlink()
                told = file.name == "stages.json" or file.name not in ANEW
                told = told and not (work == "experiment" and file.parts[0] in ("data", "tables", "figures"))
                told = told and not also  # an experiment that makes a run folder again says that it is done again
                unknown = work == "label" or file.parts[0] in ("cells", "answers") or file.name == "stages.json"
                silent = way == "gone" and unknown  # what is gone without a trace was never there
                trial.resume(again=None, said=file.name if told and not silent else None)


def blocks(campaign: Campaign, work: str, count: int | None) -> None:
    """Every block of labels that a killed run leaves."""
    with campaign.line("damaged block of labels", work) as tally:
        reference, draw = campaign.reference(work), campaign.draw("blocks", work)
        base = campaign.folder / f"half-{work}"
        begun = sum(reference.blocks[line] for line in reference.blocks if line.startswith("block "))
        reference.work.run(base, Fault(block=begun - 1))
        files = [path.relative_to(base / "out") for path in sorted((base / "out").rglob("labels-*/**/*.npz"))]
        ways = [*WAYS, *["a bit"] * 6]  # there is much in a file that one bit can spoil
        every = [(file, way) for file in files for way in ways]
        for file, way in every if count is None else draw.sample(every, min(count, len(every))):
            with campaign.trial(tally, f"{file.name}, {way}", start=base) as trial:
                WAYS[way](trial.out / file, draw)
                trial.resume(again=2)  # the one that was cut short by the kill, and the damaged one
        shutil.rmtree(base)


def caches(campaign: Campaign, work: str, count: int | None) -> None:
    """Every file of the cache, found by a run in a new folder."""
    with campaign.line("damaged cache", work) as tally:
        reference, draw = campaign.reference(work), campaign.draw("caches", work)
        cache = reference.place / "cache"
        files = [path.relative_to(cache) for path in sorted(cache.rglob("*")) if path.is_file() and path.stat().st_size]
        every = [(file, way) for file in files for way in WAYS]
        for file, way in every if count is None else draw.sample(every, min(count, len(every))):
            with campaign.trial(tally, f"{file}, {way}", start=reference.place) as trial:
                shutil.rmtree(trial.out)
                WAYS[way](trial.place / "cache" / file, draw)
                trial.resume(again=None)
