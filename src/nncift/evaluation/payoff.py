"""When selection pays: what a subset gained over random rows, and what choosing it took beside training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nncift.evaluation.bench import Cell
from nncift.evaluation.options import By
from nncift.evaluation.shown import better, signed
from nncift.evaluation.subjects import Subject
from nncift.evaluation.summary import Record

Table = list[list[Cell]]
"""[draws][seeds] cells of one subject by one route."""

_FEW = 0.02  # of the labels: fewer that were found computed move no cost


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


def payoff(measured: Sequence[Measured], pool: int, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What each subset gained over random rows, what it cost to choose and to train on, and whether that pays.

    Random rows are as cheap to train on and cost nothing to choose. So choosing pays only where it beats random: it has
    then paid after as many trainings on the subset as save, beside the whole pool, what it took.

    Args:
        measured: what was measured.
        pool: usable rows of the pool. Training on all of them was measured where the control `full` is there; else it is
            told from the rows of random subsets, and the record says so.
        records: those of `summarise`; the gain is that in loss where it was measured, else in the first metric.

    Returns:
        One record per subset by `lora`: its difference to random with interval and verdict; FLOPs and seconds of one
        training, of choosing, and of one training on the pool; `select_trainings`, choosing as a multiple of one training
        on the subset; `reused`, the share of labels that the run found computed; `pays_after`, the number of trainings
        from which choosing has paid, None where it never does or does not beat random.
    """
    trained = [entry for entry in measured if entry.by == "lora" and entry.table[0][0].rows]
    whole, measured_whole = _whole(trained, pool)
    gains = _gains(records)
    return [
        _record(entry, whole, measured_whole, gains.get(entry.subject.name))
        for entry in trained
        if entry.subject.control is None
    ]


def payoff_sentence(record: dict[str, Any]) -> str:
    """The same in words: the gain and the cost in one sentence."""
    train = _effort(record["train_flops"], record["train_seconds"])
    text = f"{record['subset']}: {_gain(record)}; one training on it takes {train}"
    whole, chosen = record["whole_flops"], record["select_flops"]
    if whole is not None:
        about = "" if record["whole_measured"] else "about "
        text += f", on the whole pool {about}{_effort(whole, record['whole_seconds'])}"
    if chosen is None:
        return f"{text}."
    reused = record["reused"]
    found = f", {reused:.0%} of its labels were found computed" if reused > _FEW else ""
    text += f"; choosing took {_effort(chosen, record['select_seconds'], found)}"
    if record["select_trainings"] is not None:
        text += f", {_times(record['select_trainings'])} times one training on it"
    return f"{text}: {_verdict(record)}."


def _verdict(record: dict[str, Any]) -> str:
    if record["verdict"] == "loses to random":
        return "it loses to random, and random rows cost nothing to choose"
    if record["verdict"] != "beats random":
        ends = record["diff_ci"]
        if ends is not None and (ends[0] > 0 or ends[1] < 0):
            return "among this many comparisons that may be chance; compare fewer subsets, or raise --draws"
        return "no gain over random is shown, and random rows cost nothing to choose"
    if record["whole_flops"] is None:
        return "it beats random"
    if record["pays_after"] is None:
        return "it beats random, and no training is saved"
    times = record["pays_after"]
    return f"it beats random, and has paid after {times:,} training{'s' if times > 1 else ''}"


def _gain(record: dict[str, Any]) -> str:
    if record["diff_random"] is None:
        return "not compared with random"
    metric = record["metric"]
    diff = signed(record["diff_random"], record["diff_ci"], metric)
    return f"{metric} {diff} against random, {better(metric)} is better"


def _gains(records: Sequence[Record]) -> dict[str, Record]:
    """By subset the record that its gain is told from."""
    found: dict[str, Record] = {}
    for record in records:
        chosen = record["by"] == "lora" and record["control"] is None
        if chosen and (record["subset"] not in found or record["metric"] == "loss"):
            found[record["subset"]] = record
    return found


def _record(
    entry: Measured, whole: dict[str, float] | None, measured_whole: bool, gain: Record | None
) -> dict[str, Any]:
    train, cost = _mean(entry.table), entry.subject.cost
    saved = None if whole is None else whole["flops"] - train["flops"]
    verdict = None if gain is None else gain["verdict"]
    pays = None
    if verdict == "beats random" and cost is not None and saved is not None and saved > 0:
        pays = max(1, math.ceil(cost["flops"] / saved))
    return {
        "subset": entry.subject.name,
        "rows": entry.table[0][0].rows,
        "tokens": entry.table[0][0].tokens,
        "metric": None if gain is None else gain["metric"],
        "diff_random": None if gain is None else gain["diff_random"],
        "diff_ci": None if gain is None else gain["diff_ci"],
        "verdict": verdict,
        "train_flops": train["flops"],
        "train_seconds": train["seconds"],
        "select_flops": None if cost is None else cost["flops"],
        "select_seconds": None if cost is None else cost["seconds"],
        "select_trainings": None if cost is None or not train["flops"] else cost["flops"] / train["flops"],
        "reused": None if cost is None else cost.get("reused", 0.0),
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


def _effort(flops: float, seconds: float, more: str = "") -> str:
    return f"{flops_text(flops)} ({seconds:,.0f} s{more})"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def flops_text(value: float) -> str:
    """FLOPs with three digits and a unit."""
    for power, unit in ((18, "EFLOP"), (15, "PFLOP"), (12, "TFLOP"), (9, "GFLOP")):
        if value >= 10**power:
            return f"{value / 10**power:,.3g} {unit}"
    return f"{value:,.0f} FLOP"
