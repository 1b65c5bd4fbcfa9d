"""A table as Markdown, as CSV and as LaTeX: whatever the names in it hold."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DASH = "–"
"""What stands where there is nothing."""

Value = str | float | int | None

_MARKDOWN = re.compile(r"([\\`*_|~$#])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "²": r"$^2$",
    "−": "$-$",
    DASH: "--",
} | {one: f"\\{one}" for one in "$&#_%"}


@dataclass(frozen=True, slots=True)
class Block:
    """One table to print.

    Attributes:
        heading: above it.
        columns: heads; the first columns name the row.
        names: how many columns those are, left-aligned.
        rows: cells as words.
        notes: sentences below.
    """

    heading: str
    columns: tuple[str, ...]
    names: int
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that one entry under `tables` writes.

    Attributes:
        blocks: what people read, rounded.
        lines: what programs read: a dictionary for each number, nothing rounded.
        notes: below all of it.
    """

    blocks: tuple[Block, ...]
    lines: tuple[Mapping[str, Value], ...]
    notes: tuple[str, ...] = ()


def write_table(table: Table, folder: Path, name: str, *, title: str, claim: str, images: Sequence[str]) -> list[Path]:
    """Writes `NAME.md`, `NAME.csv` and `NAME.tex`.

    Args:
        table: what to write.
        folder: that exists.
        name: of the files.
        title: heading.
        claim: what it is held against; empty for nothing.
        images: paths of figures as the Markdown file names them.
    """
    texts = {
        "md": _markdown(table, title, claim, images),
        "csv": _csv(table.lines),
        "tex": _latex(table, title),
    }
    paths = []
    for suffix, text in texts.items():
        path = folder / f"{name}.{suffix}"
        path.write_text(text, encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def clean(text: str) -> str:
    """On one line, and nothing that cannot be printed or encoded."""
    return "".join(one if one.isprintable() else "\ufffd" for one in " ".join(text.split()))


def markdown(text: str) -> str:
    """Words as Markdown shows them, in a table too."""
    escaped = _MARKDOWN.sub(r"\\\1", clean(text).replace("&", "&amp;").replace("<", "&lt;"))
    return escaped.replace("](", "]\\(")


def latex(text: str) -> str:
    """Words as LaTeX shows them."""
    return "".join(_LATEX.get(one, one) for one in clean(text))


def _markdown(table: Table, title: str, claim: str, images: Sequence[str]) -> str:
    lines = [f"# {markdown(title)}", ""]
    lines += [markdown(claim), ""] if claim else []
    for block in table.blocks:
        lines += [f"## {markdown(block.heading)}", ""]
        marks = [":--" if k < block.names else "--:" for k in range(len(block.columns))]
        for row in (tuple(map(markdown, block.columns)), marks, *(tuple(map(markdown, row)) for row in block.rows)):
            lines.append(f"| {' | '.join(row)} |")
        lines += ["", *(markdown(note) + "  " for note in block.notes), ""]
    lines += [line for image in images for line in (f"![{markdown(title)}]({image})", "")]
    lines += [f"- {markdown(note)}" for note in table.notes]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _csv(lines: Sequence[Mapping[str, Value]]) -> str:
    heads = list(dict.fromkeys(head for line in lines for head in line))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([clean(head) for head in heads])
    for line in lines:
        cells = [line.get(head) for head in heads]
        writer.writerow(
            [clean(cell) if isinstance(cell, str) else "" if cell is None else repr(cell) for cell in cells]
        )
    return stream.getvalue()


def _latex(table: Table, title: str) -> str:
    lines = ["% Needs \\usepackage{booktabs}."]
    for block in table.blocks:
        form = "l" * block.names + "r" * (len(block.columns) - block.names)
        lines += [
            "\\begin{table}",
            f"\\caption{{{latex(f'{title}: {block.heading}')}}}",
            f"\\begin{{tabular}}{{{form}}}",
        ]
        lines += ["\\toprule", _row(block.columns), "\\midrule", *map(_row, block.rows), "\\bottomrule"]
        lines += ["\\end{tabular}", *(f"\\par {latex(note)}" for note in block.notes), "\\end{table}", ""]
    lines += [f"% {latex(note)}" for note in table.notes]
    return "\n".join(lines).strip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(latex, cells))} \\\\"
