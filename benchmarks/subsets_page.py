"""The pages of `subsets.py`: tables as Markdown, and every cell as JSON, without any text of the data.

    python benchmarks/subsets_page.py docs/results

writes the table over all settings into the folder's README.md from the JSON files that are there.
"""

from __future__ import annotations

import argparse
import json
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
COMMAND = "python benchmarks/subsets.py {setting} DATA --folder runs/{setting} --write docs/results"
START, END = "<!-- python benchmarks/subsets_page.py docs/results -->", "<!-- end -->"
HEADS = (
    *("subset", "rows", "loss", "minus random", "in sd of one draw", "p (Holm)", ""),
    *("tokens", "choosing", "one training", "paid after"),
)


def write(asked: argparse.Namespace, found: Evaluation) -> None:
    """The tables as Markdown and every cell as JSON."""
    asked.write.mkdir(parents=True, exist_ok=True)
    cells = json.loads((found.folder / "cells.json").read_text(encoding="utf-8"))
    for entry in cells:
        for draw in entry["cells"]:
            for cell in draw:
                cell["loss"] = [None if loss is None else round(loss, 5) for loss in cell["loss"]]
    body = {"records": found.records, "costs": found.costs, "notes": found.notes, "cells": cells}
    (asked.write / f"{asked.setting}.json").write_text(json.dumps(body) + "\n", encoding="ascii")
    (asked.write / f"{asked.setting}.md").write_text("\n".join(page(asked, found)) + "\n", encoding="utf-8")


def page(asked: argparse.Namespace, found: Evaluation) -> list[str]:
    """One setting's page."""
    spent = {cost["subset"]: cost for cost in found.costs}
    spread = _spread(found)
    lines = [
        f"# {TITLES[asked.setting]}",
        "",
        f"`{COMMAND.format(setting=asked.setting)}`",
        "",
        f"NN-CIFT {__version__}, {asked.model}, {_versions(found)}; adapters of rank 8 on all linear layers, 3 epochs,",
        f"learning rate 5e-4, batch 4; {asked.seeds} training seeds, {asked.draws} random draws, each trained once. Loss in",
        f"nats per response token on {found.records[0]['n'] // found.records[0]['seeds']:,} test rows, lower is better;",
        "intervals 95 %.",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---" * len(HEADS) + "|",
    ]
    for record in sorted(found.records, key=lambda record: (record["size"], record["mean"])):
        cost = spent.get(record["subset"], {})
        cells = [*_scores(record, spread.get(record["size"])), *_prices(cost)]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(f"{sentence.capitalize()}." for sentence in found.notes.values())]


def _scores(record: Any, sd: float | None) -> list[str]:
    """What was measured of a subset."""
    diff, ends = record["diff_random"], record["diff_ci"]
    said = {"beats random": "**beats random**", "no difference shown": ""}
    return [
        _name(record["subset"]),
        f"{record['size']:,}",
        f"{record['mean']:.3f} [{record['ci'][0]:.3f}, {record['ci'][1]:.3f}]",
        "" if diff is None or ends is None else f"{diff:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]",
        "" if diff is None or not sd else f"{diff / sd:+.1f}",
        "" if record["p_holm"] is None else f"{record['p_holm']:.3f}",
        said.get(record["verdict"], record["verdict"] or ""),
    ]


def _prices(cost: Mapping[str, Any]) -> list[str]:
    """What it cost."""
    if not cost:
        return [""] * 4
    chosen, pays = cost["select_flops"], cost["pays_after"]
    return [
        f"{cost['tokens']:,}",
        "" if chosen is None else flops_text(chosen),
        flops_text(cost["train_flops"]),
        "" if pays is None else f"{pays:,} trainings",
    ]


def _spread(found: Evaluation) -> dict[int, float]:
    """By size the standard deviation of the mean loss over random draws."""
    cells = json.loads((found.folder / "cells.json").read_text(encoding="utf-8"))
    return {
        entry["size"]: float(
            np.std([np.mean([np.mean(cell["loss"]) for cell in draw]) for draw in entry["cells"]], ddof=1)
        )
        for entry in cells
        if entry["control"] == "random"
    }


def _versions(found: Evaluation) -> str:
    environment = json.loads((found.folder / "environment.json").read_text(encoding="utf-8"))
    packages = environment["packages"]
    where = f"{environment['dtype']} on {environment['device']}"
    return f"{where}, torch {packages['torch']}, transformers {packages['transformers']}"


def _name(run: str) -> str:
    """`less-facility-location-exact-10` as a reader says it."""
    for way, words in (("exact", "every influence"), ("nncift", "through NN-CIFT")):
        head, mark, _ = run.partition(f"-{way}-")
        if mark:
            influence, _, rule = head.partition("-")
            return f"{influence}, {rule}, {words}"
    return run


def overview(folder: Path) -> list[str]:
    """Gain over random by subset and setting, from the JSON files of a folder."""
    found = {}
    for name in TITLES:
        if (path := folder / f"{name}.json").is_file():
            found[name] = {
                (record["subset"], record["size"]): record
                for record in json.loads(path.read_text(encoding="utf-8"))["records"]
            }
    every = list(dict.fromkeys(key for records in found.values() for key in records if key[0] != "random"))
    order = {key: np.mean([of[key]["diff_random"] or 0.0 for of in found.values() if key in of]) for key in every}
    lines = [
        f"| subset | rows | {' | '.join(f'[{name}]({name}.md)' for name in found)} |",
        "|---" * (2 + len(found)) + "|",
    ]
    for key in sorted(every, key=lambda key: (key[1], order[key])):
        cells = [_gain(records.get(key)) for records in found.values()]
        lines.append(f"| {_name(key[0])} | {key[1]:,} | {' | '.join(cells)} |")
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
