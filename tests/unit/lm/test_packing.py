"""Which sequences share a batch, how they are padded, and what is said where memory ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from nncift.errors import ModelError
from nncift.lm.hidden import pooled_states
from nncift.lm.packing import by_length, pad
from nncift.lm.score import predicted, score_responses
from nncift.lm.tokens import Query
from nncift.tuning.gradients import row_gradients
from nncift.tuning.lora import attach
from nncift.tuning.losses import row_losses
from toys import toy_lm, toy_queries


@pytest.mark.parametrize("most", [1, 3, 1000])
@pytest.mark.parametrize("budget", [1, 8, 24, 64, 1000])
def test_batches_hold_every_row_once_and_end_for_a_reason(budget: int, most: int) -> None:
    lengths = np.random.default_rng(budget).integers(1, 40, size=50).tolist()
    batches = list(by_length(lengths, budget, most=most))
    assert [k for batch in batches for k in batch] == sorted(range(50), key=lambda k: (lengths[k], k))
    for batch in batches:
        assert len(batch) <= most and (len(batch) == 1 or len(batch) * lengths[batch[-1]] <= budget)
    for before, after in itertools.pairwise(batches):  # it is full, or padding would be a waste
        length = lengths[after[0]]
        padded = (len(before) + 1) * length
        wasteful = padded > budget // 4 and length > 1.2 * lengths[before[0]]
        assert len(before) == most or padded > budget or wasteful


def test_nothing_makes_no_batch() -> None:
    assert list(by_length([], 50)) == []


def test_padding_by_hand() -> None:
    ids, mask = pad([(5, 6), (7,), (8, 9, 10)])
    assert ids.tolist() == [[5, 6, 0], [7, 0, 0], [8, 9, 10]]
    assert mask.tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    ids, mask = pad([(5, 6), (), (8, 9, 10)], side="left")
    assert ids.tolist() == [[0, 5, 6], [0, 0, 0], [8, 9, 10]]
    assert mask.tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 1]]
    assert ids.dtype == mask.dtype == torch.int64


def test_each_token_is_predicted_one_place_before_it() -> None:
    queries = [Query((1, 2), (3, 4), False), Query((), (5, 6, 7), False), Query((), (8, 9), False)]
    rows, columns, tokens = predicted(queries, [0, 0, 3])
    assert rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert columns.tolist() == [1, 2, 0, 1, 2, 3]
    assert tokens.tolist() == [3, 4, 6, 7, 8, 9]  # nothing predicts the 5


def test_a_device_without_room_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm(batch_tokens=4096)
    rows = toy_queries(3)

    def full(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(lm.model.model.layers[0], "forward", full)
    sentence = r"cpu is out of memory with 4,096 tokens {}\. Try --batch-tokens 1024\."
    with pytest.raises(ModelError, match=sentence.format("a forward")):
        pooled_states(lm, [row.response for row in rows], "mean")
    with pytest.raises(ModelError, match=sentence.format("a forward")):
        score_responses(lm, [(1, 2)] * 3, rows)
    with pytest.raises(ModelError, match=sentence.format("in training")):
        row_losses(lm, rows)


def test_a_backward_without_room_is_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = toy_lm(batch_tokens=4096)
    names = attach(lm, rank=2, alpha=4, seed=0)

    def full(*args: object, **options: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.Tensor, "backward", full)
    with pytest.raises(ModelError, match=r"4,096 tokens in training\. Try --batch-tokens 1024"):
        row_gradients(lm, names, toy_queries(3), sink=lambda name, values: None)
