"""Language models whose every probability is written down in the test, behind the same seam as a real one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from transformers import PretrainedConfig

from nncift.lm.device import Placement
from nncift.lm.load import prepare
from nncift.lm.model import LanguageModel
from toys import WORDS, toy_tokenizer

PLACE = {word: number for number, word in enumerate(WORDS)}
MARK = "|"


class TableLM(torch.nn.Module):
    """p(next | last) from a table; from another one where `MARK` stood somewhere before.

    It has neither an output head nor a key-value cache, so whole logits and unshared prefixes are put to the test, and
    it keeps every sequence that went through it, padding cut off.
    """

    def __init__(self, table: ndarray, behind_mark: ndarray | None = None) -> None:
        super().__init__()
        both = np.stack([table, table if behind_mark is None else behind_mark])
        self.log_table = torch.nn.Parameter(torch.tensor(np.log(both), dtype=torch.float32))
        self.config = PretrainedConfig(vocab_size=len(WORDS))
        self.seen: list[tuple[int, ...]] = []

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.log_table.device

    def get_output_embeddings(self) -> None:
        """None that could be tiled."""

    def get_input_embeddings(self) -> None:
        """None: the table is looked up."""

    def get_decoder(self) -> torch.nn.Module:
        """Itself: there is no trunk apart from the head."""
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **ignored: Any) -> SimpleNamespace:
        """Logits of every position."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        self.seen += [tuple(row[keep.bool()].tolist()) for row, keep in zip(input_ids, mask, strict=True)]
        return SimpleNamespace(logits=self.logits(input_ids))

    def logits(self, ids: Tensor) -> Tensor:
        """[B, T, V]."""
        marked = (ids == PLACE[MARK]).cumsum(1).clamp(max=1)
        return self.log_table[marked, ids]


class CopyLM(TableLM):
    """Where the last two tokens stood together before, what followed them then gets nearly all the probability."""

    def logits(self, ids: Tensor) -> Tensor:
        """[B, T, V], the induction head spelt out."""
        logits = self.log_table[0, ids].clone()
        for row, words in enumerate(ids.tolist()):
            followed: dict[tuple[int, int], int] = {}
            for t in range(1, len(words)):
                before = words[t - 1], words[t]
                if before in followed:
                    logits[row, t, followed[before]] += 6.0
                if t + 1 < len(words):
                    followed[before] = words[t + 1]
        return logits


def uniform_table() -> ndarray:
    """Every next token alike."""
    return np.full((len(WORDS), len(WORDS)), 1 / len(WORDS))


def drawn_table(seed: int = 5) -> ndarray:
    """A transition table with some likely and many unlikely steps; rows sum to 1."""
    return np.random.default_rng(seed).dirichlet(np.full(len(WORDS), 0.3), size=len(WORDS)) * 0.999 + 0.001 / len(WORDS)


def table_with(steps: dict[tuple[str, str], float]) -> ndarray:
    """A table with the given p(second | first); what is left of a row is spread evenly over the other tokens."""
    table = uniform_table()
    for (first, second), p in steps.items():
        table[PLACE[first]] = (1 - p) / (len(WORDS) - 1)
        table[PLACE[first], PLACE[second]] = p
    return table


def as_lm(
    model: torch.nn.Module, *, tokenizer: Any = None, batch_tokens: int = 4096, max_length: int = 1024
) -> LanguageModel:
    """The model through the loader's own door; what it was shown by the loader's probes is forgotten."""
    placement = Placement("cpu", "float32", "a test", batch_tokens)
    tokenizer = tokenizer or toy_tokenizer()
    lm = prepare("table", model, tokenizer, placement, fingerprint="table", max_length=max_length)
    if isinstance(model, TableLM):
        model.seen.clear()
    return lm
