"""Every influence function on the generated demo pool, whose good and bad rows are known: does its subset find them?

    python benchmarks/planted.py [--model gemma-3-270m] [--write docs/planted.md] [influence ...]

All influences are exact and select by the rule that belongs to them; the last columns tell how the scores of corrupted rows
lie below those of clean ones (the area under the curve: 0.5 is chance, 1 is every corrupted row below every clean one).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import nncift
from nncift import registry
from nncift.data.arrays import read_npz
from nncift.data.demo import DemoFiles, write_demo
from nncift.seeds import generator

BUDGET = 0.15
DRAWS = 2000
OPTIONS = {"balanced-random": ("by=skill",), "less": ("share=0.5",), "perplexity": ("band=low",)}
TARGETS = {"delift": 12}
"""Target rows used at most, where every pair costs a call."""

QUALITY = ("selectit", "ifd", "perplexity")
"""Scores whose papers say that they find bad rows."""


def area(scores: np.ndarray, low: np.ndarray) -> float:
    """Share of (low, other) pairs in which the low row scores less; ties count half."""
    below, above = scores[low][:, None], scores[~low][None, :]
    return float((below < above).mean() + 0.5 * (below == above).mean())


def line(name: str, files: DemoFiles, model: str, folder: Path) -> tuple[str, float]:
    """One row of the table, and how far corrupted rows lie below clean ones."""
    traits = registry.load("influence", name)().traits
    targets = TARGETS.get(name, len(files.skill))
    picked = nncift.select(
        files.pool, target=files.target, influence=name, model=model if traits.needs_model else (), labels="all",
        option=OPTIONS.get(name, ()), embedder="minilm", budget=BUDGET, max_targets=targets,
        output=str(folder / name),
    )  # fmt: skip
    ids = picked.pool.by_id().ids
    wanted = np.array([files.skill[row] in files.target_skills for row in ids])
    spoilt = np.array([row in files.corrupted for row in ids])
    chosen = picked.picks.order
    stored = nncift.label(
        files.pool, target=files.target, influence=name, model=model if traits.needs_model else (), labels="all",
        option=OPTIONS.get(name, ()), embedder="minilm", output=folder / f"{name}.npz",
    ) if traits.free else None  # fmt: skip
    values = stored.dense() if stored else read_npz(folder / name / "labels.npz")["values"]
    scores = np.nanmean(values, axis=0)
    price = picked.costs["exact"] or {"lm_forwards": 0, "lm_backwards": 0}
    shown = f"`{name}`" + "".join(f" {option}" for option in OPTIONS.get(name, ()))
    below = area(scores, spoilt)
    text = (
        f"| {shown} | {picked.objective} | {wanted[chosen].mean():.0%} | {spoilt[chosen].mean():.0%} | "
        f"{area(scores, ~wanted):.2f} | {below:.2f} | {price['lm_forwards']:,} | "
        f"{price['lm_backwards']:,} |"
    )
    return text, below


def verdict(below: dict[str, float], model: str) -> str:
    """What the model makes of the scores that claim to find bad rows."""
    failed = [f"`{name}` ({below[name]:.2f})" for name in QUALITY if name in below and below[name] < 0.6]
    if not failed:
        return f"{model} bears out what the papers of {', '.join(QUALITY)} claim: corrupted rows score low."
    return (
        f"{model} does not bear out that corrupted rows score low under {' and '.join(failed)}: 0.5 is chance, and below it "
        "corrupted rows score higher than clean ones."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("influences", nargs="*", default=list(registry.names("influence")))
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on where an earlier call stopped")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        files = write_demo(folder / "demo", seed=0)
        rows, below = [], {}
        for name in options.influences:
            text, below[name] = line(name, files, options.model, folder)
            rows.append(text)
            print(text, flush=True)
        ids = list(files.skill)
        rng = generator(0, "planted/random")
        draws = [rng.choice(len(ids), round(BUDGET * len(ids)), replace=False) for _ in range(DRAWS)]
        shares = []
        for mask in (
            np.array([files.skill[row] in files.target_skills for row in ids]),
            np.array([row in files.corrupted for row in ids]),
        ):
            found = [mask[draw].mean() for draw in draws]
            low, high = np.quantile(found, [0.05, 0.95])
            shares.append(f"{np.mean(found):.0%} ({low:.0%} to {high:.0%})")
    text = "\n".join(
        [
            "# Planted truth",
            "",
            f"Written by `python benchmarks/planted.py --write docs/planted.md`: the generated demo pool ({len(ids)} rows, "
            f"{len(files.corrupted)} corrupted), {options.model}, every influence exact, budget {BUDGET:.0%}; `delift` "
            f"sees {TARGETS['delift']} of the target's rows.",
            "",
            "| influence | picks by | target's skills | corrupted | AUC target's skills | AUC corrupted below clean | "
            "forwards | backwards |",
            "|---|---|--:|--:|--:|--:|--:|--:|",
            *rows,
            f"| random subsets, 90 % of {DRAWS:,} draws | | {shares[0]} | {shares[1]} | 0.50 | 0.50 | | |",
            "",
            verdict(below, options.model),
            "",
        ]
    )
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
