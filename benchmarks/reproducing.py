"""Puts the tables of kept experiments where docs/reproducing.md asks for them.

    python benchmarks/reproducing.py docs/reproducing.md

A place is `<!-- table NAME/FILE.md, HEADING -->` … `<!-- end -->`: between the two comes the table that stands under that
heading of `docs/results/experiments/NAME/tables/FILE.md`. Columns may be named behind a bar, `| R², gain at 10%`; then only the
columns before the first number and these are taken. Behind another bar, `| paper`, stands what a row must hold to be taken.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PLACE = re.compile(
    r"(<!-- table ([^,\n]+), ([^|\n]+?)(?: \| ([^|\n]+?))?(?: \| ([^|\n]+?))? -->\n).*?(<!-- end -->)", re.DOTALL
)


def table_under(text: str, heading: str) -> list[str]:
    """The lines of the first table under a heading.

    Raises:
        ValueError: there is no such heading, or no table under it.
    """
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if line.lstrip("#").strip() == heading and line[:1] == "#"), None)
    if start is None:
        raise ValueError(f"no heading {heading!r}")
    first = next((k for k in range(start + 1, len(lines)) if lines[k].startswith("|")), len(lines))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append(line)
    if not rows:
        raise ValueError(f"no table under {heading!r}")
    return rows


def narrowed(rows: list[str], wanted: str | None, word: str | None) -> list[str]:
    """The same table with the columns that name a row and the wanted ones, and the rows that hold a word.

    Raises:
        ValueError: a column is not there.
    """
    if wanted is None:
        return rows
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    cells = [*cells[:2], *(row for row in cells[2:] if word is None or word in row)]
    names = [name.strip() for name in wanted.split(",")]
    missing = [name for name in names if name not in cells[0]]
    if missing:
        raise ValueError(f"no column {missing[0]!r} among {cells[0]}")
    keep = [k for k, mark in enumerate(cells[1]) if not mark.endswith(":")]
    keep += [cells[0].index(name) for name in names]
    return ["| " + " | ".join(row[k] for k in keep) + " |" for row in cells]


def filled(text: str, folder: Path) -> str:
    """The page with its tables."""

    def fill(place: re.Match[str]) -> str:
        name, _, file = place[2].strip().partition("/")
        source = folder / name / "tables" / file
        rows = narrowed(table_under(source.read_text(encoding="utf-8"), place[3].strip()), place[4], place[5])
        return "\n".join([place[1].rstrip("\n"), *rows, place[6]])

    return PLACE.sub(fill, text)


def main() -> None:
    page = Path(sys.argv[1])
    page.write_text(filled(page.read_text(encoding="utf-8"), page.parent / "results" / "experiments"), encoding="utf-8")


if __name__ == "__main__":
    main()
