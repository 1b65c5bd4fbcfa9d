"""The verbs that choose: select, run, label, fidelity, score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nncift.cli.doing import choose_rows, measure_subsets
from nncift.cli.program import app
from nncift.config import LabelConfig, ScoreConfig, SelectConfig
from nncift.evaluation.options import EvaluateConfig
from nncift.flags import AsJson, DryRun, Quiet, Track, options_of
from nncift.recipe import config_of, default_name, recipe_values, refuse_struck
from nncift.rehearsal.options import FidelityConfig


@app.command()
@options_of(SelectConfig, "pool")
def select(
    config: SelectConfig, dry_run: DryRun = False, as_json: AsJson = False, quiet: Quiet = False, track: Track = None
) -> None:
    """Choose the subset of a pool that teaches most, and write it with its receipt into a run folder."""
    if config.takes_over:
        from nncift.pipeline.donor import inherit

        config = inherit(config)
    if config.output is None:
        config = replace(config, output=f"runs/{default_name(config)}")
    choose_rows(config, dry_run=dry_run, as_json=as_json, quiet=quiet, track=track)


@app.command()
@options_of(LabelConfig, "pool")
def label(config: LabelConfig, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Compute exact influences, nothing estimated, and write them as labels.npz."""
    from nncift.pipeline import label as compute
    from nncift.screen import Bars

    config = replace(config, output=config.output or "labels.npz")
    with Bars(hidden=quiet or as_json) as bars:
        labels = compute(config, bars)
    m, n = labels.shape
    summary = {"labels": len(labels), "targets": m, "pool": n, "output": config.output}
    print(json.dumps(summary) if as_json else f"{len(labels):,} of {m * n:,} influences in {config.output}")


@app.command()
@options_of(FidelityConfig, "matrix")
def fidelity(config: FidelityConfig, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Judge estimators and label designs on exact influences of every pair: what a few labels would have given."""
    from nncift.rehearsal.rehearse import rehearse
    from nncift.rehearsal.table import shown
    from nncift.screen import Bars

    with Bars(hidden=quiet or as_json) as bars:
        records = rehearse(config, bars)
    print(json.dumps(records) if as_json else "\n".join(shown(records, config)))


@app.command()
@options_of(ScoreConfig, "rows")
def score(config: ScoreConfig, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Predict the mean influence of new rows on a run's target with its estimator, without the influence function."""
    from nncift.pipeline.scoring import score as compute
    from nncift.screen import Bars

    config = replace(config, output=config.output or "scores.jsonl")
    with Bars(hidden=quiet or as_json) as bars:
        found = compute(config, bars)
    best = f"; {(found.beats > 0.5).sum():,} are above the middle of the run's pool"
    print(json.dumps(found.records()) if as_json else f"{len(found.pool):,} rows scored in {config.output}{best}")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe.yaml of a run folder.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="Another run folder.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    track: Track = None,
) -> None:
    """Replay a recipe: in its own folder only what changed is computed, in another one everything."""
    verb, values = recipe_values(recipe)
    refuse_struck(values, recipe)
    if verb == "evaluate":
        again = replace(config_of(EvaluateConfig, values, recipe), output=output or str(recipe.parent))
        measure_subsets(again, dry_run=dry_run, as_json=as_json, quiet=quiet, track=track)
        return
    config = replace(config_of(SelectConfig, values, recipe), output=output or str(recipe.parent))
    choose_rows(config, dry_run=dry_run, as_json=as_json, quiet=quiet, track=track)
