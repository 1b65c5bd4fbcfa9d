"""Logits of a few next tokens, and the tokens that stand for digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from nncift.errors import ConfigError, ModelError
from nncift.ledger import Ledger
from nncift.lm.choices import choice_tokens, score_choices
from nncift.lm.model import LanguageModel
from toy_tables import TableLM, as_lm, drawn_table
from toys import WORDS, toy_lm, toy_tokenizer

KINDS = ("llama", "gemma3", "gpt2")
CHOICES = (31, 7, 60)
DIGITS = [str(digit) for digit in range(1, 6)]
SUFFIX = "\nThe answer is:"


def _sequences(count: int = 19, prefixes: int = 4) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    draw = np.random.default_rng(8)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(x) for x in draw.integers(4, len(WORDS), draw.integers(low, high)))

    shared = [(1, *ids(3, 30)) for _ in range(prefixes)]
    return [shared[k % prefixes] for k in range(count)], [ids(1, 25) for _ in range(count)]


def _plain(lm: LanguageModel, prefix: tuple[int, ...], query: tuple[int, ...]) -> np.ndarray:
    """The oracle: one unpadded sequence, all logits, the last row of them."""
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([[*prefix, *query]]), use_cache=False).logits
    return logits[0, -1, list(CHOICES)].numpy()


def _left_padded(lm: LanguageModel, sequences: list[tuple[int, ...]]) -> np.ndarray:
    longest = max(map(len, sequences))
    ids = torch.tensor([[0] * (longest - len(sequence)) + list(sequence) for sequence in sequences])
    mask = torch.tensor([[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = lm.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    return logits[:, -1, list(CHOICES)].numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_tokens", [64, 4096])
def test_equals_the_plain_forward(kind: str, batch_tokens: int) -> None:
    lm = toy_lm(kind, batch_tokens=batch_tokens)
    prefixes, queries = _sequences()
    got = score_choices(lm, prefixes, queries, CHOICES)
    assert got.dtype == np.float32 and got.shape == (19, 3)
    expected = [_plain(lm, prefix, query) for prefix, query in zip(prefixes, queries, strict=True)]
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_side_of_the_padding_and_the_fallbacks_change_nothing(kind: str) -> None:
    lm = toy_lm(kind)
    prefixes, queries = _sequences()
    best = score_choices(lm, prefixes, queries, CHOICES)
    whole = [(*prefix, *query) for prefix, query in zip(prefixes, queries, strict=True)]
    np.testing.assert_allclose(_left_padded(lm, whole), best, atol=1e-4)
    for slower in (
        replace(lm, shares_prefixes=False),
        replace(lm, head=None),
        replace(lm, head=None, shares_prefixes=False),
    ):
        np.testing.assert_allclose(score_choices(slower, prefixes, queries, CHOICES), best, atol=1e-4)


def test_order_and_company_do_not_matter() -> None:
    lm = toy_lm()
    prefixes, queries = _sequences()
    together = score_choices(lm, prefixes, queries, CHOICES)
    backwards = score_choices(lm, prefixes[::-1], queries[::-1], CHOICES[::-1])[::-1, ::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    for k in range(3):
        np.testing.assert_allclose(score_choices(lm, [prefixes[k]], [queries[k]], CHOICES), together[[k]], atol=1e-5)


def test_logits_of_a_table_are_its_own() -> None:
    table = drawn_table()
    lm = as_lm(TableLM(table))
    prefixes, queries = _sequences()
    got = score_choices(lm, prefixes, queries, CHOICES)
    np.testing.assert_allclose(got, [np.log(table[query[-1], list(CHOICES)]) for query in queries], atol=1e-5)


def test_the_ledger_counts_one_position_a_sequence() -> None:
    lm = toy_lm()
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    score_choices(lm, *_sequences(), CHOICES, on_progress=done.append)
    assert (ledger.lm_forwards, ledger.lm_prefixes, ledger.head_tokens) == (19, 4, 19)
    assert sum(done) == 19 and len(done) > 1
    blind = replace(lm, head=None)
    lm.meter.ledger = ledger = Ledger()
    score_choices(blind, *_sequences(), CHOICES)
    assert ledger.head_tokens > 19


def test_few_logits_of_a_rounded_model_are_not_rounded_again() -> None:
    lm = toy_lm()
    assert lm.head is not None
    hidden = torch.randn(5, 32, generator=torch.Generator().manual_seed(1)).bfloat16() * 20
    head = replace(lm.head, weight=lm.head.weight.bfloat16())
    expected = hidden.double() @ head.weight[list(CHOICES)].double().T
    torch.testing.assert_close(head.logits(hidden, torch.tensor(CHOICES)).double(), expected, atol=1e-4, rtol=1e-5)
    bent = replace(head, scale=0.5, cap=3.0, bias=torch.full((len(WORDS),), 0.25))
    capped = 3 * torch.tanh(0.5 * (expected + 0.25) / 3)
    torch.testing.assert_close(bent.logits(hidden, torch.tensor(CHOICES)).double(), capped, atol=1e-4, rtol=1e-5)


def test_numbers_that_cannot_be_used_are_an_error() -> None:
    model = TableLM(drawn_table())
    lm = as_lm(model)
    with torch.no_grad():
        model.log_table[:, :, CHOICES[1]] = torch.nan
    with pytest.raises(ModelError, match="returned NaN or infinity in float32"):
        score_choices(lm, *_sequences(), CHOICES)


def byte_level_bpe(*, digits_merge: bool = False) -> Any:
    """About 300 tokens, trained here; like GPT-2 it has digits with and without a space in front if it has seen both."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    numbers = " ".join(f"{digit}" for digit in range(1, 10)) if digits_merge else ""
    words = ["The answer is: so it is\n", "the response answers the question. ", f"The answer is: {numbers}"] * 40
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(words, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=core)


def metaspace_unigram(*, joined: bool = False, spaced: bool = False) -> Any:
    """Pieces with a mark for blanks, as sentencepiece writes them; `joined` has no digits of their own."""
    letters = [chr(code) for code in range(97, 123)] + ["T", "I", "R", ":", "\n", "▁"]
    digits = [f":{digit}" for digit in DIGITS] if joined else list(DIGITS)
    digits += [f"▁{digit}" for digit in DIGITS] if spaced else []
    pieces = ["<unk>", *letters, "▁The", "▁answer", "▁is", *digits]
    core = Tokenizer(models.Unigram([(piece, -1.0 - 0.01 * k) for k, piece in enumerate(pieces)], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


@pytest.mark.parametrize(
    ("tokenizer", "written"),
    [
        (toy_tokenizer(), ""),
        (byte_level_bpe(), ""),
        (byte_level_bpe(digits_merge=True), "Ġ"),
        (metaspace_unigram(), ""),
        (metaspace_unigram(spaced=True), "▁"),
        (metaspace_unigram(joined=True, spaced=True), "▁"),
    ],
    ids=[
        "characters",
        "bytes",
        "bytes with spaced digits",
        "pieces",
        "spaced pieces",
        "spaced pieces, joined bare ones",
    ],
)
def test_digits_are_found_in_context(tokenizer: Any, written: str) -> None:
    tokens = choice_tokens(tokenizer, SUFFIX, DIGITS, special=False)
    assert tokenizer.convert_ids_to_tokens(list(tokens)) == [f"{written}{digit}" for digit in DIGITS]
    assert choice_tokens(tokenizer, SUFFIX, DIGITS[::-1], special=False) == tokens[::-1]


def test_a_digit_of_two_tokens_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"does not write '1' to '5' as one token each .* Use another --model"):
        choice_tokens(metaspace_unigram(joined=True), SUFFIX, DIGITS, special=False)
    with pytest.raises(ConfigError, match="'9' to '10'"):
        choice_tokens(byte_level_bpe(), SUFFIX, ["9", "10"], special=False)


def test_digits_without_a_token_of_their_own_are_an_error() -> None:
    with pytest.raises(ConfigError, match="'1' to '7'"):  # 6 and 7 are both the unknown token
        choice_tokens(metaspace_unigram(), SUFFIX, [str(digit) for digit in range(1, 8)], special=False)
