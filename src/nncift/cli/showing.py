"""The verbs that show a finished run and hand it over: report, export."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nncift.cli.program import app
from nncift.flags import AsJson, options_of
from nncift.handing.options import ExportConfig


@app.command()
@options_of(ExportConfig, "run")
def export(config: ExportConfig, as_json: AsJson = False) -> None:
    """Write the chosen rows of a finished run in a trainer's format, with the piece of its configuration that reads them."""
    from nncift.handing.export import export as hand_over

    handed = hand_over(config)
    print(json.dumps(handed.record()) if as_json else "\n".join(handed.lines()))


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
