"""What the labels of a full matrix teach each estimator, by design and number of labels: the page of `nncift fidelity`.

    python benchmarks/estimators.py LABELS.npz POOL TARGET --model gemma-3-270m [--repeats 10] [--write docs/results]

LABELS.npz holds every pair's influence (`nncift label --labels all`). Every line of the page is printed by `nncift fidelity`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import nncift
from nncift.data.arrays import read_npz
from nncift.rehearsal.gains import BUDGETS
from nncift.rehearsal.records import Figure, Record
from nncift.version import __version__

FIGURES = ("r2", "spearman", "row_spearman", "candidate_spearman", "top30_overlap", "coverage90")
HEADS = (
    "which pairs",
    "estimator",
    "R²",
    "Spearman",
    "within target",
    "candidate means",
    "top-30 % overlap",
    "in 90 % intervals",
)


EVERY = "gaussian-process,network,paper,means"
LAYOUTS = ("none", "20", "100", "500", "100,50", "1000,500")


def rows(records: Sequence[Record], *, of: str = "") -> list[str]:
    """A line of the table for each record; `of` is what there is to add to the estimators' names."""
    lines = []
    for record in records:
        gain = record["objective_gain"] or {}
        cells = [*(record[name] for name in FIGURES), *(gain.get(share) for share in BUDGETS), record["seconds"]]
        star = " (default)" if record["default"] else ""
        lines.append(f"| {record['design']} | {record['estimator']}{of}{star} | {' | '.join(map(_cell, cells))} |")
    return lines


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure['mean']:.2f}" + ("" if figure["se"] is None else f" ± {figure['se']:.2f}")


def main() -> None:
    """Prints the page, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("pool")
    parser.add_argument("target")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    m, n = read_npz(asked.labels)["values"].shape
    gains = [f"gain at {share}" for share in BUDGETS]
    lines = [
        "# What the labels teach each estimator",
        "",
        "`python benchmarks/estimators.py LABELS.npz POOL TARGET --write docs/results`",
        "",
        f"NN-CIFT {__version__}; exact DELIFT influences of Gemma 3 270M on Alpaca, {m} targets × {n} candidates; mean ±",
        f"standard error over {asked.repeats} draws of the labels. R², Spearman and within target: over pairs without label.",
        "Candidate means and overlap: means over all targets, predicted against true, no label put in; in 90 % intervals:",
        "the share of candidates whose mean lies in the interval that the estimator gave it. Gain: facility location on the",
        "exact matrix of what is chosen from predictions alone, 0 for random subsets, 1 for exact greedy. Seconds: fit",
        "and prediction of all pairs.",
    ]
    common = {"pool": asked.pool, "target": asked.target, "embedder": "minilm", "repeats": asked.repeats}
    trials = [
        ("5 % of the pairs, all designs", {"labels": "5%", "design": "all", "estimator": EVERY, "model": asked.model}),
        ("5 %, without a language model", {"labels": "5%", "estimator": "gaussian-process"}),
        (
            "1 %",
            {"labels": "1%", "design": "stripes,spread", "estimator": "gaussian-process,means", "model": asked.model},
        ),
        ("10 %", {"labels": "10%", "estimator": "gaussian-process,means,paper", "model": asked.model}),
        ("20 %", {"labels": "20%", "estimator": "gaussian-process,means", "model": asked.model}),
        (
            "5 %, half of the candidates withheld from labelling",
            {"labels": "5%", "estimator": "gaussian-process,means", "model": asked.model, "unseen": "50%"},
        ),
        ("5 %, chosen by cross-validation", {"labels": "5%", "estimator": "auto", "model": asked.model}),
        ("1 %, chosen by cross-validation", {"labels": "1%", "estimator": "auto", "model": asked.model}),
    ]
    for title, options in trials:
        found = nncift.fidelity(str(asked.labels), **common, **options)
        for kind, words in (("all", ""), ("unseen", ": those candidates alone")):
            part = [record for record in found if record["candidates"] == kind]
            if part:
                lines += ["", f"## {title}{words}", f"| {' | '.join([*HEADS, *gains, 'seconds'])} |"]
                lines += ["|---|---|" + "--:|" * (len(HEADS) + len(gains) - 1), *rows(part)]
        print("\n".join(lines[-12:]), flush=True)
    lines += ["", "## 5 %, hidden layers of the network", f"| {' | '.join([*HEADS, *gains, 'seconds'])} |"]
    lines += ["|---|---|" + "--:|" * (len(HEADS) + len(gains) - 1)]
    for hidden in LAYOUTS:
        options = {"labels": "5%", "estimator": "network", "model": asked.model, "hidden": hidden}
        found = nncift.fidelity(str(asked.labels), **common, **options)
        lines += rows(found[:1], of=f", hidden {hidden}")
        print(lines[-1], flush=True)
    if asked.write:
        (asked.write / "estimators.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
