"""The teacher: what it asks of the model, which rows it trains on, rows without a token, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.data.rows import Example
from nncift.data.wording import Wording
from nncift.errors import ConfigError
from nncift.influence import lossval
from nncift.influence.base import Calls, Context
from nncift.influence.lossval import LossVal
from nncift.lm.tokens import Query
from teaching import ask, every_pair, rows, size_of
from toys import toy_lm

TARGETS = rows(("a", "yes"), ("b", "no"), ("c", "no"))
POOL = rows(*[(f"row {k}", "word " * (1 + k % 3) + str(k)) for k in range(7)])


def test_hooks_count_what_calls_says(tmp_path: Path) -> None:
    teacher = LossVal(epochs=2, batch=3)
    got = ask(teacher, TARGETS, POOL, lms=[toy_lm(batch_tokens=40)])
    assert teacher.calls(size_of(got, targets=3)) == Calls(14, 14)
    assert (got.ledger.lm_forwards, got.ledger.lm_backwards, got.ledger.lm_prefixes) == (14, 14, 0)
    assert got.y.dtype == np.float32 and got.y.mean() == pytest.approx(1)


def test_trains_only_on_what_will_be_asked(tmp_path: Path) -> None:
    some = np.array([1, 4, 5])
    pairs = (np.zeros(3, dtype=np.int32), some)
    got = ask(LossVal(epochs=2), TARGETS, POOL, lms=[toy_lm()], pairs=pairs, asked=(np.arange(3), some))
    alone = ask(LossVal(epochs=2), TARGETS, tuple(POOL[k] for k in some), lms=[toy_lm()])
    assert got.ledger.lm_forwards == 6
    assert got.y.tobytes() == alone.y.tobytes()


def test_a_finished_training_serves_the_next_session_and_no_other(tmp_path: Path) -> None:
    def forwards(teacher: LossVal, *, seed: int = 0, targets=TARGETS, pool=POOL, model: int = 0) -> int:
        lm = toy_lm(seed=model)
        return ask(teacher, targets, pool, lms=[lm], folder=tmp_path, seed=seed).ledger.lm_forwards

    assert forwards(LossVal(epochs=2)) == 14
    assert forwards(LossVal(epochs=2)) == 0
    assert forwards(LossVal(epochs=1)) == 7
    assert forwards(LossVal(epochs=2, blur=0.3)) == 14
    assert forwards(LossVal(epochs=2, weight_rate=0.2)) == 14
    assert forwards(LossVal(epochs=2, learning_rate=0.2)) == 14
    assert forwards(LossVal(epochs=2), seed=1) == 14
    assert forwards(LossVal(epochs=2), model=1) == 14
    assert forwards(LossVal(epochs=2), targets=TARGETS[:2]) == 14
    assert forwards(LossVal(epochs=2), pool=POOL[:6]) == 12


@pytest.mark.parametrize("nothing", [None, Query((), (5,), False)])
def test_a_row_without_a_token_to_score_is_never_picked(nothing: Query | None, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenize = lossval.tokenize_row

    def tokens(tokenizer: Any, wording: Wording, row: Example, *, limit: int) -> Query | None:
        return nothing if row.id == POOL[2].id else tokenize(tokenizer, wording, row, limit=limit)

    monkeypatch.setattr(lossval, "tokenize_row", tokens)
    y = ask(LossVal(epochs=1), TARGETS, POOL, lms=[toy_lm()]).y
    assert np.flatnonzero(np.isneginf(y)).tolist() == [2]
    assert np.isfinite(np.delete(y, 2)).all()
    got = ask(LossVal(epochs=1), TARGETS, POOL[2:3], lms=[toy_lm()])
    assert got.y.tolist() == [-np.inf] and got.ledger.lm_forwards == 0


def test_says_which_rows_lost_text() -> None:
    pool = rows(("q", "a"), ("q " * 40, "long"), ("q", "b"))
    got = ask(LossVal(epochs=1), TARGETS, pool, lms=[toy_lm(max_length=40)])
    assert list(got.session.truncated()) == [pool[1].id]
    assert got.ledger.truncated == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--option epochs is 0; it must be 1 or more"),
        ({"batch": 1}, "--option batch is 1; it must be 2 or more"),
        ({"rank": 0}, "--option rank is 0; it must be 1 or more"),
        ({"blur": 0.0}, r"--option blur is 0\.0; it must be above 0"),
        ({"weight_rate": -1.0}, r"--option weight_rate is -1\.0; it must be above 0"),
        ({"learning_rate": float("nan")}, "--option learning_rate is nan; it must be above 0"),
    ],
)
def test_wrong_options_are_said(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LossVal(**options)  # pyright: ignore[reportArgumentType]


def test_embeddings_and_a_target_are_needed(tmp_path: Path) -> None:
    everything = every_pair(1, 7)
    bare = Context(targets=TARGETS, pool=POOL, asked_targets=np.arange(3), asked_pool=everything[1], folder=tmp_path)
    with pytest.raises(ConfigError, match="needs embeddings"):
        LossVal().start(bare)
    with pytest.raises(ConfigError, match="add `--target`"):
        ask(LossVal(), (), POOL, lms=[toy_lm()])
