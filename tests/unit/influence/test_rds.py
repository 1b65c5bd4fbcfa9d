"""RDS+: cosines of pooled states, every row once, features that outlive the session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import teaching
from nncift.data.rows import Example
from nncift.data.wording import choose_wording
from nncift.errors import DataError
from nncift.influence import rds
from nncift.influence.rds import Rds
from nncift.lm.head import decoder
from nncift.lm.hidden import pooled_states
from nncift.lm.model import LanguageModel
from nncift.lm.tokens import tokenize_row
from teaching import rows
from toys import toy_lm

TARGETS = rows(("what is up?", "the sky"), ("two and two", "four"), ("say a colour", "red, or blue"))
POOL = rows(
    ("name it", "a long answer with words"), ("up?", "sky"), ("two and two", "four"), ("x", "y"), ("k", "m n o p")
)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return toy_lm(batch_tokens=64)


def features(lm: LanguageModel, examples: tuple[Example, ...], pooling: rds.Pooling) -> np.ndarray:
    """Row by row, without batches."""
    wording = choose_wording(lm.tokenizer)
    found = []
    for row in examples:
        query = tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length)
        assert query is not None and query.ids[0] == lm.tokenizer.bos_token_id
        found.append(pooled_states(lm, [(*query.ids, *query.response)], pooling)[0].astype(np.float64))
    vectors = np.array(found)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("pooling", ["weighted", "mean", "last"])
def test_is_the_cosine_of_pooled_states(lm: LanguageModel, pooling: rds.Pooling) -> None:
    answer = teaching.ask(Rds(pooling=pooling), TARGETS, POOL, lms=[lm])
    expected = features(lm, TARGETS, pooling) @ features(lm, POOL, pooling).T
    np.testing.assert_allclose(answer.matrix, expected, atol=1e-5)
    assert answer.matrix[1, 2] == pytest.approx(1.0, abs=1e-6)  # the same text on both sides
    assert np.abs(answer.matrix).max() <= 1 + 1e-6


def test_poolings_differ(lm: LanguageModel) -> None:
    found = [teaching.ask(Rds(pooling=p), TARGETS, POOL, lms=[lm]).y for p in ("weighted", "mean", "last")]
    assert np.abs(found[0] - found[1]).max() > 1e-3 and np.abs(found[0] - found[2]).max() > 1e-3


@pytest.mark.parametrize("chunk", [1, 2, 128])
def test_every_row_goes_through_the_model_once(lm: LanguageModel, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rds, "_CHUNK", chunk)
    answer = teaching.ask(Rds(), TARGETS, POOL, lms=[lm])
    calls = Rds().calls(teaching.size_of(answer, targets=len(TARGETS)))
    assert (calls.forwards, calls.backwards) == (len(TARGETS) + len(POOL), 0)
    assert answer.ledger.lm_forwards == calls.forwards
    assert (answer.ledger.lm_prefixes, answer.ledger.lm_backwards, answer.ledger.head_tokens) == (0, 0, 0)
    np.testing.assert_allclose(answer.y, teaching.ask(Rds(), TARGETS, POOL, lms=[lm]).y, atol=1e-5)


def test_a_block_costs_its_rows_and_columns_only(lm: LanguageModel) -> None:
    i, j = np.array([0, 2, 0, 2], dtype=np.int32), np.array([1, 1, 4, 4], dtype=np.int32)
    answer = teaching.ask(Rds(), TARGETS, POOL, lms=[lm], pairs=(i, j), asked=(np.array([0, 2]), np.array([1, 4])))
    assert answer.ledger.lm_forwards == 4


def test_the_scale_of_the_states_does_not_matter(lm: LanguageModel) -> None:
    plain = teaching.ask(Rds(), TARGETS, POOL, lms=[lm]).y
    stretched = toy_lm(batch_tokens=64)
    with torch.no_grad():
        decoder(stretched.model).norm.weight.mul_(37.0)  # pyright: ignore
    np.testing.assert_allclose(teaching.ask(Rds(), TARGETS, POOL, lms=[stretched]).y, plain, atol=1e-5)


def test_batches_do_not_matter(lm: LanguageModel) -> None:
    one_by_one = toy_lm(batch_tokens=1)
    plain, other = (teaching.ask(Rds(), TARGETS, POOL, lms=[model]).y for model in (lm, one_by_one))
    np.testing.assert_allclose(plain, other, atol=1e-5)


def test_features_of_the_pool_outlive_the_session(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rds, "_CHUNK", 2)
    first = teaching.ask(Rds(), TARGETS, POOL, lms=[lm], folder=tmp_path)
    again = teaching.ask(Rds(), TARGETS[:2], POOL, lms=[lm], folder=tmp_path)
    assert again.ledger.lm_forwards == 2  # the targets, which the caller keeps
    assert again.matrix.tobytes() == first.matrix[:2].tobytes()
    files = sorted((tmp_path / "rds").iterdir())
    assert len(files) == 3 and all(path.suffix == ".npz" for path in files)
    files[1].write_bytes(files[1].read_bytes()[:-40])
    mended = teaching.ask(Rds(), TARGETS, POOL, lms=[lm], folder=tmp_path)
    assert mended.y.tobytes() == first.y.tobytes() and 3 < mended.ledger.lm_forwards <= 5


def test_what_features_depend_on_is_in_their_name(lm: LanguageModel, tmp_path: Path) -> None:
    other = toy_lm(batch_tokens=64, seed=1)
    short = toy_lm(batch_tokens=64, max_length=12)
    for teacher, model in ((Rds(), lm), (Rds(pooling="last"), lm), (Rds(), other), (Rds(), short)):
        shared = teaching.ask(teacher, TARGETS, POOL, lms=[model], folder=tmp_path)
        np.testing.assert_array_equal(shared.y, teaching.ask(teacher, TARGETS, POOL, lms=[model]).y)
    assert len(list((tmp_path / "rds").iterdir())) == 4


def test_rows_that_are_too_long_are_said(tmp_path: Path) -> None:
    short = toy_lm(batch_tokens=64, max_length=12)
    for _ in range(2):  # computed, then read from the folder
        answer = teaching.ask(Rds(), TARGETS, POOL, lms=[short], folder=tmp_path)
        long = {row.id for row in (*TARGETS, *POOL) if len(row.text) + 1 > 12}
        assert set(answer.session.truncated()) == long and answer.ledger.truncated == len(long)
        assert 0 < len(long) < len(TARGETS) + len(POOL)


def test_a_row_without_a_response_token_is_never_picked(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_token_in(texts: set[str]) -> None:
        def tokenize(tokenizer: object, wording: object, row: Example, *, limit: int) -> object:
            return None if row.response in texts else tokenize_row(tokenizer, wording, row, limit=limit)  # pyright: ignore

        monkeypatch.setattr(rds, "tokenize_row", tokenize)

    plain = teaching.ask(Rds(), TARGETS, POOL, lms=[lm]).matrix
    no_token_in({"y"})
    found = teaching.ask(Rds(), TARGETS, POOL, lms=[lm]).matrix
    assert (found[:, 3] == -np.inf).all()
    np.testing.assert_allclose(np.delete(found, 3, axis=1), np.delete(plain, 3, axis=1), atol=1e-5)
    no_token_in({row.response for row in POOL} - {"four"})
    monkeypatch.setattr(rds, "_CHUNK", 1)
    assert np.isneginf(teaching.ask(Rds(), TARGETS, POOL, lms=[lm]).matrix).any(axis=0).sum() == 4
    no_token_in({"the sky"})
    with pytest.raises(DataError, match="its response has no token"):
        teaching.ask(Rds(), TARGETS, POOL, lms=[lm])
