"""The verbs that measure: evaluate, experiment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nncift.cli.doing import measure_subsets
from nncift.cli.program import app
from nncift.evaluation.options import EvaluateConfig, evaluation_name
from nncift.flags import AsJson, DryRun, Quiet, Track, options_of


@app.command()
@options_of(EvaluateConfig, "subset")
def evaluate(
    config: EvaluateConfig, dry_run: DryRun = False, as_json: AsJson = False, quiet: Quiet = False, track: Track = None
) -> None:
    """Measure what subsets teach, by fine-tuning or as demonstrations, beside random subsets and other controls."""
    if config.output is None:
        config = replace(config, output=f"runs/{evaluation_name(config)}")
    measure_subsets(config, dry_run=dry_run, as_json=as_json, quiet=quiet, track=track)


@app.command()
def experiment(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, the name of a shipped one, or the folder of an experiment.")
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder of the experiment; a rerun does what is missing.")
    ] = None,
    data: Annotated[Path, typer.Option("--data", help="Folder that the files of the recipe are relative to.")] = Path(),
    only: Annotated[
        str | None, typer.Option("--only", help="Only cells with this in their name, and what they need.")
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Write tables and figures of what is there, and stop.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    track: Track = None,
) -> None:
    """Run a grid of selections and evaluations cell by cell, and write its tables; what is recorded is not done again."""
    from nncift.experiment.recipe import load_recipe
    from nncift.tracking import check_tracker, track_after

    check_tracker(track)
    read = load_recipe(recipe)
    folder = Path(output or (recipe if Path(recipe).is_dir() else f"runs/{read.name}"))
    if tables:
        from nncift.experiment.tables import write_tables

        written = list(map(str, write_tables(folder)))
        print(
            json.dumps(written)
            if as_json
            else "\n".join([*written, f"{len(written):,} tables and figures in {folder}"])
        )
        return
    if dry_run:
        from nncift.experiment.planning import plan_experiment

        planned = plan_experiment(read, root=data, folder=folder, text=only)
        print(json.dumps(planned.record()) if as_json else "\n".join(planned.lines()))
        return
    from nncift.experiment.running import run_experiment
    from nncift.screen import Bars

    with Bars(hidden=quiet or as_json, deepest=2) as bars:
        outcome = run_experiment(read, folder, root=data, text=only, reporter=bars)
        track_after([folder / name for name in outcome.kept + outcome.done], track, bars, group=read.name)
    print(json.dumps(outcome.record()) if as_json else "\n".join(outcome.lines()))
    if not outcome.whole:
        raise typer.Exit(1)
