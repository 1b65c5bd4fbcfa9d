"""Every influence function of the paper on real rows: exact, and through the estimator; what each costs and keeps.

    python benchmarks/teachers.py POOL.jsonl TARGET.jsonl [--rows 240 --targets 24] [--model gemma-3-270m]
        [--write docs/teachers.md]

Each function is computed for every pair of a sample of the rows, and again for a few pairs that teach an estimator, in runs
that share no cache but that of the models. The costs are those of the two runs. How much of the selection survives is
measured on the exact matrix over several draws of the labels: 0 is what random subsets reach of the objective, 1 is what
the exact influences reach.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import nncift
from nncift import registry
from nncift.cachedir import cache_folder
from nncift.data.arrays import read_npz
from nncift.data.labels import Labels
from nncift.embed.choose import load_embedder
from nncift.estimator.agreement import r_squared
from nncift.estimator.baselines import baselines
from nncift.estimator.budget import parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.estimator.training import TrainingConfig, fit
from nncift.objective.base import Kernels
from nncift.objective.greedy import greedy
from nncift.seeds import generator
from nncift.selection import Selection

TEACHERS = ("delift", "less", "selectit")
BUDGET = 0.1
DRAWS = 200


@dataclass(frozen=True)
class Question:
    """A sample of real rows.

    Attributes:
        pool, target: JSONL files.
        model: a language model.
        folder: where runs and a cache of its own for each go.
        labels: what `--labels` says in the runs through the estimator, by teacher.
    """

    pool: Path
    target: Path
    model: str
    folder: Path
    labels: dict[str, str]

    def run(self, teacher: str, labels: str) -> Selection:
        """One whole run, with nothing computed before but the unpacked models."""
        place = self.folder / f"{teacher}-{labels}"
        models = cache_folder() / "models"
        (place / "cache").mkdir(parents=True, exist_ok=True)
        if models.is_dir() and not (place / "cache" / "models").exists():
            (place / "cache" / "models").symlink_to(models.resolve(), target_is_directory=True)
        before = os.environ.get("NNCIFT_CACHE")
        os.environ["NNCIFT_CACHE"] = str(place / "cache")
        try:
            return nncift.select(
                self.pool, target=self.target, influence=teacher, model=self.model, embedder="minilm", labels=labels,
                budget=BUDGET, output=str(place / "run"),
            )  # fmt: skip
        finally:
            del os.environ["NNCIFT_CACHE"]
            if before is not None:
                os.environ["NNCIFT_CACHE"] = before


def sample(path: Path, count: int, name: str, folder: Path) -> Path:
    """Some usable lines of a file, drawn by a seed."""
    lines = [line for line in path.read_bytes().splitlines() if json.loads(line).get("output", "x").strip()]
    chosen = sorted(generator(0, name).permutation(len(lines))[:count])
    out = folder / f"{name}.jsonl"
    out.write_bytes(b"".join(lines[k] + b"\n" for k in chosen))
    return out


def kept(exact: np.ndarray, predicted: np.ndarray, objective: Any, seed: int) -> float:
    """How much of the objective's gain over random survives on the exact matrix."""

    def problem(values: np.ndarray) -> Any:
        kernels = Kernels.dense(np.ascontiguousarray(values.T, dtype=np.float32))
        return objective.problem(kernels, eta=1.0, nu=1.0), kernels.means

    k = max(1, round(BUDGET * exact.shape[1]))
    truth, merit = problem(exact)
    best = truth.value(greedy(truth, k, rest=merit).order)
    guess, rest = problem(predicted)
    found = truth.value(greedy(guess, k, rest=rest).order)
    rng = generator(seed, "random subsets")
    random = np.mean([truth.value(rng.choice(exact.shape[1], k, replace=False)) for _ in range(DRAWS)])
    return float((found - random) / (best - random))


def replays(exact: np.ndarray, teacher: str, labels: str, question: Question, seeds: int) -> dict[str, list[float]]:
    """R² on pairs without label, and what is kept of the objective, for several draws of the labels."""
    traits = registry.load("influence", teacher)().traits
    rule = traits.objective
    objective = registry.load("objective", rule)()
    embedder = load_embedder("minilm", device="cpu")
    texts = [[row.text for row in nncift_rows(path)] for path in (question.pool, question.target)]
    e_pool, e_target = (embedder.encode(part) for part in texts)
    vectors = e_target if traits.pairwise else None
    m, n = exact.shape
    every = Labels(
        np.repeat(np.arange(m), n).astype(np.int32), np.tile(np.arange(n), m).astype(np.int32), np.zeros(m * n), (m, n)
    )
    found: dict[str, list[float]] = {"r2": [], "means": [], "kept": [], "kept by means": []}
    for seed in range(seeds):
        i, j = pairs_to_label(parse_labels(labels), m, n, rng=generator(seed, "labels"), priced=traits.priced)
        known = Labels(i, j, exact[i, j], (m, n))
        labelled = np.zeros(exact.shape, dtype=bool)
        labelled[i, j] = True
        kernel = fit(known, vectors, e_pool, config=TrainingConfig(), seed=seed).kernel(vectors, e_pool).fill().T
        guesses = baselines(known, every, generator(seed, "baselines"))
        name = "row + column means" if traits.pairwise else "predict the mean"
        for key, predicted in (("", kernel), ("means", guesses[name].reshape(m, n))):
            with_known = np.where(labelled, exact, predicted)
            mean = float(known.y.mean(dtype=np.float64))
            found[key or "r2"].append(r_squared(exact[~labelled], predicted[~labelled], mean=mean))
            found[f"kept by {key}" if key else "kept"].append(kept(exact, with_known, objective, seed))
    return found


def nncift_rows(path: Path) -> list[Any]:
    """Rows in the order of their ids, as matrices are."""
    from nncift.data.files import load_pool

    return list(load_pool(path).by_id())


def cost_row(name: str, picked: Selection) -> str:
    """One line of the table of costs."""
    spent, total = picked.costs["stages"]["label"], picked.costs["total"]
    estimator = picked.costs["estimator"]
    share = f"{estimator['share']:.3%}" if estimator else ""
    return (
        f"| {name} | {spent['lm_forwards']:,} | {spent['lm_backwards']:,} | {spent['lm_tokens']:,} | "
        f"{total['encoder_forwards']:,} | {total['pair_predictions']:,} | {total['flops'] / 1e12:,.2f} | "
        f"{total['seconds']:,.0f} | {total['cpu_seconds']:,.0f} | {share} |"
    )


def interval(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2f}"


def page(question: Question, seeds: int, sizes: tuple[int, int], sources: tuple[str, str]) -> str:
    """Runs everything and writes the page."""
    costs = [
        "| run | forwards | backwards | tokens | texts embedded | pairs predicted | TFLOP | s | CPU s | "
        "estimator / model |",
        "|---|" + "--:|" * 9,
    ]
    quality = [
        "| influence | labels | R² | R² of means | selection kept | kept by means | picks shared with exact |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    sentences = []
    for teacher in TEACHERS:
        labels = question.labels[teacher]
        exact, estimated = question.run(teacher, "all"), question.run(teacher, labels)
        costs += [cost_row(f"`{teacher}`, exact", exact), cost_row(f"`{teacher}`, NN-CIFT", estimated)]
        matrix = read_npz(exact.folder / "labels.npz")["values"]
        assert np.isfinite(matrix).all(), "a pair has no label, or a row cannot be scored: take other rows"
        measured = replays(matrix, teacher, labels, question, seeds)
        shared = len(set(exact.ids) & set(estimated.ids)) / len(exact)
        count = estimated.costs["stages"]["label"]
        assert count["lm_forwards"] < exact.costs["stages"]["label"]["lm_forwards"]
        quality.append(
            f"| `{teacher}` | {labels} | {interval(measured['r2'])} | {interval(measured['means'])} | "
            f"{interval(measured['kept'])} | {interval(measured['kept by means'])} | {shared:.0%} (random {BUDGET:.0%}) |"
        )
        assert estimated.fidelity is not None
        sentences += [f"- `{teacher}`, {estimated.objective}: {estimated.fidelity['sentence']}"]
    return "\n".join(
        [
            "# The paper's influence functions on real rows",
            "",
            "Written by `python benchmarks/teachers.py POOL TARGET --write docs/teachers.md`.",
            f"{sizes[0]} rows of `{sources[0]}` × {sizes[1]} of `{sources[1]}`, {question.model}, MiniLM embeddings, "
            f"{os.cpu_count()} CPU cores, budget {BUDGET:.0%}.",
            "",
            "## What a run costs",
            *costs,
            "",
            "Counted by hooks; TFLOP is 2 per weight and token forward, 4 with backward through frozen weights. A run",
            "through the estimator needs embeddings that an exact run does not. Loading the model is not in the seconds, and",
            "seconds depend on what else the machine did; calls, tokens and operations do not.",
            "",
            "## What is kept",
            f"Mean ± standard error over {seeds} draws of the labels. R²: of pairs without label. Selection kept: the",
            "objective on exact influences of what is chosen with labels and estimates, 0 for random subsets, 1 for exact",
            "influences. Means: row + column means (the mean, where a row has one score) in the estimator's place.",
            "",
            *quality,
            "",
            "## What each run says of itself",
            *sentences,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--targets", type=int, default=24)
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on where an earlier call stopped")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    labels = {"delift": "15%", "less": "15%", "selectit": "80"}
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        pool = sample(options.pool, options.rows, "pool", folder)
        target = sample(options.target, options.targets, "target", folder)
        question = Question(pool, target, options.model, folder, labels)
        sources = options.pool.name, options.target.name
        text = page(question, options.seeds, (options.rows, options.targets), sources)
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
