"""Generation against a loop that anyone can check: whole forwards, one row at a time, the likeliest token, until the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from nncift.errors import ConfigError, ModelError
from nncift.ledger import Ledger
from nncift.lm.generate import Decoding, Drawn, generate
from nncift.lm.model import LanguageModel
from nncift.seeds import generator
from nncift.tuning.lora import attach, detach
from toys import WORDS, toy_lm

KINDS = ("llama", "gemma3", "gpt2")
GREEDY = Decoding(max_new_tokens=13)
HOT = Decoding(max_new_tokens=13, temperature=1.5)
END = 2


def some_prompts(count: int = 9) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(6)
    return [
        (1, *(int(x) for x in draw.integers(4, len(WORDS), length))) for length in draw.permutation(3 * count)[:count]
    ]


@torch.no_grad()
def by_hand(lm: LanguageModel, prompt: tuple[int, ...], most: int, endings: tuple[int, ...] = (END,)) -> list[int]:
    """The oracle: one unpadded sequence, no cache."""
    ids = list(prompt)
    while len(ids) < len(prompt) + most:
        ids.append(int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in endings:
            break
    return ids[len(prompt) :]


def text(lm: LanguageModel, ids: list[int]) -> str:
    return lm.tokenizer.decode(ids, skip_special_tokens=True).strip()


@contextmanager
def an_end_in_the_middle(lm: LanguageModel, prompts: list[tuple[int, ...]]) -> Iterator[int]:
    """A token that greedy decoding writes third behind the first prompt ends answers as well."""
    token = by_hand(lm, prompts[0], 3)[2]
    lm.model.generation_config.eos_token_id = [END, token]
    yield token
    lm.model.generation_config.eos_token_id = END


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_equals_the_loop_by_hand_in_any_batch(kind: str) -> None:
    lm, prompts = toy_lm(kind), some_prompts()
    expected = [text(lm, by_hand(lm, prompt, 13)) for prompt in prompts]
    assert len(set(expected)) >= len(prompts) - 1
    for batch_tokens in (1, 64, 256, 4096):
        placed = replace(lm, placement=replace(lm.placement, batch_tokens=batch_tokens))
        assert generate(placed, prompts, GREEDY, seed=0) == expected
    assert generate(lm, prompts[::-1], GREEDY, seed=1)[::-1] == expected
    assert [generate(lm, [prompt], GREEDY, seed=0)[0] for prompt in prompts] == expected
    assert generate(replace(lm, shares_prefixes=False), prompts, GREEDY, seed=0) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_ends_at_any_end_token(kind: str) -> None:
    lm, prompts = toy_lm(kind, batch_tokens=4096), some_prompts()
    with an_end_in_the_middle(lm, prompts) as token:
        written = [by_hand(lm, prompt, 13, (END, token)) for prompt in prompts]
        assert len(written[0]) <= 3 and len({len(ids) for ids in written}) > 1
        expected = [text(lm, [k for k in ids if k != token]) for ids in written]
        assert generate(lm, prompts, GREEDY, seed=0) == expected


@pytest.mark.parametrize("whose", ["the tokenizer's", "the model's"])
def test_tokenizer_and_model_may_each_name_the_end(whose: str) -> None:
    lm, prompts = toy_lm(), some_prompts()
    token = by_hand(lm, prompts[0], 3)[2]
    lm.model.generation_config.eos_token_id = None if whose == "the tokenizer's" else token
    lm.tokenizer.eos_token = WORDS[token] if whose == "the tokenizer's" else None
    written = [by_hand(lm, prompt, 13, (token,)) for prompt in prompts]
    assert any(ids[-1] == token for ids in written)
    assert generate(lm, prompts, GREEDY, seed=0) == [text(lm, [k for k in ids if k != token]) for ids in written]


def test_padding_never_reaches_the_model_that_counts_it() -> None:
    lm, prompts = toy_lm(batch_tokens=4096), some_prompts()
    blind = replace(lm, shares_prefixes=False)
    lm.meter.ledger = ledger = Ledger()
    generate(blind, [*prompts, prompts[3]], replace(GREEDY, max_new_tokens=1), seed=0)
    assert ledger.lm_padding == 0 and ledger.lm_tokens == sum(map(len, [*prompts, prompts[3]]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_context_shortens_the_answer_and_says_so(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    prompts = sorted(some_prompts(), key=len)
    limit = len(prompts[-2])
    lm = toy_lm(kind, batch_tokens=4096, max_length=limit)
    lm.model.config.max_position_embeddings = limit
    if kind == "gpt2":  # the model itself has no more places
        places = lm.model.transformer.wpe
        places.weight.data = places.weight.data[:limit]
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        got = generate(lm, prompts, GREEDY, seed=0, on_progress=done.append)
    room = [max(0, min(13, limit - len(prompt))) for prompt in prompts]
    assert got == [text(lm, by_hand(lm, prompt, most)) for prompt, most in zip(prompts, room, strict=True)]
    assert got[-2:] == ["", ""] and room[-3] > 0
    short = sum(most < 13 for most in room)
    assert 2 < short < len(prompts) and ledger.truncated == short
    (warning,) = caplog.messages
    assert f"{short} of 9 answers" in warning and f"{limit} tokens" in warning
    assert sum(done) == 9


def test_an_answer_that_ends_by_itself_was_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    lm, prompts = toy_lm(), some_prompts()
    lm.meter.ledger = ledger = Ledger()
    with an_end_in_the_middle(lm, prompts) as token, caplog.at_level(logging.WARNING):
        length = len(prompts[0]) + len(by_hand(lm, prompts[0], 13, (END, token)))
        for limit in (length, length + 1):
            generate(replace(lm, max_length=limit), prompts[:1], GREEDY, seed=0)
    assert ledger.truncated == 0 and not caplog.messages


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_model_brings_along_does_not_leak_in(kind: str) -> None:
    lm, prompts = toy_lm(kind), some_prompts()
    plain = generate(lm, prompts, GREEDY, seed=0)
    own = lm.model.generation_config
    tastes: dict[str, Any] = {
        "do_sample": True,
        "temperature": 3.0,
        "top_k": 2,
        "top_p": 0.5,
        "repetition_penalty": 1.9,
    }
    tastes |= {"max_length": 7, "min_new_tokens": 5, "no_repeat_ngram_size": 2, "suppress_tokens": [5, 6, 7]}
    for name, value in tastes.items():
        setattr(own, name, value)
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("transformers").addHandler(listener)
    assert generate(lm, prompts, GREEDY, seed=0) == plain
    generate(lm, prompts, Decoding.paper(), seed=0)
    logging.getLogger("transformers").removeHandler(listener)
    assert said == []
    assert lm.model.generation_config is own and all(getattr(own, name) == value for name, value in tastes.items())


def test_the_seed_decides_what_is_drawn_and_nothing_else() -> None:
    lm, prompts = toy_lm(batch_tokens=4096), some_prompts()
    state = torch.random.get_rng_state()
    one = generate(lm, prompts, HOT, seed=1)
    generate(lm, prompts[:4], HOT, seed=5)
    assert generate(lm, prompts, HOT, seed=1) == one
    other = generate(lm, prompts, HOT, seed=2)
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one != generate(lm, prompts, GREEDY, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_company_and_order_do_not_change_what_is_drawn(kind: str) -> None:
    lm, prompts = toy_lm(kind, batch_tokens=4096), some_prompts()
    together = generate(lm, prompts, HOT, seed=3)
    assert [generate(lm, [prompt], HOT, seed=3)[0] for prompt in prompts] == together
    assert generate(lm, prompts[::-1], HOT, seed=3)[::-1] == together
    small = replace(lm, placement=replace(lm.placement, batch_tokens=100))
    assert generate(small, prompts, HOT, seed=3) == together
    longer = generate(lm, prompts, replace(HOT, max_new_tokens=20), seed=3)
    assert all(a.startswith(b) for a, b in zip(longer, together, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_hardly_any_temperature_and_the_likeliest_alone_are_greedy(kind: str) -> None:
    lm, prompts = toy_lm(kind), some_prompts()
    greedy = generate(lm, prompts, GREEDY, seed=0)
    assert generate(lm, prompts, replace(GREEDY, temperature=1e-6), seed=4) == greedy
    assert generate(lm, prompts, replace(HOT, min_p=1.0), seed=4) == greedy


def test_tokens_are_drawn_as_often_as_they_are_probable() -> None:
    """The uniform numbers are laid out evenly, so that the counts are the probabilities to within one."""
    count = 4000
    scores = torch.log(torch.tensor([0.02, 0.3, 0.0, 0.5, 0.18])).expand(count, -1)
    uniform = (np.arange(count) + 0.5)[:, None] / count
    chosen = Drawn(uniform.repeat(2, axis=1), prompt=3)(torch.zeros((count, 4), dtype=torch.long), scores)
    assert torch.equal(chosen.isfinite().sum(1), torch.ones(count, dtype=torch.long))
    counts = np.bincount(chosen.argmax(1).numpy(), minlength=5)
    np.testing.assert_allclose(counts, count * np.array([0.02, 0.3, 0.0, 0.5, 0.18]), atol=1.01)


def test_the_extremes_of_the_uniform_numbers_hit_probable_tokens() -> None:
    scores = torch.log(torch.tensor([[0.0, 0.25, 0.75, 0.0]] * 2))
    uniform = np.array([[0.0], [np.nextafter(np.float32(1), np.float32(0))]])
    chosen = Drawn(uniform, prompt=1)(torch.zeros((2, 1), dtype=torch.long), scores).argmax(1)
    assert chosen.tolist() == [1, 2]


def drawn_by_hand(lm: LanguageModel, prompt: tuple[int, ...], decoding: Decoding, seed: int) -> list[int]:
    """Sampling as it is defined: scale, drop what is too improbable, and see where a uniform number falls."""
    uniform = generator(seed, "generate/" + ",".join(map(str, prompt))).random(
        decoding.max_new_tokens, dtype=np.float32
    )
    ids = list(prompt)
    for number in uniform:
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
        p: ndarray = np.exp((logits - logits.max()) / decoding.temperature)
        p[p < decoding.min_p * p.max()] = 0
        ids.append(int(np.searchsorted(np.cumsum(p), number * p.sum(), side="right")))
        if ids[-1] == END:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_equals_its_definition(kind: str) -> None:
    lm, prompts = toy_lm(kind), some_prompts()
    decoding = Decoding(max_new_tokens=9, temperature=0.8, min_p=0.15)
    got = generate(lm, prompts, decoding, seed=11)
    assert got == [text(lm, drawn_by_hand(lm, prompt, decoding, 11)) for prompt in prompts]
    assert got != generate(lm, prompts, replace(decoding, min_p=0.0), seed=11)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_heard(kind: str) -> None:
    lm, prompts = toy_lm(kind), some_prompts()
    plain = generate(lm, prompts, GREEDY, seed=0)
    weights = attach(lm, rank=3, alpha=6, seed=0)
    assert generate(lm, prompts, GREEDY, seed=0) == plain
    noise = torch.Generator().manual_seed(1)
    for weight in weights.values():
        weight.data += 0.5 * torch.randn(weight.shape, generator=noise)
    adapted = generate(lm, prompts, GREEDY, seed=0)
    assert adapted == [text(lm, by_hand(lm, prompt, 13)) for prompt in prompts]
    assert adapted != plain
    detach(lm)
    assert generate(lm, prompts, GREEDY, seed=0) == plain


def test_the_ledger_counts_rows_once_and_tokens_truly() -> None:
    lm, prompts = toy_lm(batch_tokens=128), [prompt for prompt in some_prompts() if len(prompt) > 1]
    seen = {"slots": 0, "batches": 0}

    def hook(module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        seen["slots"] += kwargs["input_ids"].numel()
        seen["batches"] += kwargs["input_ids"].shape[1] > 1

    handle = lm.model.get_decoder().register_forward_pre_hook(hook, with_kwargs=True)
    with an_end_in_the_middle(lm, prompts) as token:
        lengths = [len(by_hand(lm, prompt, 13, (END, token))) for prompt in prompts]
        seen.update(slots=0, batches=0)
        lm.meter.ledger = ledger = Ledger()
        done: list[int] = []
        generate(lm, prompts, GREEDY, seed=0, on_progress=done.append)
    handle.remove()
    assert len(done) == seen["batches"] > 1 and sum(done) == len(prompts)
    assert (ledger.lm_forwards, ledger.lm_prefixes, ledger.lm_backwards) == (len(prompts), 0, 0)
    assert ledger.lm_tokens == sum(map(len, prompts)) + sum(lengths) - len(prompts)
    assert ledger.lm_tokens + ledger.lm_padding == seen["slots"] and ledger.lm_padding > 0
    weights = 2 * lm.meter.trunk_weights * seen["slots"] + 2 * lm.meter.head_weights * ledger.head_tokens
    assert ledger.flops == weights


def test_the_ledger_by_hand() -> None:
    """Two rows of 3 and 5 tokens, four written each: 3 + 5 in front and 3 + 3 fed back; logits at 8 positions."""
    lm = toy_lm(batch_tokens=4096)
    lm.model.generation_config.eos_token_id = lm.tokenizer.eos_token = None
    lm.meter.ledger = ledger = Ledger()
    generate(lm, [(1, 5, 6), (1, 7, 8, 9, 10)], Decoding(max_new_tokens=4), seed=0)
    assert (ledger.lm_forwards, ledger.lm_tokens, ledger.lm_padding, ledger.head_tokens) == (2, 14, 2, 8)


def test_a_model_that_gives_all_logits_is_charged_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm(batch_tokens=4096)
    lm.model.generation_config.eos_token_id = lm.tokenizer.eos_token = None
    inner = lm.model.forward

    def forward(input_ids: Any, attention_mask: Any = None, past_key_values: Any = None, **more: Any) -> Any:
        return inner(input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values, **more)

    monkeypatch.setattr(lm.model, "forward", forward)
    lm.meter.ledger = ledger = Ledger()
    generate(lm, [(1, 5, 6), (1, 7, 8, 9, 10)], Decoding(max_new_tokens=4), seed=0)
    assert ledger.head_tokens == 2 * 5 + 2 * 3


def test_numbers_that_cannot_be_used_are_an_error() -> None:
    lm = toy_lm()
    with torch.no_grad():
        lm.model.lm_head.weight[30] = torch.nan
    with pytest.raises(ModelError, match="returned NaN or infinity in float32"):
        generate(lm, some_prompts(), GREEDY, seed=0)
    assert lm.meter.ledger.lm_forwards > 0


def test_no_room_on_the_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm()

    def full(*args: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("too much")

    own = lm.model.generation_config
    monkeypatch.setattr(lm.model, "forward", full)
    with pytest.raises(ModelError, match=r"out of memory with 256 tokens .* Try --batch-tokens 64"):
        generate(lm, some_prompts(), GREEDY, seed=0)
    assert lm.model.generation_config is own


def test_nothing_asked_nothing_written() -> None:
    lm = toy_lm()
    assert generate(lm, [], GREEDY, seed=0) == [] and lm.meter.ledger == Ledger()


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1e-7}, "temperature is 1e-07"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"min_p": 1.5}, "min_p is 1.5"),
    ],
)
def test_decoding_refuses_what_cannot_work(values: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        Decoding(**values)


def test_the_preset_of_the_paper() -> None:
    assert Decoding.paper() == Decoding(max_new_tokens=150, temperature=0.2, min_p=0.1)
    assert Decoding() == Decoding(150, 0.0, 0.0)
