"""What a run works on: the rows in the order in which everything is computed, and the two axes of its kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.columns import TASK, column_values
from nncift.data.rows import Example, Pool, ids_of, keys_of, same_text_pairs
from nncift.data.views import join, take
from nncift.seeds import generator

_BLOCK = 4096  # rows whose text goes into a hash at once


@dataclass(frozen=True)
class Axes:
    """Rows and columns of all kernels of a run; one teacher and one estimator answer for the whole rectangle.

    Attributes:
        rows: who is helped: [m] targets, then the [n] pool rows where an objective covers the pool itself.
        columns: who helps: [n] pool rows, then the [e] existing rows where an objective subtracts them.
        m: number of targets among the rows.
        n: number of pool rows among the columns.
        beside: target rows that a pointwise influence reads; they are no rows of its kernel.
        own_target: whether the pool is its own target.
        sampled_from: how many target rows there were before sampling (m where none was left out).
        sample: positions, in the target sorted by id, of those that are left; None where none was left out.
    """

    rows: Sequence[Example]
    columns: Sequence[Example]
    m: int
    n: int
    beside: Sequence[Example]
    own_target: bool
    sampled_from: int
    sample: Int[ndarray, " m"] | None = None

    @cached_property
    def masked(self) -> Int[ndarray, "p 2"]:
        """Pairs (row, column) of the same text: a row must not explain itself. They get no label."""
        return same_text_pairs(self.rows, self.columns)

    @cached_property
    def tasks(self) -> Int[ndarray, " m"] | None:
        """The task of each target row as a code, None where no row has a column `task`; rows without one share a code."""
        if not self.rows:
            return None
        found = column_values(self.rows[: self.m], TASK)
        if not any(task is not None for task in found):
            return None
        codes = {task: code for code, task in enumerate(sorted({task or "" for task in found}))}
        return np.array([codes[task or ""] for task in found])

    @property
    def helped(self) -> Sequence[Example]:
        """The rows that the influence reads as targets."""
        return self.rows or self.beside

    @property
    def own(self) -> int:
        """How many of the helped rows, the first, are of the user's own and no pool rows."""
        return 0 if self.own_target else self.m if self.rows else len(self.beside)

    @property
    def shape(self) -> tuple[int, int]:
        """(number of rows, number of columns)."""
        return len(self.rows), len(self.columns)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids and contents of both axes in their order, and of what stands beside them."""
        digest = sha256()
        for axis in (self.rows, self.columns, self.beside):
            digest.update(f"{len(axis)}\n".encode())
            named = zip(ids_of(axis), keys_of(axis), strict=True)
            while lines := "".join(f"{len(row)} {row} {key}\n" for row, key in islice(named, _BLOCK)):
                digest.update(lines.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def make_axes(
    pool: Pool,
    target: Pool | None,
    existing: Pool | None,
    *,
    pairwise: bool,
    uses_target: bool,
    cover_pool: bool,
    max_targets: int,
    seed: int,
) -> Axes:
    """Lays out the kernels of a run.

    Args:
        pool, target, existing: in the order of their ids (`Pool.by_id`). Without a target the pool is its own.
        pairwise: False for an influence that gives each candidate one score; its kernel has one row, which is no example.
        uses_target: whether such an influence reads the target rows all the same.
        cover_pool: whether the objective covers the pool rows too (FL1MI).
        max_targets: a larger target is sampled down to this many rows, uniformly by the seed.
        seed: of the run.
    """
    columns = join(pool.examples, existing.examples if existing else ())
    if not pairwise and not uses_target:
        return Axes((), columns, 1, len(pool), (), False, 1)
    wanted = pool.examples if target is None else target.examples
    rows, sample = wanted, None
    if len(wanted) > max_targets:
        sample = np.sort(generator(seed, "targets").choice(len(wanted), max_targets, replace=False))
        rows = take(wanted, sample)
    if not pairwise:
        return Axes((), columns, 1, len(pool), rows, target is None, 1, sample)
    covered = join(rows, pool.examples) if cover_pool else rows
    return Axes(covered, columns, len(rows), len(pool), (), target is None, len(wanted), sample)


def kernel_shape(axes: Axes) -> tuple[int, int]:
    """(rows, columns), one row where the influence is pointwise."""
    return max(1, len(axes.rows)), len(axes.columns)


def describe_rejected(pools: Sequence[tuple[str, Pool]]) -> str | None:
    """One sentence on the rows that cannot be used and the most frequent reason, or None where all can be used."""
    parts = [
        f"{len(pool.rejected):,} of {len(pool) + len(pool.rejected):,} {role} rows"
        for role, pool in pools
        if pool.rejected
    ]
    reasons = sum((pool.reasons for _, pool in pools), Counter[str]()).most_common(1)
    return f"{' and '.join(parts)} are left out, most often: {reasons[0][0]} (see rejected.jsonl)" if parts else None
