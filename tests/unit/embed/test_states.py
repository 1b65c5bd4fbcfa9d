"""Features of single rows: the neighbours' numbers, every text once, whatever stands beside it and whatever is killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.data.wording import choose_wording
from nncift.embed import states
from nncift.embed.states import RowStates, row_states
from nncift.errors import ConfigError, ModelError
from nncift.ledger import Ledger
from nncift.lm.head import decoder
from nncift.lm.hidden import pooled_states
from nncift.lm.model import LanguageModel
from nncift.lm.score import score_responses
from nncift.lm.tokens import Query, tokenize_row
from teaching import rows
from toys import toy_lm, toy_tokenizer

ROWS = rows(
    ("what is up?", "the sky"), ("two and two", "four"), ("say a colour", "red, or blue"), ("x", "y"),
    ("name it", "a long answer with words, and then some more of them"), ("up? " * 9, "sky"), ("k", "m n o p"),
)  # fmt: skip
FIELDS = ("mean_state", "last_state", "scalars", "usable", "cut")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return toy_lm(batch_tokens=64)


def queries(lm: LanguageModel, examples: tuple[Example, ...]) -> list[Query]:
    wording = choose_wording(lm.tokenizer)
    found = [tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length) for row in examples]
    return [query for query in found if query is not None]


def alike(found: RowStates, expected: RowStates, order: list[int] | None = None) -> None:
    """Within float noise, and not by being nothing."""
    order = list(range(len(expected.usable))) if order is None else order
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name)[order], atol=2e-5, err_msg=name)
    assert np.abs(found.mean_state).max() > 0.1


def bits(found: RowStates) -> list[bytes]:
    return [getattr(found, name).tobytes() for name in FIELDS]


def cost(lm: LanguageModel, examples: tuple[Example, ...], folder: Path, **options: str) -> tuple[RowStates, Ledger]:
    lm.meter.ledger = ledger = Ledger()
    done: list[int] = []
    found = row_states(lm, examples, folder=folder, on_progress=done.append, **options)  # pyright: ignore
    assert sum(done) == len(examples)
    return found, ledger


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_gives_the_numbers_of_the_neighbours_for_one_forward_a_row(kind: str, tmp_path: Path) -> None:
    lm = toy_lm(kind, batch_tokens=64)
    asked = queries(lm, ROWS)
    found, ledger = cost(lm, ROWS, tmp_path)
    assert (ledger.lm_forwards, ledger.lm_prefixes, ledger.lm_backwards) == (len(ROWS), 0, 0)
    assert ledger.lm_tokens == sum(map(len, asked))
    assert ledger.head_tokens == sum(len(query.response) for query in asked)
    sequences = [(*query.ids, *query.response) for query in asked]
    np.testing.assert_allclose(found.mean_state, pooled_states(lm, sequences, "mean"), atol=2e-5)
    np.testing.assert_allclose(found.last_state, pooled_states(lm, sequences, "last"), atol=2e-5)
    log_probs = score_responses(lm, [()] * len(asked), asked)
    expected = [
        (-one.mean(), np.sqrt(np.mean((1 - np.exp(one)) ** 2)), np.log(1 + len(query.ids)), np.log(1 + len(query.response)))
        for one, query in zip(log_probs, asked, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(found.scalars, expected, atol=1e-5)
    assert found.usable.all() and not found.cut.any()
    assert [getattr(found, name).dtype for name in FIELDS] == [*[np.dtype(np.float32)] * 3, *[np.dtype(np.bool_)] * 2]
    assert found.mean_state.shape == found.last_state.shape == (len(ROWS), 32) and found.scalars.shape == (len(ROWS), 4)


@pytest.mark.parametrize("chunk", [1, 3, 128])
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_company_order_and_batches_do_not_matter(
    lm: LanguageModel, chunk: int, batch_tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = row_states(lm, ROWS, folder=tmp_path / "whole")
    monkeypatch.setattr(states, "_CHUNK", chunk)
    order = [5, 2, 6, 0]
    other = toy_lm(batch_tokens=batch_tokens)
    alike(row_states(other, [ROWS[k] for k in order], folder=tmp_path / "other"), whole, order)


def test_any_order_gives_the_same_chunks_and_bits(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_CHUNK", 3)
    whole = row_states(lm, ROWS, folder=tmp_path / "a")
    backwards = row_states(lm, ROWS[::-1], folder=tmp_path / "b")
    assert [getattr(backwards, name)[::-1].tobytes() for name in FIELDS] == bits(whole)
    a, b = ({path.name for path in (tmp_path / side).rglob("*.npz")} for side in "ab")  # named by their bytes
    assert a == b and len(a) == 3


def test_what_is_kept_is_not_read_again(lm: LanguageModel, tmp_path: Path) -> None:
    first, ledger = cost(lm, ROWS[:4], tmp_path)
    assert ledger.lm_forwards == 4
    again, ledger = cost(lm, ROWS[:4], tmp_path)
    assert ledger == Ledger() and bits(again) == bits(first)
    some, ledger = cost(lm, ROWS[3:0:-1], tmp_path)
    assert ledger == Ledger() and some.mean_state.tobytes() == first.mean_state[3:0:-1].tobytes()
    more, ledger = cost(lm, ROWS, tmp_path)
    assert ledger.lm_forwards == len(ROWS) - 4 and more.scalars[:4].tobytes() == first.scalars.tobytes()
    alike(more, row_states(lm, ROWS, folder=tmp_path / "cold"))


def test_equal_texts_are_read_once(lm: LanguageModel, tmp_path: Path) -> None:
    twins = (*ROWS[:2], replace(ROWS[0], id="twin"), replace(ROWS[1], id=ROWS[0].id))
    found, ledger = cost(lm, twins, tmp_path)
    assert ledger.lm_forwards == 2
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[2:], getattr(found, name)[:2])
    assert np.abs(found.mean_state[0] - found.mean_state[1]).max() > 1e-2


def test_a_kill_loses_one_chunk_and_no_bit(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states._CHUNK == 128
    monkeypatch.setattr(states, "_CHUNK", 2)
    whole = row_states(lm, ROWS, folder=tmp_path / "whole")
    lm.meter.ledger = ledger = Ledger()

    def kill(count: int) -> None:
        if ledger.lm_forwards > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        row_states(lm, ROWS, folder=tmp_path / "killed", on_progress=kill)
    resumed, ledger = cost(lm, ROWS[::-1], tmp_path / "killed")
    assert ledger.lm_forwards == len(ROWS) - 4
    assert [getattr(resumed, name)[::-1].tobytes() for name in FIELDS] == bits(whole)
    next((tmp_path / "killed").rglob("*.npz")).write_bytes(b"damaged")
    mended, ledger = cost(lm, ROWS, tmp_path / "killed")
    assert 1 <= ledger.lm_forwards <= 2 and bits(mended) == bits(whole)


def test_what_the_numbers_depend_on_is_in_the_name(lm: LanguageModel, tmp_path: Path) -> None:
    chatty = toy_lm(batch_tokens=64)
    chatty.tokenizer.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    half = replace(lm, model=toy_lm().model.bfloat16(), placement=replace(lm.placement, dtype="bfloat16"), head=None)
    models = {"plain": lm, "seed": toy_lm(batch_tokens=64, seed=1), "short": toy_lm(batch_tokens=64, max_length=12)}
    models |= {"chat": chatty, "half": half}
    found = {}
    for name, model in models.items():
        found[name] = row_states(model, ROWS, folder=tmp_path)
        assert bits(found[name]) == bits(row_states(model, ROWS, folder=tmp_path / name))
    assert len({path.parent for path in tmp_path.rglob("*.npz")}) == 2 * len(
        models
    )  # the shared ones, and each its own
    same, ledger = cost(chatty, ROWS, tmp_path, wording="plain")
    assert ledger.lm_forwards == 0 and bits(same) == bits(found["plain"])  # the same weights and the same words
    with pytest.raises(ConfigError, match="needs a tokenizer with a chat template"):
        row_states(lm, ROWS, folder=tmp_path, wording="chat")


def test_half_precision_gives_single_precision_states(tmp_path: Path) -> None:
    lm = toy_lm(batch_tokens=64)
    exact = row_states(lm, ROWS, folder=tmp_path / "float32")
    lm.model.bfloat16()
    half = replace(lm, placement=replace(lm.placement, dtype="bfloat16"), head=type(lm.head).of(lm.model))  # pyright: ignore
    found = row_states(half, ROWS, folder=tmp_path / "bfloat16")
    assert half.head is not None and found.mean_state.dtype == np.float32
    for name in ("mean_state", "scalars"):
        np.testing.assert_allclose(getattr(found, name), getattr(exact, name), atol=0.2)
    assert np.abs(found.mean_state - exact.mean_state).max() > 0


def without_response(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    def tokenize(tokenizer: object, wording: object, row: Example, *, limit: int) -> object:
        return None if row.response in texts else tokenize_row(tokenizer, wording, row, limit=limit)  # pyright: ignore

    monkeypatch.setattr(states, "tokenize_row", tokenize)


def test_a_row_without_a_response_token_keeps_its_prompt(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = row_states(lm, ROWS, folder=tmp_path / "plain")
    prompt = queries(lm, ROWS)[1].ids
    without_response(monkeypatch, "four")
    found, ledger = cost(lm, ROWS, tmp_path / "without")
    assert ledger.lm_forwards == len(ROWS) and found.usable.tolist() == [k != 1 for k in range(len(ROWS))]
    np.testing.assert_allclose(found.mean_state[1], pooled_states(lm, [prompt], "mean")[0], atol=2e-5)
    np.testing.assert_allclose(found.scalars[1], [0, 0, np.log1p(len(prompt)), 0], atol=1e-6)
    assert not found.last_state[1].any()
    others = [k for k in range(len(ROWS)) if k != 1]
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name)[others], getattr(plain, name)[others], atol=2e-5)


@pytest.mark.parametrize("together", [True, False])
def test_rows_with_nothing_in_front(together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No prompt and no beginning-of-sequence token: a first token is given, one alone is not predicted, none is no row."""
    lm = replace(toy_lm(batch_tokens=64), tokenizer=toy_tokenizer(bos=False), fingerprint="no bos")
    open_rows = load_pool([{"text": "abcde"}, {"text": "q"}, {"text": "nothing"}]).examples
    without_response(monkeypatch, "nothing")
    if together:
        found, ledger = cost(lm, open_rows, tmp_path)
    else:
        parts = [cost(lm, (row,), tmp_path) for row in open_rows]
        assert [ledger.lm_forwards for _, ledger in parts] == [1, 1, 0]
        found, ledger = cost(lm, open_rows, tmp_path)
        assert ledger == Ledger()
    assert ledger.lm_forwards == 2 * together and ledger.head_tokens == 4 * together
    (abcde, q) = (tuple(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("abcde", "q"))
    assert found.usable.tolist() == [True, False, False] and not found.last_state[1:].any()
    np.testing.assert_allclose(found.mean_state[:2], pooled_states(lm, [abcde, q], "mean"), atol=2e-5)
    assert not found.mean_state[2].any() and not found.scalars[1:].any()
    (log_probs,) = score_responses(lm, [()], [Query(abcde[:1], abcde[1:], False)])
    np.testing.assert_allclose(found.scalars[0, [0, 2, 3]], [-log_probs.mean(), 0, np.log(6)], atol=1e-5)


def test_rows_that_are_too_long_are_said(tmp_path: Path) -> None:
    short = toy_lm(batch_tokens=64, max_length=12)
    for forwards in (len(ROWS), 0):  # computed, then from the folder
        found, ledger = cost(short, ROWS, tmp_path)
        assert ledger.lm_forwards == forwards and ledger.lm_tokens <= 12 * len(ROWS)
        assert found.cut.tolist() == [len(row.text) + 1 > 12 for row in ROWS]
    assert 0 < found.cut.sum() < len(ROWS)


def test_a_prompt_alone_that_is_too_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_response(monkeypatch, "sky", "y")
    found, ledger = cost(toy_lm(batch_tokens=64, max_length=12), (ROWS[5], ROWS[3]), tmp_path)
    assert found.cut.tolist() == [True, False] and not found.usable.any() and ledger.lm_tokens == 12 + 3


def test_no_rows(lm: LanguageModel, tmp_path: Path) -> None:
    found, ledger = cost(lm, (), tmp_path)
    assert found.mean_state.shape == (0, 32) and found.scalars.shape == (0, 4) and ledger == Ledger()


def test_numbers_that_are_none_are_said_and_not_kept(tmp_path: Path) -> None:
    lm = toy_lm(batch_tokens=64)
    with torch.no_grad():
        decoder(lm.model).norm.weight.fill_(float("nan"))  # pyright: ignore
    with pytest.raises(ModelError, match="returned NaN or infinity in float32"):
        row_states(lm, ROWS, folder=tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_an_unwritable_folder_costs_one_warning(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(states, "_CHUNK", 2)
    (tmp_path / "file").write_text("in the way")
    alike(row_states(lm, ROWS, folder=tmp_path / "file"), row_states(lm, ROWS, folder=tmp_path / "folder"))
    assert caplog.text.count("row states are not kept") == 1
