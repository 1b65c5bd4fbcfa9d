"""New rows among old ones: of one kind they are rarely taken for two, of two kinds always."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.estimator.features import Features, embedding_features
from nncift.estimator.novelty import novelty


def draw(rng: np.random.Generator, rows: int, *, shift: float = 0.0, spread: float = 1.0, side: str = "") -> Features:
    """Rows of a heavy-tailed lump in 12 dimensions."""
    values = spread * rng.standard_t(4, size=(rows, 12)) + shift
    return embedding_features(values.astype(np.float32), [f"{side}{k}" for k in range(rows)])


def test_data_of_one_kind_is_rarely_alarming() -> None:
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        found.append(novelty(draw(rng, 61), draw(rng, 44), seed=seed))
    chances = np.array([one.chance for one in found if one is not None])
    assert len(chances) == 120 and sum(one.alarming for one in found if one is not None) <= 3
    assert 0.01 <= np.mean(chances <= 0.1) <= 0.2  # the test is exact: a tenth
    assert np.mean([one.apart for one in found if one is not None]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("shift", "spread"), [(3.0, 1.0), (0.0, 0.2)], ids=["elsewhere", "a narrow part"])
def test_data_of_another_kind_is(shift: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    found = novelty(draw(rng, 80), draw(rng, 50, shift=shift, spread=spread), seed=0)
    assert found is not None and found.alarming and found.apart > 0.8 and found.rows == 50
    assert found.record() == {"rows": 50, "apart": found.apart, "chance": 0.001, "alarming": True}


def test_the_rows_themselves_are_not_new() -> None:
    rows = draw(np.random.default_rng(1), 40)
    found = novelty(rows, rows, seed=0)
    assert found is not None and (found.apart, found.chance, found.alarming) == (0.0, 1.0, False)


def test_a_small_difference_of_many_rows_is_not_told() -> None:
    rng = np.random.default_rng(2)
    found = novelty(draw(rng, 1500), draw(rng, 1500, shift=0.35), seed=0)
    assert found is not None and found.chance <= 0.005 and found.apart < 0.6 and not found.alarming


def test_scale_and_order_change_nothing_and_few_rows_say_nothing() -> None:
    rng = np.random.default_rng(3)
    old, new = draw(rng, 60), draw(rng, 40, shift=1.0)
    one = novelty(old, new, seed=4)
    larger = [Features({"embedding": 8 * side.blocks["embedding"]}, side.keys) for side in (old, new)]
    assert one is not None and one == novelty(*larger, seed=4) == novelty(old, new, seed=4)
    assert novelty(old, new.take(np.arange(19)), seed=0) is None
    assert novelty(old.take(np.arange(19)), new, seed=0) is None


def test_every_block_counts() -> None:
    rng = np.random.default_rng(5)
    blocks = [{"mean_state": rng.normal(size=(50, 9)), "scalars": rng.normal(size=(50, 3)) + shift} for shift in (0, 4)]
    old, new = (
        Features({k: v.astype(np.float32) for k, v in part.items()}, tuple(map(str, range(50)))) for part in blocks
    )
    found = novelty(old, new, seed=0)
    assert found is not None and found.alarming
