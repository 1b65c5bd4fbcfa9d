"""LESS features: whole batches and a tiled head against the loop over single rows, on the same rows.

    python benchmarks/less_features.py POOL.jsonl [--model gemma-3-270m] [--rows 64] [--rank 16] [--r 8192]

The peer is the loop of the published code: every row alone through the `transformers` forward with all its logits,
`backward()`, all gradients flattened into one vector, Adam's direction, the projection. Weights, number format, moments and
projection are the same on both sides; equal features are asserted before a time is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nncift.data.files import load_pool
from nncift.data.wording import choose_wording
from nncift.influence.gradient_features import adam_turn, projected_gradients
from nncift.lm.device import place
from nncift.lm.load import load_language_model
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, tokenize_row
from nncift.tuning.checkpoint import Tensors
from nncift.tuning.projection import CountSketch
from nncift.tuning.warmup import Recipe, train_adapter

GOAL, FLOOR = 3.0, 1.5
COSINE = {"float32": 0.999, "bfloat16": 0.99}
"""Least mean cosine between the features of the two sides. In bfloat16 the trunk rounds otherwise in other shapes, and Adam's
direction magnifies small gradients."""


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    lm: LanguageModel
    weights: Mapping[str, torch.nn.Parameter]
    tensors: Tensors
    step: int
    sketch: CountSketch


def plain(setting: Setting, queries: Sequence[Query]) -> np.ndarray:
    """The peer: one row at a time."""
    turn = adam_turn(setting.tensors, setting.step, "corrected", setting.lm.model.device)
    sizes = [weight.numel() for weight in setting.weights.values()]
    features = []
    for query in queries:
        ids = torch.tensor([[*query.ids, *query.response]], device=setting.lm.model.device)
        labels = ids.clone()
        labels[:, : len(query.ids)] = -100
        setting.lm.model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
        whole = torch.cat([weight.grad.view(-1) for weight in setting.weights.values() if weight.grad is not None])
        vector = setting.sketch.zeros(1)
        for name, part in zip(setting.weights, whole.split(sizes), strict=True):
            setting.sketch.add(vector, name, turn(name, part[None]))
        features.append(vector.cpu().numpy()[0])
        setting.lm.model.zero_grad()
    return np.array(features)


def ours(setting: Setting, queries: Sequence[Query]) -> np.ndarray:
    """What LESS runs."""
    turn = adam_turn(setting.tensors, setting.step, "corrected", setting.lm.model.device)
    return projected_gradients(setting.lm, list(setting.weights), queries, setting.sketch, turn=turn)


def prepared(options: argparse.Namespace, folder: Path) -> tuple[Setting, list[Query]]:
    """A model after a short warm-up, and the rows."""
    lm = load_language_model(options.model, place(dtype=options.dtype))
    wording = choose_wording(lm.tokenizer)
    found = (tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length) for row in load_pool(options.pool))
    queries = [query for query, _ in zip(filter(None, found), range(options.rows + 16), strict=False)]
    recipe = Recipe(epochs=1, rank=options.rank, alpha=4 * options.rank, learning_rate=1e-4, batch=4)
    warm = {str(k): query for k, query in enumerate(queries[options.rows :])}
    weights, checkpoints = train_adapter(lm, warm, recipe, seed=0, folder=folder)
    sketch = CountSketch(
        {name: weight.numel() for name, weight in weights.items()}, buckets=options.r, seed=0, device=lm.model.device
    )
    return Setting(lm, weights, checkpoints[0].read(), checkpoints[0].step, sketch), queries[: options.rows]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pool")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--r", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        setting, queries = prepared(options, Path(folder))
    dtype = setting.lm.placement.dtype
    same = cosines(ours(setting, queries), plain(setting, queries))
    assert np.isfinite(same).all() and same.mean() >= COSINE[dtype], f"features differ: mean cosine {same.mean():.5f}"
    assert dtype != "float32" or same.min() >= COSINE[dtype], f"features differ: least cosine {same.min():.5f}"
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(options.repeats):
        for name, run in (("plain", plain), ("ours", ours)):
            started = time.perf_counter()
            run(setting, queries)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "model": setting.lm.name,
        "dtype": dtype,
        "threads": torch.get_num_threads(),
        "rows": len(queries),
        "weights": sum(weight.numel() for weight in setting.weights.values()),
        "r": setting.sketch.width,
        "tokens": {
            "prompt": float(np.mean([len(query.ids) for query in queries])),
            "response": float(np.mean([len(query.response) for query in queries])),
        },
        "ms_per_row": {name: 1000 * value / len(queries) for name, value in medians.items()},
        "cosine": {"mean": float(same.mean()), "least": float(same.min())},
        "ratio": medians["plain"] / medians["ours"],
        "goal": GOAL,
        "floor": FLOOR,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result["ratio"] < FLOOR:
        raise SystemExit(
            f"LESS features are {result['ratio']:.2f} times as fast as the peer; at least {FLOOR} is required."
        )


if __name__ == "__main__":
    main()
