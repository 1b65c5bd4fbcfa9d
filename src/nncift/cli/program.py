"""The program that the verbs belong to."""

from __future__ import annotations

from typing import Annotated

import typer

from nncift.version import __version__

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and stop.")] = False,
) -> None:
    """Choose the instruction data that teaches most, at a few per cent of what the influence function would have cost."""
    if version:
        print(f"nncift {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
