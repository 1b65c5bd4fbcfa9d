"""SelectIT labels: shared rating prompts and five rows of the head against a loop with whole vocabularies, on the same rows.

    python benchmarks/selectit_labels.py POOL.jsonl [--model gemma-3-270m] [--rows 48]

The peer is how the method is published: every rating prompt of every row one forward of its own, logits of all positions, a
softmax over the vocabulary at the last; same tokens, weights and number format. Equal scores are asserted before a time is
printed: to 1e-5 in float32, where a few rows are compared whatever the format. In bfloat16 the peer's logits are themselves
rounded (a logit of 20 to 0.125), so that scores are held to 0.02 on average; where two grades nearly tie a row may get the
other one. Beside the ratio stands the bound that counting floating-point operations gives for these very lengths; batching
goes beyond it.
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
from nncift.data.rows import Example
from nncift.influence.rating import PROMPTS, Rating, ask_for_rating
from nncift.influence.selectit import sentence_scores, token_scores
from nncift.lm.choices import score_choices
from nncift.lm.device import place
from nncift.lm.load import load_language_model
from nncift.lm.model import LanguageModel

GRADES = QUESTIONS = 5
ALPHA = 0.2
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.02}
EXACT = 4  # rows that are compared in float32 whatever the format that is timed
GOAL, FLOOR = 3.0, 2.0

Texts = Sequence[tuple[int, ...]]


@torch.inference_mode()
def plain(lm: LanguageModel, rating: Rating, texts: Texts) -> np.ndarray:
    """The peer: one sequence at a time, whole vocabularies."""
    p = np.zeros((len(texts), QUESTIONS, GRADES), dtype=np.float32)
    for row, text in enumerate(texts):
        for question, prefix in enumerate(rating.prefixes):
            logits = lm.model(input_ids=torch.tensor([[*prefix, *text]]), use_cache=False).logits
            p[row, question] = torch.log_softmax(logits[0, -1].float(), dim=-1)[list(rating.grades)].numpy()
    return sentence_scores(token_scores(p), alpha=ALPHA)


def ours(lm: LanguageModel, rating: Rating, texts: Texts) -> np.ndarray:
    """What labelling runs."""
    prefixes = [prefix for _ in texts for prefix in rating.prefixes]
    queries = [text for text in texts for _ in rating.prefixes]
    logits = score_choices(lm, prefixes, queries, rating.grades)
    return sentence_scores(token_scores(logits.reshape(len(texts), QUESTIONS, GRADES)), alpha=ALPHA)


def worded(lm: LanguageModel, rows: Sequence[Example]) -> tuple[Rating, list[tuple[int, ...]]]:
    """The question, and the rows as they stand behind it."""
    rating = ask_for_rating(lm, PROMPTS[:QUESTIONS], grades=GRADES, template="auto")
    found = [rating.words(lm, row) for row in rows]
    return rating, [text for text, _ in filter(None, found)]


def differences(lm: LanguageModel, rating: Rating, texts: Texts) -> np.ndarray:
    """Between the scores of the two sides, which must be within what the format allows."""
    found = np.abs(ours(lm, rating, texts) - plain(lm, rating, texts))
    dtype = lm.placement.dtype
    held = found.max() if dtype == "float32" else found.mean()
    assert held <= TOLERANCE[dtype], f"scores differ by {held:.2e} in {dtype}"
    return found


def flop_bound(lm: LanguageModel, rating: Rating, texts: Texts) -> float:
    """Operations of the peer over those that cannot be avoided: 2 per weight and token in the trunk, 2·V·d per position
    with logits."""
    embedding = lm.model.get_input_embeddings().weight.numel()
    head = 2 * lm.model.get_output_embeddings().weight.numel()
    trunk = 2 * (lm.weights - embedding)
    prompts = sum(map(len, rating.prefixes))
    behind = QUESTIONS * sum(map(len, texts))
    return (prompts * len(texts) + behind) * (trunk + head) / ((prompts + behind) * trunk)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pool")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lm = load_language_model(options.model, place(dtype=options.dtype))
    pool = load_pool(options.pool)
    rows = [pool[int(k)] for k in np.random.default_rng(0).choice(len(pool), options.rows, replace=False)]
    if lm.placement.dtype != "float32":
        exact = load_language_model(options.model, place(dtype="float32"))
        differences(exact, *worded(exact, rows[:EXACT]))
        del exact
    rating, texts = worded(lm, rows)
    difference = differences(lm, rating, texts)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(options.repeats):
        for name, run in (("plain", plain), ("ours", ours)):
            started = time.perf_counter()
            run(lm, rating, texts)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "model": lm.name,
        "dtype": lm.placement.dtype,
        "threads": torch.get_num_threads(),
        "rows": len(texts),
        "prompts": QUESTIONS,
        "tokens": {
            "prompt": float(np.mean([len(prefix) for prefix in rating.prefixes])),
            "row": float(np.mean([len(text) for text in texts])),
        },
        "ms_per_row": {name: 1000 * value / len(texts) for name, value in medians.items()},
        "difference": {"mean": float(difference.mean()), "worst": float(difference.max())},
        "ratio": medians["plain"] / medians["ours"],
        "flop_bound": flop_bound(lm, rating, texts),
        "goal": GOAL,
        "floor": FLOOR,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if result["ratio"] < FLOOR:
        raise SystemExit(
            f"SelectIT labels are {result['ratio']:.2f} times as fast as the peer; at least {FLOOR} is required."
        )


if __name__ == "__main__":
    main()
