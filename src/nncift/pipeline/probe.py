"""The few pairs of new data on which a reused estimator is checked."""

from __future__ import annotations

import numpy as np

from nncift.estimator.budget import LabelBudget, NamedDesign, Price, parse_labels
from nncift.estimator.design import pairs_to_label
from nncift.pipeline.inputs import Axes
from nncift.pipeline.journal import Pairs
from nncift.seeds import generator

NO_PROBE = ("none", "0")
"""What is said of labels where nothing is to be checked."""

_SHARE = 0.01
_FEWEST = 64
_MOST = 300
_PER_TARGET = 25  # labels of a target, so that there is an order to agree with
_TARGETS = 8


def draw_probe(
    text: str, axes: Axes, seed: int, *, priced: Price = "pair", design: NamedDesign | None = None
) -> tuple[LabelBudget | None, Pairs | None]:
    """The pairs that check a reused estimator, sorted by (j, i): as many as are said, for `auto` 1 % of all, at least 64 and at
    most 300; None for none.

    They lie on as many random targets as give each about 25 labels, and eight at least, because what is checked is whether
    the candidates of a target are in the right order. The design is that of any labels: stripes, or a block where rows are
    what costs. Pool rows that are covered beside the target, and existing rows, are not asked about.

    Raises:
        ConfigError: the labels cannot be read, are more than there are pairs, or all pairs have the same text on both sides.
    """
    if text.strip().lower() in NO_PROBE:
        return None, None
    m, n = (axes.m if axes.rows else 1), axes.n
    masked = axes.masked[(axes.masked[:, 0] < m) & (axes.masked[:, 1] < n)]
    budget = parse_labels(text)
    if budget.kind == "auto":
        most = max(1, m * n - len(masked))
        budget = LabelBudget("count", min(most, max(_FEWEST, min(_MOST, round(_SHARE * m * n)))))
    count = budget.pairs(m, n)
    rng = generator(seed, "labels/probe")
    helped = np.arange(m)
    if budget.kind not in ("all", "block") and priced != "row":
        enough = max(_TARGETS, -(-count // _PER_TARGET), -(-(count + len(masked)) // n))
        helped = np.sort(rng.permutation(m)[:enough])
        budget = LabelBudget("count", count)
    place = np.full(m, -1)
    place[helped] = np.arange(len(helped))
    masked = np.stack([place[masked[:, 0]], masked[:, 1]], axis=1)
    i, j = pairs_to_label(
        budget, len(helped), n, masked=masked[masked[:, 0] >= 0], rng=rng, priced=priced, design=design
    )
    return budget, (helped[i].astype(np.int32), j)
