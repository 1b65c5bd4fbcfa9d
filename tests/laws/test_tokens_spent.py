"""What teachers and the encoder spend, counted by hooks, is what the formulas say: tokens by hand from the tokenised rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import teaching
from nncift.data.rows import Example
from nncift.data.template import choose_template
from nncift.data.wording import choose_wording
from nncift.embed.cache import embed_cached
from nncift.embed.sentence import SentenceEmbedder
from nncift.influence.delift import Delift
from nncift.influence.ifd import InstructionFollowingDifficulty
from nncift.influence.less import Less
from nncift.influence.perplexity import Perplexity
from nncift.influence.rating import PROMPTS, ask_for_rating
from nncift.influence.rds import Rds
from nncift.influence.selectit import SelectIT
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import tokenize_prefix, tokenize_query, tokenize_row
from toy_encoder import make_toy_encoder
from toys import toy_lm

M, N = 5, 7
TARGETS, POOL = teaching.toy_rows("t", M), teaching.toy_rows("p", N)


@pytest.fixture(params=[96, 4096], ids=["narrow", "wide"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """Padding and batches must not count."""
    return toy_lm(batch_tokens=request.param)


def spent(lm: LanguageModel, teacher: object) -> Ledger:
    """The ledger of all M × N pairs, or all N rows."""
    return teaching.ask(teacher, TARGETS, POOL, lms=[lm]).ledger


def lengths(lm: LanguageModel, rows: Sequence[Example]) -> int:
    """Σ tokens of rows by themselves: the beginning-of-sequence token, prompt, response."""
    wording = choose_wording(lm.tokenizer)
    queries = [tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length) for row in rows]
    return sum(len(query) for query in queries if query is not None)


def responses(rows: Sequence[Example]) -> int:
    """Σ tokens of responses; the toy tokenizer makes one of every character."""
    return sum(len(row.response) for row in rows)


def test_a_row_is_as_long_as_its_text(lm: LanguageModel) -> None:
    """The count that the others build on, from the characters: one token each, one in front, a line break between."""
    assert lengths(lm, POOL) == sum(1 + len(row.prompt) + 1 + len(row.response) for row in POOL)


def test_delift_encodes_each_example_once_and_each_query_behind_it(lm: LanguageModel) -> None:
    template = choose_template(lm.tokenizer)
    prefixes = [len(tokenize_prefix(lm.tokenizer, template, row).ids) for row in POOL]
    alone = len(tokenize_prefix(lm.tokenizer, template, None).ids)
    queries = sum(len(tokenize_query(lm.tokenizer, template, row, limit=lm.max_length)) for row in TARGETS)
    shared = spent(lm, Delift())
    assert (shared.lm_prefixes, shared.lm_forwards) == (1 + N, M + M * N)
    assert shared.lm_tokens == alone + queries + sum(prefixes) + N * queries
    assert shared.head_tokens == (1 + N) * responses(TARGETS)
    apart = spent(replace(lm, shares_prefixes=False), Delift())
    assert (apart.lm_prefixes, apart.lm_forwards) == (0, M + M * N)
    assert apart.lm_tokens == M * alone + queries + M * sum(prefixes) + N * queries


@pytest.mark.parametrize("epochs", [1, 3])
def test_less_reads_its_warm_up_rows_and_all_rows_once_an_epoch(lm: LanguageModel, epochs: int) -> None:
    warm_up = lengths(lm, POOL)  # all, where the pool has fewer than 32
    once = lengths(lm, POOL) + lengths(lm, TARGETS)
    ledger = spent(lm, Less(epochs=epochs, rank=2, r=64))
    assert ledger.lm_tokens == ledger.lm_backward_tokens == epochs * (warm_up + once)
    assert ledger.head_tokens == epochs * (2 * responses(POOL) + responses(TARGETS))


def test_selectit_encodes_each_prompt_once_and_each_row_behind_it(lm: LanguageModel) -> None:
    rating = ask_for_rating(lm, PROMPTS[:3], grades=5, template="auto")
    worded = [rating.words(lm, row) for row in POOL]
    rows = sum(len(found[0]) for found in worded if found is not None)
    ledger = spent(lm, SelectIT(prompts=3))
    assert (ledger.lm_prefixes, ledger.lm_forwards, ledger.head_tokens) == (3, 3 * N, 3 * N)
    assert ledger.lm_tokens == sum(map(len, rating.prefixes)) + 3 * rows


def test_rds_reads_every_row_once_and_computes_no_logits(lm: LanguageModel) -> None:
    ledger = spent(lm, Rds())
    assert ledger.lm_tokens == lengths(lm, POOL) + lengths(lm, TARGETS)
    assert ledger.head_tokens == 0


def test_perplexity_reads_every_row_once(lm: LanguageModel) -> None:
    ledger = spent(lm, Perplexity())
    assert (ledger.lm_tokens, ledger.head_tokens) == (lengths(lm, POOL), responses(POOL))


def test_ifd_reads_every_response_twice(lm: LanguageModel) -> None:
    ledger = spent(lm, InstructionFollowingDifficulty())
    assert ledger.lm_tokens == lengths(lm, POOL) + N + responses(POOL)
    assert ledger.head_tokens == 2 * responses(POOL)


def test_the_encoder_reads_each_text_once_and_a_cached_one_never(tmp_path: Path) -> None:
    embedder = SentenceEmbedder(str(make_toy_encoder(tmp_path / "model")), batch_size=1)
    texts = ["rain", "a river in france", "add the two numbers"]
    embed_cached(embedder, [*texts, *texts[::-1], texts[0]], folder=tmp_path / "cache")
    bert = embedder._model[0].model
    layers = sum(weight.numel() for layer in bert.encoder.layer for weight in layer.parameters())
    pooler = sum(weight.numel() for weight in bert.pooler.parameters()) if bert.pooler is not None else 0
    tokens = sum(len(text.split()) + 2 for text in texts)  # one a word, and one at either end
    assert embedder.ledger.encoder_forwards == len(texts)
    assert embedder.ledger.flops == 2 * (layers + pooler) * tokens > 0
    embedder.ledger = again = Ledger()
    embed_cached(embedder, texts, folder=tmp_path / "cache")
    assert again == Ledger()
    embed_cached(embedder, [*texts, "write"], folder=tmp_path / "cache")
    assert again.encoder_forwards == 1 and again.flops == 2 * (layers + pooler) * 3
    assert again.lm_forwards == again.lm_tokens == 0
