"""The pages of `subsets.py`: tables as Markdown, and every cell as JSON, without any text of the data.

    python benchmarks/subsets_page.py docs/results

writes the table over all settings into the folder's README.md from the JSON files that are there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nncift.evaluation.evaluate import Evaluation
from nncift.evaluation.payoff import flops_text
from nncift.version import __version__

TITLES = {
    "task": "Task-specific: two of T0's tasks, in a pool of all of them",
    "general": "General: Alpaca, helped by rows of Alpaca",
    "noisy": "A noisy pool: a fifth of Alpaca's responses swapped or random letters",
}
SHARE = {"selectit": "15%"}
"""Of the ratings that NN-CIFT learns from: SelectIT has one a row, 300 in all, and 5 % are too few to learn from."""
USUAL_SHARE = "5%"
START, END = "<!-- python benchmarks/subsets_page.py docs/results -->", "<!-- end -->"
HEADS = (
    *("subset", "rows", "loss", "minus random", "in sd of one draw", "p (Holm)", ""),
    *("tokens", "choosing", "one training", "paid after"),
)


def write(asked: argparse.Namespace, found: Evaluation, command: str) -> None:
    """The tables as Markdown and every cell as JSON."""
    asked.write.mkdir(parents=True, exist_ok=True)
    cells = json.loads((found.folder / "cells.json").read_text(encoding="utf-8"))
    for entry in cells:
        for draw in entry["cells"]:
            for cell in draw:
                cell["loss"] = [None if loss is None else round(loss, 5) for loss in cell["loss"]]
    body = {"records": found.records, "costs": found.costs, "notes": found.notes, "cells": cells}
    (asked.write / f"{asked.page or asked.setting}.json").write_text(json.dumps(body) + "\n", encoding="ascii")
    (asked.write / f"{asked.page or asked.setting}.md").write_text(
        "\n".join(page(asked, found, command)) + "\n", encoding="utf-8"
    )


def page(asked: argparse.Namespace, found: Evaluation, command: str) -> list[str]:
    """One setting's page."""
    spent = {cost["subset"]: cost for cost in found.costs}
    spread = _spread(found)
    lines = [
        f"# {TITLES[asked.setting]}",
        "",
        f"`{command}`",
        "",
        f"NN-CIFT {__version__}, {asked.model}, {versions(found)}; adapters of rank 8 on all linear layers, 3 epochs,",
        f"learning rate 5e-4, batch 4; {asked.seeds} training seeds, {asked.draws} random draws, each trained once. Loss in",
        f"nats per response token on {found.records[0]['n'] // found.records[0]['cells']:,} test rows, lower is better;",
        "intervals 95 %. p is adjusted over the chosen subsets; controls stand beside without a claim.",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
    ]
    for record in sorted(found.records, key=lambda record: (record["size"], _mean_of(record))):
        cost = spent.get(record["subset"], {}) if record["control"] is None else {}
        cells = [*_scores(record, spread.get(record["size"])), *_prices(cost)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in found.notes.values())]


def _scores(record: Any, sd: float | None) -> list[str]:
    """What was measured of a subset."""
    diff, ends, mean = record["diff_random"], record["diff_ci"], record["ci"]
    said = {"beats random": "**beats random**", "no difference shown": ""}
    return [
        _name(record["subset"]),
        _rows(record["rows"]),
        "" if record["mean"] is None or mean is None else f"{record['mean']:.3f} [{mean[0]:.3f}, {mean[1]:.3f}]",
        "" if diff is None or ends is None else f"{diff:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]",
        "" if diff is None or not sd else f"{diff / sd:+.1f}",
        "" if record["p_holm"] is None else f"{record['p_holm']:.3f}",
        said.get(record["verdict"], record["verdict"] or ""),
    ]


def _prices(cost: Mapping[str, Any]) -> list[str]:
    """What it cost."""
    if not cost:
        return [""] * 4
    chosen, times, pays = cost["select_flops"], cost["select_trainings"], cost["pays_after"]
    dear = "" if times is None else f" = {times:,.3g} trainings"
    return [
        f"{cost['tokens']:,}",
        "" if chosen is None else f"{flops_text(chosen)}, {cost['select_seconds']:,.0f} s{dear}",
        f"{flops_text(cost['train_flops'])}, {cost['train_seconds']:,.0f} s",
        "" if pays is None else f"{pays:,} training{'s' * (pays > 1)}",
    ]


def _spread(found: Evaluation) -> dict[int, float]:
    """By size the standard deviation of the mean loss over random draws, where there are two or more."""
    cells = json.loads((found.folder / "cells.json").read_text(encoding="utf-8"))
    drawn = {
        entry["size"]: [float(np.mean([_loss(cell) for cell in draw])) for draw in entry["cells"]]
        for entry in cells
        if entry["control"] == "random"
    }
    return {size: float(np.std(means, ddof=1)) for size, means in drawn.items() if len(means) > 1}


def _loss(cell: Mapping[str, Any]) -> float:
    return float(np.mean([loss for loss in cell["loss"] if loss is not None]))


def _mean_of(record: Mapping[str, Any]) -> float:
    return math.inf if record["mean"] is None else record["mean"]


def _rows(rows: float) -> str:
    return f"{int(rows):,}" if rows == int(rows) else f"{rows:,.1f}"


def versions(found: Evaluation) -> str:
    """Number format, device and packages of an evaluation."""
    environment = json.loads((found.folder / "environment.json").read_text(encoding="utf-8"))
    packages = environment["packages"]
    where = f"{environment['dtype']} on {environment['device']}"
    return f"{where}, torch {packages['torch']}, transformers {packages['transformers']}"


def _name(run: str) -> str:
    """`less-facility-location-exact-10` as a reader says it."""
    for way in ("exact", "nncift"):
        head, mark, _ = run.partition(f"-{way}-")
        if mark:
            influence, _, rule = head.partition("-")
            share = SHARE.get(influence, USUAL_SHARE).replace("%", " %")
            of = "ratings" if influence in SHARE else "influences"
            return f"{influence}, {rule}, {f'every one of the {of}' if way == 'exact' else f'NN-CIFT from {share} of the {of}'}"
    return run


def overview(folder: Path) -> list[str]:
    """Gain over random by subset and setting, from the JSON files of a folder that are there."""
    found = {}
    for name in TITLES:
        if (path := folder / f"{name}.json").is_file():
            found[name] = {
                (record["subset"], record["size"]): record
                for record in json.loads(path.read_text(encoding="utf-8"))["records"]
            }
    if not found:
        return ["No setting has been measured yet."]
    every = list(
        dict.fromkeys(key for of in found.values() for key, record in of.items() if record["control"] != "random")
    )
    order = {key: np.mean([of[key]["diff_random"] or 0.0 for of in found.values() if key in of]) for key in every}
    lines = [
        f"| subset | rows | {' | '.join(f'[{name}]({name}.md)' for name in found)} |",
        "|---" * (2 + len(found)) + "|",
    ]
    for key in sorted(every, key=lambda key: (key[1], order[key])):
        records = [of.get(key) for of in found.values()]
        rows = dict.fromkeys(_rows(record["rows"]) for record in records if record is not None)
        lines.append(f"| {_name(key[0])} | {' / '.join(rows)} | {' | '.join(map(_gain, records))} |")
    return lines


def _gain(record: Any) -> str:
    if record is None or record["diff_random"] is None or record["diff_ci"] is None:
        return ""
    low, high = record["diff_ci"]
    text = f"{record['diff_random']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if record["verdict"] == "beats random" else text


def main() -> None:
    """Writes the overview between its marks."""
    folder = Path(sys.argv[1])
    page = folder / "README.md"
    head, _, rest = page.read_text(encoding="utf-8").partition(f"{START}\n")
    _, _, tail = rest.partition(END)
    page.write_text("\n".join([f"{head}{START}", *overview(folder), f"{END}{tail}"]), encoding="utf-8")


if __name__ == "__main__":
    main()
