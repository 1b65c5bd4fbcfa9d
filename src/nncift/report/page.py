"""From opened runs to one HTML page: template, style, scripts and charts in one file, and nothing else may run there."""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.resources import files

from bokeh.embed import json_item
from bokeh.resources import Resources
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from nncift.report.comparing import compare, names_of
from nncift.report.gaining import growth
from nncift.report.listing import Listing, listing
from nncift.report.panels import Panel, panels
from nncift.report.reading import Run
from nncift.report.shown import plain, script_json
from nncift.report.spending import Spending, spending
from nncift.report.verdict import Verdict, verdict
from nncift.version import __version__

POINTS = 5000
"""Points of all maps of a page together."""

ROWS = 2000
"""Rows of all tables of a page together."""

_SENTENCE = 4000  # characters of a sentence, which may name what a stranger named


@dataclass(frozen=True, slots=True)
class Part:
    """What a page says of one run."""

    name: str
    folder: str
    verdict: Verdict
    notes: tuple[str, ...]
    closed: str | None
    drawn: tuple[Panel, ...]
    undrawn: tuple[Panel, ...]
    spending: Spending
    listing: Listing


def page(runs: Sequence[Run]) -> str:
    """The page of one run, or of several beside one another."""
    names = names_of(runs)
    parts = [
        part_of(run, name, points=POINTS // len(runs), rows=ROWS // len(runs))
        for run, name in zip(runs, names, strict=True)
    ]
    charts = {
        f"{number}-{panel.name}": json_item(panel.chart) for number, part in enumerate(parts) for panel in part.drawn
    }
    scripts = [
        _own("first.js"),
        Resources(mode="inline", components=["bokeh"], minified=True).js_raw[0],
        _own("page.js"),
    ]
    nonce = secrets.token_urlsafe(16)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"words": words, "plain": lambda text: plain(str(text), _SENTENCE)}
    text = environment.from_string(_own("page.html")).render(
        title=f"{names[0] if len(names) == 1 else f'{len(names)} runs'}",
        parts=parts,
        comparison=compare(runs) if len(runs) > 1 else None,
        charts=Markup(script_json(charts)),
        policy=policy(scripts, nonce),
        nonce=nonce,
        style=Markup(_own("page.css")),
        scripts=[Markup(script) for script in scripts],
        version=__version__,
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def part_of(run: Run, name: str, *, points: int, rows: int) -> Part:
    """What the page says of one run."""
    grown = growth(run)
    every = panels(run, grown, points)
    return Part(
        name=name,
        folder=str(run.folder),
        verdict=verdict(run, grown),
        notes=tuple(run.notes.values()),
        closed=run.closed,
        drawn=_laid_out([panel for panel in every if panel.chart is not None]),
        undrawn=tuple(panel for panel in every if panel.chart is None),
        spending=spending(run),
        listing=listing(run, rows),
    )


def words(text: object) -> Markup:
    """A sentence for the page: escaped, and what stands between backticks set as a name."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(plain(str(text), _SENTENCE)))))


def _laid_out(drawn: list[Panel]) -> tuple[Panel, ...]:
    """Pictures two beside one another; of an odd number of half ones the last takes a whole line."""
    halves = [k for k, panel in enumerate(drawn) if not panel.wide]
    if len(halves) % 2:
        drawn[halves[-1]] = replace(drawn[halves[-1]], wide=True)
    return tuple(drawn)


def policy(scripts: Sequence[str], nonce: str) -> str:
    """The content policy: the page's own scripts by their hashes, style by a nonce, pictures that lie in it, nothing else."""
    hashes = " ".join(f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in scripts)
    allowed = f"script-src {hashes}; style-src 'nonce-{nonce}'; img-src data:"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


def _own(name: str) -> str:
    return (files("nncift.report") / "templates" / name).read_text(encoding="utf-8")
