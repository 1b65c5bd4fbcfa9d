"""What changes between two starts of the same command: the clock, the code of a stage, a package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.soak.campaign import Campaign, Trial
from benchmarks.soak.hooks import Fault
from benchmarks.soak.works import promised

YEAR = 365 * 86400.0
STAGES = ("embed", "states", "label", "estimate", "select", "write")
"""Of a selection, in the order in which they depend on each other."""


def clocks(campaign: Campaign, work: str, count: int) -> None:
    """The clock goes back an hour at each look; after a kill it is another year, and files are from the future."""
    with campaign.line("clock goes back", work) as tally:
        moments = campaign.reference(work).ended.moments or 0
        for year in (2040, 1971)[:count]:
            with campaign.trial(tally, f"in {year}") as trial:
                now = (year - 1970) * YEAR
                trial.reference.work.run(trial.place, Fault(moments // 2, clock=now))
                for path in trial.place.rglob("*"):
                    os.utime(path, (now + YEAR, now + YEAR))
                ended = trial.reference.work.run(trial.place, Fault(clock=now - YEAR))
                trial.require(ended.code == 0, f"it ends with {ended.code}: {ended.err[-300:]}")
                trial.compare()


def newer_stages(campaign: Campaign, work: str, count: int) -> None:
    """A new version of the code of a stage: it is done again and what does not depend on it is not."""
    with campaign.line("newer code of a stage", work) as tally:
        reference = campaign.reference(work)
        done = [stage for stage in STAGES if stage in _stages(reference.place / "out")]
        for stage in done[-count:]:
            with campaign.trial(tally, stage, start=reference.place) as trial:
                before = _stages(trial.out)
                ended = trial.reference.work.run(trial.place, Fault(code={stage: 1}))
                after = _stages(trial.out)
                trial.require(ended.code == 0, f"it ends with {ended.code}: {ended.err[-300:]}")
                changed = {name for name in before if before[name]["key"] != after[name]["key"]}
                trial.require(stage in changed, "it was not done again")
                trial.require(not changed & set(_free_of(stage)), f"done again: {sorted(changed)}")
                _same_but_for_labels(trial)


def newer_packages(campaign: Campaign, work: str, count: int) -> None:
    """Another version of a library, after a kill: the run says so and goes on with what is there."""
    with campaign.line("newer package", work) as tally:
        moments = campaign.reference(work).ended.moments or 0
        for share in (0.8, 0.95)[:count]:
            with campaign.trial(tally, f"at {share:.0%}") as trial:
                trial.reference.work.run(trial.place, Fault(int(share * moments)))
                ended = trial.reference.work.run(trial.place, Fault(versions={"transformers": "99.0"}))
                trial.require(ended.code == 0, f"it ends with {ended.code}: {ended.err[-300:]}")
                trial.require("transformers" in ended.err and "99.0" in ended.err, f"not a word of it: {ended.err!r}")
                trial.compare()


def _free_of(stage: str) -> tuple[str, ...]:
    """Stages that do not depend on another."""
    before = STAGES[: STAGES.index(stage)]
    return (*before, "label") if stage in ("embed", "states") else before


def _same_but_for_labels(trial: Trial) -> None:
    """The file of labels holds the version of the code that made it; all else is the same again."""
    wanted, found = trial.reference.promised, promised(trial.out)
    others = [name for name in wanted if wanted[name] != found.get(name) and not Path(name).name.startswith("labels")]
    trial.require(not others, f"other than before: {', '.join(others)}")


def _stages(out: Path) -> dict[str, Any]:
    return json.loads((out / "stages.json").read_text(encoding="utf-8"))
