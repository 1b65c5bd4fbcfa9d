"""The records for a terminal: one table per metric, and what its numbers are worth."""

from __future__ import annotations

import io
import math
import textwrap
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nncift.evaluation.statistics import Verdict
from nncift.evaluation.summary import Record, comparisons, higher_is_better

WIDTH = 100
"""Columns of a table; a name that does not fit is broken."""

_INDENT = "  "
_UNITS = {"loss": "nats per response token, ", "judge": "1 to 5, "}


def shown(records: Sequence[Record]) -> list[str]:
    """Lines to print: for each route and metric a table, best mean first, then what the comparisons are worth.

    A mean's own interval is shown where there is no difference to random, which says more; the records hold both.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["metric"], record["by"]), []).append(record)
    lines = []
    for (metric, by), group in groups.items():
        lines += [f"{metric} by {by}, {_UNITS.get(metric, '')}{better(metric)} is better", *_table(group, metric)]
        lines += [*_texts(group, metric), *_wrapped(_behind(group)), ""]
    return [*lines, *_wrapped(_closing(records))]


def better(metric: str) -> str:
    """`higher` or `lower`."""
    return "higher" if higher_is_better(metric) else "lower"


def signed(diff: float, ends: Sequence[float] | None, metric: str) -> str:
    """A difference with its interval: `-0.196 [-0.210, -0.182]`."""
    form = f"+z.{_decimals(metric)}f"
    return f"{diff:{form}}" + (f" [{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "")


def _table(group: Sequence[Record], metric: str) -> list[str]:
    """Everything but random rows of as many tokens, which are there for one subset each."""
    compared = any(record["diff_random"] is not None for record in group)
    heads = ("mean", "minus random [95 %]", "p", "") if compared else ("mean [95 %]",)
    rows = []
    for record in sorted(group, key=lambda record: _rank(record["mean"], metric)):
        if record["matched"] is None:
            cells = [record["subset"], _rows(record["rows"]), _mean(record, metric, ends=not compared)]
            rows.append([*cells, *_difference(record, metric)] if compared else cells)
    return _drawn(("subset", "rows", *heads), rows)


def _texts(group: Sequence[Record], metric: str) -> list[str]:
    """The user's subsets beside random rows of as many tokens."""
    beside = {(record["matched"], record["size"]): record for record in group if record["matched"] is not None}
    rows = []
    for record in sorted(group, key=lambda record: _rank(record["mean"], metric)):
        diff, other = record["diff_random_tokens"], beside.get((record["subset"], record["size"]))
        if diff is None or other is None:
            continue
        ends, p = record["diff_random_tokens_ci"], record["p_holm_tokens"]
        cells = (_rows(other["rows"]), _mean(other, metric), signed(diff, ends, metric), _p(p))
        rows.append([record["subset"], *cells, _claim(record["verdict_tokens"])])
    heads = ("subset", "rows", "mean", "minus these [95 %]", "p", "")
    return ["against random rows of as many tokens as the subset has", *_drawn(heads, rows)] if rows else []


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for k, head in enumerate(heads):
        table.add_column(
            head, justify="right" if head in ("rows", "mean", "p") else "left", no_wrap=k > 0, overflow="fold"
        )
    for cells in rows:
        table.add_row(*map(Text, cells))
    console = Console(width=WIDTH - len(_INDENT), file=io.StringIO(), color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return [(_INDENT + line).rstrip() for line in capture.get().splitlines()]


def _difference(record: Record, metric: str) -> tuple[str, str, str]:
    diff = record["diff_random"]
    if diff is None:
        return "", "", ""
    return signed(diff, record["diff_ci"], metric), _p(record["p_holm"]), _claim(record["verdict"])


def _claim(verdict: Verdict | None) -> str:
    """Nothing where no difference is shown, so that what is found stands out."""
    return "" if verdict is None or verdict == "no difference shown" else verdict


def _behind(group: Sequence[Record]) -> str:
    """How many trainings and scores are behind the means."""
    said: dict[str, list[str]] = {}
    for record in group:
        name = record["subset"] if record["matched"] is None else "random rows of as many tokens"
        said.setdefault(_trained(record), []).append(name)
    chosen = [record for record in group if record["control"] is None] or group
    usual, _ = Counter(map(_trained, chosen)).most_common(1)[0]
    parts = [usual]
    parts += [f"{words} for {_names(names)}" for words, names in said.items() if words != usual]
    text = f"Behind a mean: {'; '.join(parts)}."
    lacking = [record for record in group if record["n_scored"] < record["n"]]
    if not lacking:
        return f"{text} No score is missing."
    counts = (f"{record['subset']} {record['n_scored']:,} of {record['n']:,}" for record in lacking)
    return f"{text} Not all are scored: {'; '.join(counts)}."


def _trained(record: Record) -> str:
    seeds = f"{record['seeds']} seed{'' if record['seeds'] == 1 else 's'}"
    if record["draws"] == 1:
        return seeds
    how = "" if record["seeds"] == 1 else " in turn" if record["cells"] == record["draws"] else " each"
    return f"{record['draws']} draws, {seeds}{how}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _closing(records: Sequence[Record]) -> str:
    count = comparisons(records)
    if not count:
        return "No chosen subset could be compared with random draws."
    text = (
        f"p is adjusted (Holm) for {count} comparison{'' if count == 1 else 's'} of chosen subsets with random rows, the "
        "interval of a difference (95 %, each for itself) allows for what one more random draw would give, and where the "
        "line makes no claim, no difference is shown"
    )
    ends = [record["diff_ci"] for record in records if record["diff_random"] is not None]
    ends += [record["diff_random_tokens_ci"] for record in records if record["diff_random_tokens"] is not None]
    if None in ends:
        return f"{text}; without an interval, random draws or test rows are too few to judge by."
    return f"{text}."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _rank(mean: float | None, metric: str) -> float:
    return math.inf if mean is None else -mean if higher_is_better(metric) else mean


def _mean(record: Record, metric: str, *, ends: bool = False) -> str:
    if record["mean"] is None:
        return "none"
    form = f".{_decimals(metric)}f"
    text = f"{record['mean']:{form}}"
    return f"{text} [{record['ci'][0]:{form}}, {record['ci'][1]:{form}}]" if ends and record["ci"] else text


def _rows(rows: float) -> str:
    return f"{int(rows):,}" if rows == int(rows) else f"{rows:,.1f}"


def _decimals(metric: str) -> int:
    return 2 if metric == "judge" else 3


def _p(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"
