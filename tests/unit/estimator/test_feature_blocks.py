"""Features: checked once and in blocks, rows that follow one another are no copy, equal keys are equal rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nncift.data.keys import ContentKeys
from nncift.embed import base
from nncift.errors import ConfigError, ModelError
from nncift.estimator import covariance
from nncift.estimator.covariance import Coordinates
from nncift.estimator.features import Features, embedding_features

WORDS = [bytes([k % 4] * 32) for k in range(9)]


def features(rows: int = 9, width: int = 3) -> Features:
    block = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return Features({"embedding": block}, ContentKeys.of(WORDS[:rows]))


@pytest.mark.parametrize("which", [range(9), range(2, 7), [4], [3, 2, 1], [0, 2, 4], [-1, 0], [-2, -1], []])
def test_rows_are_taken_by_position(which: range | list[int]) -> None:
    whole = features()
    some = whole.take(list(which))
    np.testing.assert_array_equal(some.blocks["embedding"], whole.blocks["embedding"][list(which)])
    assert [*some.keys] == [whole.keys[k] for k in which] and len(some) == len(which)
    assert [*features().take(list(which)).keys] == [*Features(whole.blocks, tuple(whole.keys)).take(list(which)).keys]
    inside = len(which) > 0 and list(which) == list(range(which[0], which[0] + len(which))) and which[0] >= 0
    assert np.shares_memory(some.blocks["embedding"], whole.blocks["embedding"]) == inside


def test_the_first_row_of_each_key() -> None:
    expected = [k % 4 for k in range(9)]
    whole = features()
    assert whole.same.tolist() == expected == Features(whole.blocks, tuple(whole.keys)).same.tolist()


@pytest.mark.parametrize("row", [0, 3, 4, 8])
def test_a_row_that_is_no_number_is_named_in_whatever_block(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BLOCK", 4)
    block = np.zeros((9, 2), dtype=np.float32)
    block[row:, 1] = np.nan
    with pytest.raises(ModelError, match=f"of row '{row}' is no number"):
        embedding_features(block)
    with pytest.raises(ConfigError, match="has 9 rows; 8 are needed"):
        embedding_features(block, [str(k) for k in range(8)])


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 9])
def test_coordinates_of_blocks_are_those_of_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinates, some = Coordinates.of([features()]), features(rows)
    (whole,) = coordinates.apply(some)
    monkeypatch.setattr(covariance, "_APPLIED", 4)
    (parts,) = coordinates.apply(some)
    assert parts.shape == whole.shape == (rows, 3) and parts.dtype == torch.float64
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
