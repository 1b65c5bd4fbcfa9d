"""Fine-tuning in `evaluate` against TRL's `SFTTrainer`, on the same rows with the same adapters.

    pip install trl datasets
    python benchmarks/fine_tuning.py POOL.jsonl [--model gemma-3-270m] [--rows 32]

Both train one epoch of plain prompt and response, loss on responses and their end tokens, same initial adapters, same order,
no dropout. The loss of the trained models on the rows must agree before a time is printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from nncift.data.files import load_pool
from nncift.data.wording import PlainWording
from nncift.evaluation.finetuning import FineTuning, collate, fine_tuned, response_loss
from nncift.lm.device import place
from nncift.lm.load import load_language_model
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query, tokenize_lesson
from nncift.tuning.lora import attach, detach

AGREE = 0.02  # nats a token: bfloat16 rounds otherwise in other shapes


def ours(lm: LanguageModel, rows: Sequence[Query], recipe: FineTuning) -> tuple[float, float]:
    """Seconds, and the loss afterwards."""
    start = time.perf_counter()
    with fine_tuned(lm, rows, recipe, seed=0):
        seconds = time.perf_counter() - start
        return seconds, _loss(lm, rows)


def theirs(lm: LanguageModel, rows: Sequence[Query], recipe: FineTuning) -> tuple[float, float]:
    """The same through `SFTTrainer`."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list(
        [
            {
                "input_ids": [*row.ids, *row.response],
                "labels": [-100] * len(row.ids) + [*row.response],
            }
            for row in rows
        ]
    )
    start = time.perf_counter()
    attach(lm, rank=recipe.rank, alpha=recipe.alpha, seed=0, where="all-linear", dropout=recipe.dropout)
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = SFTConfig(
                output_dir=folder, num_train_epochs=recipe.epochs, per_device_train_batch_size=recipe.batch,
                learning_rate=recipe.learning_rate, seed=0, save_strategy="no", logging_strategy="no", report_to=[],
                disable_tqdm=True, use_cpu=lm.placement.device == "cpu", dataloader_pin_memory=False, bf16=False,
                activation_checkpointing=False, dataset_kwargs={"skip_prepare_dataset": True},
            )  # fmt: skip
            SFTTrainer(lm.model, config, train_dataset=data, processing_class=lm.tokenizer).train()
        seconds = time.perf_counter() - start
        lm.model.eval()
        return seconds, _loss(lm, rows)
    finally:
        detach(lm)


@torch.no_grad()
def _loss(lm: LanguageModel, rows: Sequence[Query]) -> float:
    return float(response_loss(lm, collate(rows)))


def main() -> None:
    """Prints the ratio and, with --json, writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool")
    parser.add_argument("--model", default="gemma-3-270m")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    lm = load_language_model(asked.model, place())
    found = (tokenize_lesson(lm.tokenizer, PlainWording(), row, limit=1024) for row in load_pool(asked.pool))
    rows = [row for row, _ in zip(filter(None, found), range(asked.rows), strict=False)]
    recipe = FineTuning(epochs=1, dropout=0.0, learning_rate=5e-4)
    before = _loss(lm, rows)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(2):
        for name, train in (("ours", ours), ("theirs", theirs)):
            seconds, loss = train(lm, rows, recipe)
            times[name].append(seconds)
            losses[name].append(loss)
    every = [loss for of in losses.values() for loss in of]
    assert max(every) - min(every) < AGREE, losses
    assert max(every) < before - AGREE, (before, losses)  # models that learnt nothing would agree too
    for name in times:
        for seconds, loss in zip(times[name], losses[name], strict=True):
            print(f"{name}: {seconds:.1f} s, loss {before:.4f} -> {loss:.4f}")
    ratio = min(times["theirs"]) / min(times["ours"])
    print(f"ratio {ratio:.2f}: SFTTrainer takes that many times as long")
    if asked.json:
        asked.json.write_text(json.dumps({"seconds": times, "ratio": ratio, "rows": len(rows)}))


if __name__ == "__main__":
    main()
