"""Which pairs of a run get an exact influence: as a block where rows are what costs, in stripes where pairs do."""

from __future__ import annotations

import numpy as np

from nncift.estimator.budget import LabelBudget, NamedDesign, Price
from nncift.estimator.design import pairs_to_label
from nncift.pipeline.inputs import Axes
from nncift.pipeline.journal import Pairs
from nncift.seeds import generator


def draw_pairs(
    labels: LabelBudget,
    axes: Axes,
    seed: int,
    *,
    priced: Price = "pair",
    design: NamedDesign | None = None,
    taken: Pairs | None = None,
    number: int = 0,
) -> Pairs:
    """The pairs to label, sorted by (j, i): by the design that is asked for, else as a block where rows are what costs, in
    stripes where pairs do. Where the pool rows are to be covered beside the target, half of a number of labels goes to each,
    because one draw over both would leave a small target next to none. In rounds, those that are `taken` have a label, and
    `number` counts from 0.

    Raises:
        ConfigError: more labels are asked for than there are pairs, or all pairs have the same text on both sides.
    """
    m, n = max(1, len(axes.rows)), len(axes.columns)
    rng = generator(seed, f"labels/round {number}" if number else "labels")
    if len(axes.rows) <= axes.m or labels.kind in ("all", "block"):
        return pairs_to_label(labels, m, n, masked=axes.masked, rng=rng, priced=priced, design=design, taken=taken)
    if design == "block" or (design is None and priced == "row"):
        return _blocks_of_both(labels, axes, rng)
    total = labels.pairs(m, n)
    full = 0 if taken is None else int((taken[0] < axes.m).sum())
    near = min(total // 2, axes.m * n - full - int((axes.masked[:, 0] < axes.m).sum()))
    parts = []
    for low, high, count in ((0, axes.m, near), (axes.m, m, total - near)):
        inside = axes.masked[(axes.masked[:, 0] >= low) & (axes.masked[:, 0] < high)] - np.array([low, 0])
        if count:
            budget = LabelBudget("count", count)
            i, j = pairs_to_label(
                budget, high - low, n, masked=inside, rng=rng, priced=priced, design=design,
                taken=None if taken is None else _inside(taken, low, high),
            )  # fmt: skip
            parts.append((i + low, j))
    i, j = (np.concatenate(axis).astype(np.int32) for axis in zip(*parts, strict=True))
    order = np.lexsort((i, j))
    return i[order], j[order]


def plain_design(asked: str) -> NamedDesign | None:
    """The design of a first or only round, None where the influence decides."""
    found: dict[str, NamedDesign] = {"block": "block", "stripes": "stripes", "spread": "spread", "cross": "cross"}
    return found.get(asked)


def _inside(taken: Pairs, low: int, high: int) -> Pairs:
    """The pairs of some rows, counted from the first of them."""
    here = (taken[0] >= low) & (taken[0] < high)
    return taken[0][here] - low, taken[1][here]


def _blocks_of_both(labels: LabelBudget, axes: Axes, rng: np.random.Generator) -> Pairs:
    """A block of targets and pool rows with one set of candidates, from which the pool rows are taken: the fewest rows that
    give at least so many pairs, since every row costs and no pair does."""
    m, n = len(axes.rows), axes.n
    total = labels.pairs(m, n)
    count = next((c for c in range(2, n) if c * (min(axes.m, c) + c) >= total), n)
    columns = np.sort(rng.choice(n, count, replace=False))
    targets = np.sort(rng.choice(axes.m, min(axes.m, count), replace=False))
    keys = (columns[:, None] * m + np.concatenate([targets, columns + axes.m])[None, :]).ravel()
    keys = np.setdiff1d(keys, axes.masked[:, 1] * m + axes.masked[:, 0])
    return (keys % m).astype(np.int32), (keys // m).astype(np.int32)
