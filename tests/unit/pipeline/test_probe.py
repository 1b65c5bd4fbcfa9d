"""Which pairs of new data check a reused estimator."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.data.files import load_pool
from nncift.errors import ConfigError
from nncift.pipeline.inputs import Axes, make_axes
from nncift.pipeline.probe import draw_probe


def axes(m: int, n: int, *, pairwise: bool = True, cover: bool = False, own: bool = False, same: int = 0) -> Axes:
    pool = load_pool([{"text": f"pool row {k}"} for k in range(n)]).by_id()
    target = load_pool([{"text": f"pool row {k}" if k < same else f"target row {k}"} for k in range(m)]).by_id()
    return make_axes(
        pool, None if own else target, None, pairwise=pairwise, uses_target=pairwise, cover_pool=cover,
        max_targets=5000, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("m", "n", "labels", "targets"),
    [(60, 300, 180, 8), (500, 300, 300, 12), (9, 40, 64, 8), (5, 30, 64, 5), (3, 7, 21, 3), (400, 40, 160, 8)],
)
def test_one_per_cent_within_bounds_on_few_targets(m: int, n: int, labels: int, targets: int) -> None:
    budget, pairs = draw_probe("auto", axes(m, n), 0)
    assert budget is not None and pairs is not None
    i, j = pairs
    assert len(i) == labels and len(np.unique(i)) == targets
    assert len({*zip(i.tolist(), j.tolist(), strict=True)}) == labels
    assert np.bincount(i)[np.unique(i)].max() - np.bincount(i)[np.unique(i)].min() <= 1
    assert (np.lexsort((i, j)) == np.arange(labels)).all() and i.max() < m and j.max() < n
    again = draw_probe("auto", axes(m, n), 0)[1]
    assert again is not None and np.array_equal(again[0], i) and np.array_equal(again[1], j)


def test_more_labels_take_more_targets() -> None:
    pairs = draw_probe("900", axes(60, 300), 0)[1]
    assert pairs is not None and len(np.unique(pairs[0])) == 36
    everything = draw_probe("all", axes(7, 11), 0)[1]
    assert everything is not None and len(everything[0]) == 77
    block = draw_probe("u=20%", axes(20, 50), 0)[1]
    assert block is not None and len(block[0]) == 4 * 10
    rows = draw_probe("100", axes(20, 50), 0, priced="row")[1]
    assert rows is not None and len(rows[0]) == 100 and len(np.unique(rows[0])) == 10


def test_one_score_a_row_and_a_covered_pool() -> None:
    pointwise = draw_probe("auto", axes(4, 90, pairwise=False), 0)[1]
    assert pointwise is not None and len(pointwise[1]) == 64 and not pointwise[0].any()
    covered = draw_probe("auto", axes(9, 40, cover=True), 0)[1]
    assert covered is not None and covered[0].max() < 9


def test_rows_never_check_themselves() -> None:
    own = axes(1, 30, own=True)
    pairs = draw_probe("auto", own, 0)[1]
    assert pairs is not None and len(pairs[0]) == 64 and (pairs[0] != pairs[1]).all()
    twins = draw_probe("auto", axes(2, 4, same=2), 0)[1]
    assert twins is not None and len(twins[0]) == 6


@pytest.mark.parametrize("word", ["none", "0", " None "])
def test_none_is_none(word: str) -> None:
    assert draw_probe(word, axes(4, 9), 0) == (None, None)


@pytest.mark.parametrize(("word", "says"), [("37", "only 36"), ("half", "cannot be read"), ("-3", "at least one")])
def test_what_cannot_be_drawn_is_refused(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        draw_probe(word, axes(4, 9), 0)
