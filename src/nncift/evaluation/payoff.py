"""When selection pays: what choosing a subset took, beside what training on it and on the whole pool takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nncift.evaluation.bench import Cell
from nncift.evaluation.options import By
from nncift.evaluation.subjects import Subject

Table = list[list[Cell]]
"""[draws][seeds] cells of one subject by one route."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One subject by one route.

    Attributes:
        subject: what was shown to the model.
        by: how.
        table: its cells.
    """

    subject: Subject
    by: By
    table: Table


def payoff(measured: Sequence[Measured], pool: int) -> list[dict[str, Any]]:
    """What each subset cost to choose and to train on, and after how many trainings choosing it has saved more than it took.

    Args:
        measured: what was measured.
        pool: usable rows of the pool. Training on all of them was measured where the control `full` is there; else it is
            told from the rows of random subsets, and the record says so.

    Returns:
        One record per subset by `lora`: FLOPs and seconds of one training, of choosing, and of one training on the pool;
        `pays_after` is the number of trainings from which choosing has paid, None where it never does.
    """
    trained = [entry for entry in measured if entry.by == "lora" and entry.table[0][0].rows]
    whole, measured_whole = _whole(trained, pool)
    return [_record(entry, whole, measured_whole) for entry in trained if entry.subject.control is None]


def payoff_sentence(record: dict[str, Any]) -> str:
    """The same in words."""
    text = (
        f"{record['subset']}: one training takes {flops_text(record['train_flops'])} ({record['train_seconds']:,.0f} s)"
    )
    if record["select_flops"] is not None:
        text += f", choosing took {flops_text(record['select_flops'])} ({record['select_seconds']:,.0f} s)"
    if record["whole_flops"] is None:
        return f"{text}."
    about = "" if record["whole_measured"] else "about "
    text += f"; one training on the whole pool takes {about}{flops_text(record['whole_flops'])}"
    if record["select_flops"] is None:
        return f"{text}."
    if record["pays_after"] is None:
        return f"{text}: no training is saved."
    times = record["pays_after"]
    return f"{text}: choosing has paid after {times:,} training{'s' if times > 1 else ''}."


def _record(entry: Measured, whole: dict[str, float] | None, measured_whole: bool) -> dict[str, Any]:
    train, cost = _mean(entry.table), entry.subject.cost
    saved = None if whole is None else whole["flops"] - train["flops"]
    pays = None
    if cost is not None and saved is not None and saved > 0:
        pays = max(1, math.ceil(cost["flops"] / saved))
    return {
        "subset": entry.subject.name,
        "rows": entry.table[0][0].rows,
        "tokens": entry.table[0][0].tokens,
        "train_flops": train["flops"],
        "train_seconds": train["seconds"],
        "select_flops": None if cost is None else cost["flops"],
        "select_seconds": None if cost is None else cost["seconds"],
        "whole_flops": None if whole is None else whole["flops"],
        "whole_seconds": None if whole is None else whole["seconds"],
        "whole_measured": measured_whole,
        "pays_after": pays,
    }


def _whole(trained: Sequence[Measured], pool: int) -> tuple[dict[str, float] | None, bool]:
    """One training on the whole pool, and whether it was measured."""
    for entry in trained:
        if entry.subject.control == "full":
            return _mean(entry.table), True
    for entry in trained:
        if entry.subject.control == "random":
            scale = pool / entry.table[0][0].rows
            return {name: scale * value for name, value in _mean(entry.table).items()}, False
    return None, False


def _mean(table: Table) -> dict[str, float]:
    cells = [cell for draw in table for cell in draw]
    return {name: math.fsum(cell.costs[name] for cell in cells) / len(cells) for name in ("flops", "seconds")}


def flops_text(value: float) -> str:
    """FLOPs with three digits and a unit."""
    for power, unit in ((18, "EFLOP"), (15, "PFLOP"), (12, "TFLOP"), (9, "GFLOP")):
        if value >= 10**power:
            return f"{value / 10**power:,.3g} {unit}"
    return f"{value:,.0f} FLOP"
