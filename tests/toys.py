"""Toy models and tokenizers, made in the test: a few thousand weights, no download, no cache."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from nncift.lm.device import Placement
from nncift.lm.load import prepare
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import Query

WORDS = ["<pad>", "<s>", "</s>", "<unk>", *string.ascii_letters, *string.digits, *" .,:;?!'-\n()+=/*<>|_"]


def toy_tokenizer(*, bos: bool = True) -> PreTrainedTokenizerFast:
    """One token a character; with `bos` it puts `<s>` in front, as models trained with one do."""
    from tokenizers import processors

    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def toy_model(kind: str = "llama", *, seed: int = 0) -> Any:
    """A random model of one of three families: grouped-query with rotary positions, sliding windows, learned positions."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "llama":
            return LlamaForCausalLM(
                LlamaConfig(vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024,
                            initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0)
            )  # fmt: skip
        if kind == "gemma3":
            return Gemma3ForCausalLM(
                Gemma3TextConfig(vocab_size=len(WORDS), hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                                 num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=8,
                                 layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                 max_position_embeddings=1024, initializer_range=0.3, query_pre_attn_scalar=16,
                                 bos_token_id=1, eos_token_id=2, pad_token_id=0)
            )  # fmt: skip
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=1024, initializer_range=0.3,
                       bos_token_id=1, eos_token_id=2)
        )  # fmt: skip


def toy_lm(kind: str = "llama", *, batch_tokens: int = 256, max_length: int = 1024, seed: int = 0) -> LanguageModel:
    """A toy model behind the same seam as a real one, in float32 on the CPU."""
    placement = Placement("cpu", "float32", "a test", batch_tokens)
    return prepare(
        f"toy-{kind}",
        toy_model(kind, seed=seed),
        toy_tokenizer(),
        placement,
        fingerprint=f"{kind}{seed}",
        max_length=max_length,
    )


def toy_queries(count: int = 7, *, seed: int = 5) -> list[Query]:
    """Rows of 1 to 12 prompt tokens, the first of them BOS, and 1 to 19 response tokens."""
    draw = np.random.default_rng(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(x) for x in draw.integers(4, len(WORDS), draw.integers(low, high)))

    return [Query((1, *ids(0, 12)), ids(1, 20), False) for _ in range(count)]
