"""A language model small enough to be trained in a test, on rows of the generated demo, so that it knows something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nncift.data.rows import Example
from nncift.data.wording import PlainWording
from nncift.lm.device import Placement
from nncift.lm.load import prepare
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import tokenize_row

WIDTH, LAYERS, VOCABULARY = 128, 3, 700


def tiny_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the texts; digits stay single tokens."""
    core = Tokenizer(models.BPE(unk_token=None))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)])  # pyright: ignore
    core.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def tiny_lm(
    rows: Sequence[Example], more: Sequence[tuple[str, str]] = (), *, epochs: int, seed: int = 0
) -> LanguageModel:
    """A model trained on rows as `PlainWording` words them, and on further (prompt, response) texts; the loss is that of
    every token, prompts included, as in pretraining.

    *Cost*: about a second an epoch for 400 rows on one thread.
    """
    tokenizer = tiny_tokenizer([row.text for row in rows] + [a + b for a, b in more])
    queries = [tokenize_row(tokenizer, PlainWording(), row, limit=400) for row in rows]
    sequences = [(*query.ids, *query.response, 2) for query in queries if query is not None]
    sequences += [tuple(tokenizer(a + b)["input_ids"]) for a, b in more]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH,
                        num_hidden_layers=LAYERS, num_attention_heads=4, num_key_value_heads=2,
                        max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        )  # fmt: skip
    train(model, sequences, epochs, np.random.default_rng(seed))
    place = Placement("cpu", "float32", "a test", 4096)
    return prepare("tiny", model, tokenizer, place, fingerprint=f"tiny {seed} {epochs}", max_length=1024)


def train(
    model: LlamaForCausalLM,
    sequences: Sequence[tuple[int, ...]],
    epochs: int,
    rng: np.random.Generator,
    *,
    rate: float = 3e-3,
    last_only: bool = False,
) -> None:
    """AdamW on batches of like length; with `last_only` the loss is that of the last token alone."""
    batches = -(-len(sequences) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * batches)
    by_length = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
    for _ in range(epochs):
        for number in rng.permutation(batches):
            batch = [sequences[k] for k in by_length[32 * number : 32 * number + 32]]
            ids = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.long)
            for row, sequence in enumerate(batch):
                ids[row, : len(sequence)] = torch.tensor(sequence)
            lengths, place = torch.tensor([len(sequence) for sequence in batch])[:, None], torch.arange(ids.shape[1])
            scored = (place == lengths - 1) if last_only else (place < lengths)
            mask = (place < lengths).long()
            loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~scored, -100)).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
