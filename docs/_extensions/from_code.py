"""What the program knows of itself, put into the pages where a comment asks for it, so that it cannot go stale.

    <!-- from code: influences -->                                  what each influence function needs, and its price
    <!-- from code: options nncift.config:SelectConfig pool -->     every option of a verb, and which has no flag
    <!-- from code: registry objective -->                          every registered class of a kind, by its docstring

A comment it is because a page that is read without being built then shows nothing odd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields
from importlib import import_module
from typing import Any, get_args, get_type_hints

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docstrings import prepare_docstring

from nncift import registry
from nncift.catalogue import influence_rows
from nncift.config import flag, is_list

MARK = re.compile(r"^<!-- from code: (\w+)((?: \S+)*) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Lets Sphinx call what is below on every page and docstring it reads."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", restructured)
    app.connect("autodoc-process-signature", signature)
    app.connect("doctree-read", dashes)
    app.connect("doctree-read", numbers)
    return {"parallel_read_safe": True}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replaces every mark of a page."""
    source[0] = MARK.sub(lambda mark: "\n".join(_WRITERS[mark[1]](*mark[2].split())), source[0])


def restructured(app: Sphinx, what: str, name: str, thing: Any, settings: Any, lines: list[str]) -> None:
    """Makes reStructuredText of what our docstrings have besides: indented formulas, bars of absolute values, and a
    *Reference* close behind the *Cost*."""
    if isinstance(thing, property):  # napoleon takes what stands before a colon for its type
        lines[:] = prepare_docstring(thing.__doc__ or "")
    told = [""]
    formula = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not told[-1] and not formula and not _last(told).startswith((":", "..", "   ")):
            told += ["::", ""]
            formula = True
        formula = formula and (indented or not line)
        if line.startswith("*Reference*"):
            told.append("")
        told.append(line if formula else re.sub(r"(`[^`]*`)|\|", lambda found: found[1] or r"\|", line))
    lines[:] = told[1:]


def _last(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line), "")


def signature(app: Sphinx, what: str, name: str, thing: Any, settings: Any, given: str, returned: str) -> Any:
    """Only of what a user makes or gives options: nobody makes a selection by hand, and configurations have tables."""
    made = name.startswith(("nncift.influence.", "nncift.objective."))
    return (given, returned) if what != "class" or made else ("", None)


def dashes(app: Sphinx, doctree: nodes.document) -> None:
    """The dash between an argument and its meaning, which Sphinx writes as two hyphens."""
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def numbers(app: Sphinx, doctree: nodes.document) -> None:
    """Marks the cells that hold a number, with its interval or error perhaps, so that the style sheet knows measurements."""
    for cell in doctree.findall(nodes.entry):
        if re.fullmatch(r"[-+−]?\.?\d[^a-z]{0,30}", cell.astext()):
            cell["classes"].append("number")


def influences() -> Iterator[str]:
    """Two narrow tables in place of the README's wide one."""
    rows = [dict(row) for row in influence_rows()]
    shown = ("what it is", "scores", "needs", "by", "picks")
    yield from _table(("`--influence`", *shown), ((_linked(row), *(row[name] for name in shown)) for row in rows))
    yield ""
    yield from _table(("`--influence`", "exact cost"), ((_linked(row), row["exact cost"]) for row in rows))


def _linked(row: dict[str, str]) -> str:
    name = row["--influence"]
    return f"[`{name}`](/reference/influences.md#{name})"


def options(path: str, argument: str) -> Iterator[str]:
    """The fields of a configuration dataclass, one of which is named without a flag: flag, default, meaning."""
    module, _, name = path.partition(":")
    config = getattr(import_module(module), name)
    hints = get_type_hints(config)
    yield from _table(
        ("option", "default", "what"),
        ((_flags(item, argument), _default(item), _meaning(item, hints[item.name])) for item in fields(config)),
    )


def _flags(item: Field[Any], argument: str) -> str:
    if item.name == argument:
        return f"`{argument.upper()}`"
    short = item.metadata["short"]
    return f"`{flag(item.name)}`" + (f", `{short}`" if short else "")


def _default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "must be given"
    if item.default is None or item.default == ():
        return "none"
    if isinstance(item.default, bool):
        return "on" if item.default else "off"
    return f"`{item.default}`"


def _meaning(item: Field[Any], hint: Any) -> str:
    choices = [choice for part in (hint, *get_args(hint)) for choice in get_args(part) if isinstance(choice, str)]
    words = [re.sub(r"(?<![`\w-])--[a-z-]+", r"`\g<0>`", item.metadata["help"])]
    if choices:
        words.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".")
    if is_list(hint):
        words.append("A list in Python and in a recipe.")
    return " ".join(words)


def classes(kind: registry.Kind) -> Iterator[str]:
    """A heading and the docstring of every class of one kind, in the registry's order."""
    for name in registry.names(kind):
        found = registry.load(kind, name)
        kept = "autofunction" if callable(found) and not isinstance(found, type) else "autoclass"
        yield from (
            f"## {name}",
            "",
            "```{eval-rst}",
            f".. {kept}:: {found.__module__}.{found.__qualname__}",
            "```",
            "",
        )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = tuple(head)
    for row in (head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)):
        yield "| " + " | ".join(row) + " |"


_WRITERS: dict[str, Callable[..., Iterator[str]]] = {
    "influences": influences,
    "options": options,
    "registry": classes,
}
