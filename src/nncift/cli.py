"""The command line: one thin function per verb; options come from the configuration dataclasses, so the words are the same."""

from __future__ import annotations

import inspect
import json
import logging
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args, get_type_hints

import typer

from nncift.config import LabelConfig, ScoreConfig, SelectConfig, flag, is_list
from nncift.errors import ConfigError, NnciftError
from nncift.evaluation.options import EvaluateConfig, evaluation_name
from nncift.recipe import changed_options, default_name, recipe_values
from nncift.registry import did_you_mean
from nncift.rehearsal.options import FidelityConfig
from nncift.version import __version__

log = logging.getLogger(__name__)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what it would cost, and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON summary on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bars and stages; notes stay.")]


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


def options_of(config: type, *arguments: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a verb one parameter per field of a configuration dataclass; the function receives them as one object.

    Args:
        config: the dataclass.
        arguments: fields that are positional on the command line.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(config)
        own = [
            parameter
            for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
            if name != "config"
        ]
        parameters = [_parameter(item, hints[item.name], item.name in arguments) for item in fields(config)]

        def verb(**values: Any) -> None:
            extra = {parameter.name: values.pop(parameter.name) for parameter in own}
            given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
            function(config.of({name: value for name, value in given.items() if value is not None}), **extra)

        parameters.sort(key=lambda parameter: parameter.kind == parameter.KEYWORD_ONLY)
        own = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in own]
        verb.__signature__ = inspect.Signature([*parameters, *own])  # pyright: ignore[reportFunctionMemberAccess]
        verb.__doc__, verb.__name__ = function.__doc__, function.__name__
        return verb

    return decorate


def _parameter(item: Any, hint: Any, positional: bool) -> inspect.Parameter:
    text, short = item.metadata["help"], item.metadata["short"]
    if positional:
        kind = list[str] if is_list(hint) else hint
        return inspect.Parameter(
            item.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Annotated[kind, typer.Argument(help=text)]
        )
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    names = [flag(item.name), *([short] if short else [])]
    default = [*item.default] if is_list(hint) else item.default
    annotation: Any = list[str] if is_list(hint) else hint
    if choices:  # a wrong word gets the configuration's one sentence, not Typer's
        annotation = str | None if default is None else str
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[
            annotation, typer.Option(*names, help=text, metavar=f"[{'|'.join(choices)}]" if choices else None)
        ],
    )


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

    with bars:
        picked = choose(config, bars)
    print(json.dumps(picked.summary()) if as_json else "\n".join(summary_lines(picked)))
