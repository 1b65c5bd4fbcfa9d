"""Do influences predict what training does? The linear datamodeling score of real influences, exact and estimated.

    python benchmarks/datamodels.py DATA --folder runs/datamodels [--write docs/results]

The setting `task` of `subsets.py` with a smaller pool: 120 rows of T0, 28 of them of the two tasks that the 24 targets are
of. The model is fine-tuned on 40 random halves of the pool, with two seeds each. Everything is kept in the folder, so that
a killed run goes on; what is written is a table and, as JSON, the records, without any text of the data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import subsets
import subsets_page

import nncift
from nncift.evaluation.evaluate import evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.screen import Bars
from nncift.version import __version__

POOL = 120
LABELS = "10%"
EXACT = ("delift", "less", "similarity", "rds")
ESTIMATED = ("delift", "less")
HALVES = 40


def runs(setting: subsets.Setting) -> list[Path]:
    """The run folders: every influence computed, and two of them through NN-CIFT."""
    pool = setting.folder / "fewer.jsonl"
    if not pool.is_file():
        with setting.file("pool").open(encoding="ascii") as stream:
            pool.write_text("".join(list(stream)[:POOL]), encoding="ascii")
    ways = [(name, "all") for name in EXACT] + [(name, LABELS) for name in ESTIMATED]
    found = []
    for influence, labels in ways:
        found.append(setting.folder / "runs" / f"{influence}-{'exact' if labels == 'all' else 'nncift'}")
        if not (found[-1] / "done.json").is_file():
            nncift.select(
                str(pool), target=str(setting.file("target")), influence=influence, model=setting.model,
                embedder="minilm", labels=labels, budget="10%", output=str(found[-1]),
            )  # fmt: skip
    return found


def page(records: list[dict], asked: argparse.Namespace, versions: str) -> str:
    """The table."""
    lines = [
        "# Do influences predict what training does?",
        "",
        "`python benchmarks/datamodels.py DATA --folder runs/datamodels --write docs/results`",
        "",
        f"NN-CIFT {__version__}, {asked.model}, {versions}.",
        f"Linear datamodeling score: {HALVES} random halves of {POOL} rows of T0, each trained on for one epoch with two seeds",
        "(adapters of rank 8, learning rate 5e-4); per target the rank correlation of the half's summed influence with minus",
        "the target's loss, mean over targets with a 95 % interval over halves and targets. The ceiling is one training",
        f"against the other. NN-CIFT had {LABELS.replace('%', ' %')} of the pairs.",
        "",
        "| influence | score | above a random kernel by | targets |",
        "|---|--:|--:|--:|",
    ]
    for record in records:
        low, high = record["ci"]
        over = (
            ""
            if record["subset"] in ("ceiling", "random kernel")
            else _signed(record["diff_random"], record["diff_ci"])
        )
        lines.append(
            f"| {record['subset']} | {record['mean']:.3f} [{low:.3f}, {high:.3f}] | {over} | {record['n_scored']} |"
        )
    return "\n".join(lines) + "\n"


def _signed(value: float, ends: list[float]) -> str:
    return f"{value:+.3f} [{ends[0]:+.3f}, {ends[1]:+.3f}]"


def main() -> None:
    """Runs it and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    setting = subsets.Setting("task", asked.data, asked.folder, asked.model)
    config = EvaluateConfig.of(
        {
            "subset": tuple(map(str, runs(setting))), "model": asked.model, "lds": True, "half_subsets": HALVES,
            "epochs": 1, "learning_rate": 5e-4, "output": str(asked.folder / "evaluation"),
        }
    )  # fmt: skip
    with Bars(hidden=False) as bars:
        found = evaluate(config, bars)
    print("\n".join(found.told))
    if asked.write:
        text = page(found.records, asked, subsets_page.versions(found))
        (asked.write / "datamodels.md").write_text(text, encoding="utf-8")
        (asked.write / "datamodels.json").write_text(json.dumps(found.records) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
