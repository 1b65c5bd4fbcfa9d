"""What tells the chosen rows from the others: their influence, their length, the groups that they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from nncift.data.columns import TASK, column_values
from nncift.data.rows import Example
from nncift.report.reading import Missing, Run
from nncift.seeds import generator

_BINS = 32
_READ = 20_000  # rows of a large pool that are read for their lengths and groups
_GROUPS = 12


@dataclass(frozen=True, slots=True)
class Bars:
    """Two histograms over the same bins.

    Attributes:
        edges: float64 [b + 1].
        before: float64 [b], share of the pool (or of the rows that were not chosen) in each bin; sums to 1.
        after: float64 [b], share of the subset.
        middles: medians of both.
        counted: how many rows both are of.
        said: what the numbers are of, in words.
    """

    edges: Float64[ndarray, " e"]
    before: Float64[ndarray, " b"]
    after: Float64[ndarray, " b"]
    middles: tuple[float, float]
    counted: tuple[int, int]
    said: str

    @property
    def ahead(self) -> str:
        """The two medians in words."""
        return f"{self.middles[1]:.4g} against {self.middles[0]:.4g}"


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the groups that a column tells apart, the most frequent of the pool first.

    Attributes:
        column: its name.
        names: of at most 12 groups, behind them all others together.
        before, after: float64, shares of pool and subset.
        groups: how many groups there are.
        named: how many of the names are of one group.
    """

    column: str
    names: tuple[str, ...]
    before: Float64[ndarray, " g"]
    after: Float64[ndarray, " g"]
    groups: int
    named: int


def influence_spread(run: Run) -> Bars | Missing:
    """Mean influences of chosen rows beside those of the others, as far as they are known without filling a large kernel."""
    found = run.means
    if isinstance(found, Missing):
        return found
    means, labels_only = found
    known = np.isfinite(means)
    before, after = means[known & ~run.is_chosen], means[known & run.is_chosen]
    if not len(before) or not len(after):
        return Missing("There is no influence to compare: every row is chosen, or none of one side is known.")
    said = "mean of the exact labels of each row" if labels_only else "mean influence on the target"
    return _bars(before, after, np.histogram_bin_edges(np.concatenate([before, after]), _BINS), said)


def length_spread(run: Run) -> Bars | Missing:
    """Lengths of the rows of pool and subset, in characters; of a large pool a draw is read."""
    rows = _some(run)
    if rows is None:
        return Missing(f"The pool cannot be read: {run.closed}")
    before, after = (np.array([len(row.text) for row in some]) for some in (rows, _drawn(run.chosen, run.config.seed)))
    high = max(2, int(max(before.max(), after.max())))
    read = [
        f"of the {name} {len(some):,} drawn rows"
        for name, some, whole in (("pool", before, run.of), ("subset", after, len(run)))
        if len(some) < whole
    ]
    said = ", ".join(["characters a row", *read])
    return _bars(before, after, np.geomspace(max(1, min(before.min(), after.min())), high + 1, _BINS + 1), said)


def group_shares(run: Run) -> Shares | Missing:
    """Shares of the groups of the quota's column, or of the column `task`, in pool and subset."""
    column = run.config.quota.partition("=")[0].strip() if run.config.quota else TASK
    rows = _some(run)
    if rows is None:
        return Missing(f"The pool cannot be read: {run.closed}")
    before, after = (column_values(some, column) for some in (rows, _drawn(run.chosen, run.config.seed)))
    if all(value is None for value in before):
        return Missing(f"The rows have no column {column!r} that would tell groups apart.")
    pool, subset = Counter(value or "" for value in before), Counter(value or "" for value in after)
    ranked = sorted(pool.keys() | subset.keys(), key=lambda name: (-pool[name], -subset[name], name))
    named, rest = ranked[:_GROUPS], ranked[_GROUPS:]
    shares = []
    for counted in (pool, subset):
        counts = [counted[name] for name in named] + [sum(counted[name] for name in rest)] * bool(rest)
        shares.append(np.array(counts, dtype=np.float64))
    others = [f"{len(rest):,} other groups"] if rest else []
    names = (*(name or "(none)" for name in named), *others)
    return Shares(column, names, shares[0] / shares[0].sum(), shares[1] / shares[1].sum(), len(ranked), len(named))


def _some(run: Run) -> Sequence[Example] | None:
    """The rows of the pool, or a draw of a large one; None where the pool cannot be had."""
    if run.pool is None:
        return None
    return _drawn(run.pool.examples, run.config.seed)


def _drawn(rows: Sequence[Example], seed: int) -> Sequence[Example]:
    """All rows, or a draw where they are many: reading a million takes longer than choosing from them."""
    if len(rows) <= _READ:
        return rows
    return [rows[int(k)] for k in np.sort(generator(seed, "report/lengths").permutation(len(rows))[:_READ])]


def _bars(before: Float[ndarray, " a"], after: Float[ndarray, " b"], edges: Float64[ndarray, " e"], said: str) -> Bars:
    shares = [np.histogram(values, edges)[0] / len(values) for values in (before, after)]
    return Bars(
        edges.astype(np.float64), shares[0], shares[1], (float(np.median(before)), float(np.median(after))),
        (len(before), len(after)), said,
    )  # fmt: skip
