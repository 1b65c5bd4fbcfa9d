"""The command line: one thin function per verb; options come from the configuration dataclasses, so the words are the same."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from nncift.config import LabelConfig, ScoreConfig, SelectConfig
from nncift.errors import ConfigError, NnciftError
from nncift.evaluation.options import EvaluateConfig, evaluation_name
from nncift.flags import AsJson, DryRun, Quiet, options_of
from nncift.handing.options import ExportConfig
from nncift.recipe import changed_options, default_name, recipe_values
from nncift.registry import did_you_mean
from nncift.rehearsal.options import FidelityConfig
from nncift.version import __version__

log = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def main() -> None:
    """The entry point: errors that a user can mend are one sentence and exit code 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nncift").handlers = [_Warnings()]
    logging.getLogger("nncift").propagate = False
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advertises an optional package wherever it is imported
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup and a shell's background jobs mean it
            signal.signal(number, _stop)
    try:
        sys.exit(app(prog_name="nncift", standalone_mode=False))
    except NnciftError as error:
        print(f"nncift: {error}", file=sys.stderr)
        sys.exit(2)
    except _Stopped as stop:
        print("nncift: stopped; the same command continues where it left off", file=sys.stderr)
        sys.exit(128 + stop.number)
    except Exception as error:
        if not hasattr(error, "format_message"):  # usage errors have this, but no public class in every typer
            raise
        print(f"nncift: {_usage_sentence(error)}", file=sys.stderr)
        sys.exit(2)


class _Stopped(BaseException):
    """SIGINT or SIGTERM; no library on the way catches it by mistake."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: object) -> NoReturn:
    raise _Stopped(number)


def _usage_sentence(error: Any) -> str:
    """A wrong flag, verb or value in the form of every other error, with the help page that mends it."""
    text = re.sub(r"(?<=: )Value error, ", "", error.format_message().strip())
    text = re.sub(r" \(Possible options: ([^,)]*).*\)", r". Did you mean \1?", text)
    place = getattr(getattr(error, "ctx", None), "command_path", "nncift")
    return f"{text[:1].lower()}{text[1:].rstrip('.?')}{'?' if text.endswith('?') else '.'} See `{place} --help`."


class _Warnings(logging.Handler):
    """Each warning is one line on standard error, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.told:
            self.told.add(text)
            print(f"note: {text}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def _alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and stop.")] = False,
) -> None:
    """Choose the instruction data that teaches most, at a few per cent of what the influence function would cost."""
    if version:
        print(f"nncift {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
@options_of(SelectConfig, "pool")
def select(config: SelectConfig, dry_run: DryRun = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Choose the subset of a pool that teaches most, and write it with its receipt into a run folder."""
    if config.takes_over:
        from nncift.pipeline.donor import inherit

        config = inherit(config)
    if config.output is None:
        config = replace(config, output=f"runs/{default_name(config)}")
    _run(config, dry_run=dry_run, as_json=as_json, quiet=quiet)


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
@options_of(EvaluateConfig, "subset")
def evaluate(config: EvaluateConfig, dry_run: DryRun = False, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Measure what subsets teach, by fine-tuning or as demonstrations, beside random subsets and other controls."""
    if config.output is None:
        config = replace(config, output=f"runs/{evaluation_name(config)}")
    _evaluate(config, dry_run=dry_run, as_json=as_json, quiet=quiet)


@app.command()
@options_of(ExportConfig, "run")
def export(config: ExportConfig, as_json: AsJson = False) -> None:
    """Write the chosen rows of a finished run in a trainer's format, with the piece of its configuration that reads them."""
    from nncift.handing.export import export as hand_over

    handed = hand_over(config)
    print(json.dumps(handed.record()) if as_json else "\n".join(handed.lines()))


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
) -> None:
    """Run a grid of selections and evaluations cell by cell, and write its tables; what is recorded is not done again."""
    from nncift.experiment.recipe import load_recipe

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
    print(json.dumps(outcome.record()) if as_json else "\n".join(outcome.lines()))
    if not outcome.whole:
        raise typer.Exit(1)


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="Finished run folders; several are compared.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="The page; else report.html in the run's folder, comparison.html for several."
        ),
    ] = None,
) -> None:
    """Write one HTML page that shows what runs chose and why; it needs no network."""
    from nncift.report import write_report

    path = write_report(runs, output)
    print(
        f"{len(runs):,} {'run' if len(runs) == 1 else 'runs'} on a page of {path.stat().st_size / 1e6:.1f} MB: {path}"
    )


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe.yaml of a run folder.")],
    output: Annotated[str | None, typer.Option("--output", "-o", help="Another run folder.")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Replay a recipe: in its own folder only what changed is computed, in another one everything."""
    verb, values = recipe_values(recipe)
    if verb == "evaluate":
        again = EvaluateConfig.of(values)
        _evaluate(replace(again, output=output or str(recipe.parent)), dry_run=dry_run, as_json=as_json, quiet=quiet)
        return
    config = SelectConfig.of(values)
    _run(replace(config, output=output or str(recipe.parent)), dry_run=dry_run, as_json=as_json, quiet=quiet)


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="`influences` for a table of what each needs, costs and rests on.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="That table as Markdown.")] = False,
) -> None:
    """List the influence functions, objectives and embedders by name."""
    from nncift.catalogue import influence_markdown, influence_table, print_table, registry_lines

    if what not in (None, "influence", "influences"):
        raise ConfigError(f"cannot list {what!r}. {did_you_mean(str(what), ('influences',))}")
    if what and not markdown:
        print_table(influence_table())
        return
    print("\n".join(influence_markdown() if markdown else registry_lines()))


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Load this language model and say what it can do.")
    ] = None,
    show_prompt: Annotated[
        bool, typer.Option("--show-prompt", help="Print one rendered example, its scored tokens marked.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
) -> None:
    """Say what is installed, where a model would run, and how its prompts look."""
    from nncift.doctor import examine

    for line in examine(model, show_prompt=show_prompt, device=device, dtype=dtype):
        print(line)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the demo's data and run go.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the generated data and of the run.")] = 0,
) -> None:
    """Run the whole method on a generated pool with real small models, and compare with random."""
    from nncift.demo import run_demo
    from nncift.screen import Bars

    with Bars(hidden=False) as bars:
        lines = run_demo(output, seed=seed, reporter=bars)
    for line in lines:
        print(line)


def _evaluate(config: EvaluateConfig, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    from nncift.evaluation.evaluate import evaluate as measure
    from nncift.evaluation.evaluate import plan_evaluation
    from nncift.screen import Bars

    with Bars(hidden=quiet or as_json) as bars:
        if dry_run:
            planned = plan_evaluation(config, bars)
            print(json.dumps(planned.record()) if as_json else "\n".join(planned.lines()))
            return
        found = measure(config, bars)
    print(json.dumps(found.records) if as_json else "\n".join(found.told))


def _run(config: SelectConfig, *, dry_run: bool, as_json: bool, quiet: bool) -> None:
    from nncift.screen import Bars, summary_lines

    if not dry_run and config.output and (changes := changed_options(config, Path(config.output) / "recipe.yaml")):
        log.warning(
            "%s holds a run with other options (%s); what they change is computed again", config.output, changes
        )
    bars = Bars(hidden=quiet or as_json)
    if dry_run:
        from nncift.plan import plan

        with bars:
            planned = plan(config, bars)
        print(json.dumps(planned.record()) if as_json else "\n".join(planned.lines()))
        return
    from nncift.pipeline import select as choose
    from nncift.report import report_after

    with bars:
        picked = choose(config, bars)
        report_after(picked, bars)
    print(json.dumps(picked.summary()) if as_json else "\n".join(summary_lines(picked)))
