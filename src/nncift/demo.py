"""`nncift demo`: the whole method with real small models on a pool that the package generates, compared with random."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nncift.config import SelectConfig
from nncift.data.demo import DemoFiles, write_demo
from nncift.pipeline import select
from nncift.progress import Reporter
from nncift.report import report_after
from nncift.seeds import generator
from nncift.selection import Selection
from nncift.summary import closing_line, summary

_BUDGET = 0.15
_DRAWS = 1000


def run_demo(folder: Path, *, seed: int, reporter: Reporter) -> list[str]:
    """Generates the data, runs DELIFT through the estimator, and compares the subset with random ones.

    Args:
        folder: gets `pool.jsonl`, `target.jsonl` and the run folder `run`.
        seed: of data and run.
        reporter: listens.

    Returns:
        Lines to print; the last says what, how many, where.

    *Cost*: one label for about every tenth pair, a few minutes of a 270M model on two cores.
    """
    files = write_demo(folder, seed=seed)
    config = SelectConfig(
        pool=str(files.pool),
        target=str(files.target),
        influence="delift",
        model=("gemma-3-270m",),
        embedder="minilm",
        budget=f"{_BUDGET:.0%}",
        labels="5%",  # a minute of labelling; `auto` would go on
        seed=seed,
        output=str(folder / "run"),
    )
    picked = select(config, reporter)
    report_after(picked, reporter)
    return [*_table(picked, files, seed), *(text for _, text in summary(picked)), closing_line(picked)]


def _table(picked: Selection, files: DemoFiles, seed: int) -> list[str]:
    ids = np.array(picked.pool.by_id().ids)
    wanted = np.isin([files.skill[row] for row in ids], files.target_skills)
    spoilt = np.isin(ids, list(files.corrupted))
    rng = generator(seed, "demo/random")
    draws = [rng.choice(len(ids), len(picked), replace=False) for _ in range(_DRAWS)]
    lines = ["", f"{'share of the subset':<28}{'nncift':>8}{'random (90 % of draws)':>26}"]
    for name, mask in (("rows of the target's skills", wanted), ("corrupted rows", spoilt)):
        shares = [mask[draw].mean() for draw in draws]
        low, high = np.quantile(shares, [0.05, 0.95])
        lines.append(
            f"{name:<28}{mask[picked.picks.order].mean():>8.0%}{np.mean(shares):>10.0%} ({low:.0%} to {high:.0%})"
        )
    return [*lines, ""]
