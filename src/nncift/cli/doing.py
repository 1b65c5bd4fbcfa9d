"""What a selection and an evaluation print, whether options or a recipe asked for them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from nncift.config import SelectConfig
from nncift.evaluation.options import EvaluateConfig
from nncift.recipe import changed_options

log = logging.getLogger(__name__)


def choose_rows(config: SelectConfig, *, dry_run: bool, as_json: bool, quiet: bool, track: str | None) -> None:
    """Plans or does a selection with its report, and prints what came out."""
    from nncift.screen import Bars, beside, say
    from nncift.tracking import check_tracker, track_after

    check_tracker(track)
    if not dry_run and config.output and (changes := changed_options(config, Path(config.output) / "recipe.yaml")):
        log.warning(
            "%s holds a run with other options (%s); what they change is computed again", config.output, changes
        )
    bars = Bars(hidden=quiet or as_json)
    if dry_run:
        from nncift.plan import plan

        with bars:
            planned = plan(config, bars)
        if as_json:
            print(json.dumps(planned.record()))
        else:
            say(planned.lines(), beside(planned.lines()))
        return
    from nncift.pipeline import select as choose
    from nncift.report import report_after
    from nncift.summary import closing_line, dearer, pictured, summary

    with bars:
        picked = choose(config, bars)
        report_after(picked, bars)
        track_after([picked.folder], track, bars)
    if as_json:
        print(json.dumps(picked.summary()))
        return
    told = [*summary(picked), *([] if quiet else dearer(picked, config))]
    say([text for _, text in told], pictured(picked, told))
    print(closing_line(picked))


def measure_subsets(config: EvaluateConfig, *, dry_run: bool, as_json: bool, quiet: bool, track: str | None) -> None:
    """Plans or does an evaluation, and prints what it found."""
    from nncift.evaluation.evaluate import evaluate as measure
    from nncift.evaluation.evaluate import plan_evaluation
    from nncift.screen import Bars
    from nncift.tracking import check_tracker, track_after

    check_tracker(track)
    with Bars(hidden=quiet or as_json) as bars:
        if dry_run:
            planned = plan_evaluation(config, bars)
            print(json.dumps(planned.record()) if as_json else "\n".join(planned.lines()))
            return
        found = measure(config, bars)
        track_after([found.folder], track, bars)
    print(json.dumps(found.records) if as_json else "\n".join(found.told))
