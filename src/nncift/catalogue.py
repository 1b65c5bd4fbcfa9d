"""What there is to choose from: every registered name, and the table of influence functions."""

from __future__ import annotations

import re
from typing import Any, get_args

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from nncift import registry

_UNKNOWN_WIDTH = 200  # of a pipe or a file, which have none


def registry_lines() -> list[str]:
    """Names and first lines of everything registered."""
    lines = []
    for kind in get_args(registry.Kind):
        lines.append(f"{kind}s")
        lines += [f"  {name:<18} {_first_line(registry.load(kind, name))}" for name in registry.names(kind)]
    return lines


_COLUMNS = ("--influence", "what it is", "scores", "needs", "depends on", "by", "picks", "exact cost", "reference")


def influence_rows() -> list[dict[str, str]]:
    """What there is to know of every influence function, by column."""
    return [dict(zip(_COLUMNS, _influence_cells(name), strict=True)) for name in registry.names("influence")]


def influence_table() -> Table:
    """Every influence function, for a terminal."""
    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in influence_rows():
        table.add_row(*map(escape, row.values()))
    return table


def registry_tables() -> Group:
    """Names and first lines of everything registered, for a terminal."""
    tables = []
    for kind in get_args(registry.Kind):
        table = Table(f"{kind}s", "what it is", box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
        for column, width in zip(table.columns, (1, 4), strict=True):
            column.ratio = width
        table.columns[0].style = "bold cyan"
        for name in registry.names(kind):
            table.add_row(name, escape(_first_line(registry.load(kind, name))))
        tables.append(table)
    return Group(*tables)


def print_table(table: Table) -> None:
    """Prints a table on standard output, as wide as the terminal is."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_UNKNOWN_WIDTH)
    console.print(table)


def influence_markdown() -> list[str]:
    """The same table for a document."""
    rows = [(f"`{name}`", *cells) for name, *cells in (row.values() for row in influence_rows())]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    head = ("`--influence`", *_COLUMNS[1:])
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *escaped)]


def _influence_cells(name: str) -> tuple[str, ...]:
    influence = registry.load("influence", name)
    traits = influence().traits
    needed = {
        "a language model": traits.needs_model,
        "embeddings": traits.needs_embeddings,
    }
    return (
        name,
        _first_line(influence),
        "each pair" if traits.pairwise else "each row",
        " and ".join(word for word, is_needed in needed.items() if is_needed) or "nothing",
        "the model" if traits.needs_model else "the data",
        "gradients" if traits.gradients else "inference" if traits.needs_model else "neither",
        traits.objective,
        _told(influence, "Cost"),
        _told(influence, "Reference"),
    )


def _first_line(thing: Any) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]


def _told(thing: Any, heading: str) -> str:
    """The paragraph of a docstring behind a heading such as *Cost*, on one line."""
    found = re.search(rf"\*{heading}\*: (.+?)(?=\n\s*\*|\n\s*\n|$)", thing.__doc__ or "", re.DOTALL)
    return " ".join(found[1].split()) if found else "none"
