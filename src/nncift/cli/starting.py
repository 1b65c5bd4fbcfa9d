"""The verbs one starts with: list, doctor, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nncift.cli.program import app
from nncift.errors import ConfigError
from nncift.registry import did_you_mean


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(help="`influences` for a table of what each needs, costs and rests on.")
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="That table as Markdown.")] = False,
) -> None:
    """List the influence functions, objectives and embedders by name."""
    from nncift.catalogue import influence_markdown, influence_table, print_table, registry_lines, registry_tables
    from nncift.screen import say

    if what not in (None, "influence", "influences"):
        raise ConfigError(f"cannot list {what!r}. {did_you_mean(str(what), ('influences',))}")
    if markdown:
        print("\n".join(influence_markdown()))
    elif what:
        print_table(influence_table())
    else:
        say(registry_lines(), registry_tables())


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
