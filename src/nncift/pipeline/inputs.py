"""What a run works on: the rows in the order in which everything is computed, and the two axes of its kernels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.data.rows import Example, Pool, same_text_pairs
from nncift.errors import ConfigError
from nncift.seeds import generator


@dataclass(frozen=True)
class Axes:
    """Rows and columns of all kernels of a run; one teacher and one estimator answer for the whole rectangle.

    Attributes:
        rows: who is helped: [m] targets, then the [n] pool rows where an objective covers the pool itself.
        columns: who helps: [n] pool rows, then the [e] existing rows where an objective subtracts them.
        m: number of targets among the rows.
        n: number of pool rows among the columns.
        own_target: whether the pool is its own target.
        sampled_from: how many target rows there were before sampling (m where none was left out).
    """

    rows: tuple[Example, ...]
    columns: tuple[Example, ...]
    m: int
    n: int
    own_target: bool
    sampled_from: int

    @cached_property
    def masked(self) -> Int[ndarray, "p 2"]:
        """Pairs (row, column) of the same text: a row must not explain itself. They get no label."""
        return same_text_pairs(self.rows, self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(number of rows, number of columns)."""
        return len(self.rows), len(self.columns)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids and contents of both axes in their order."""
        digest = sha256()
        for axis in (self.rows, self.columns):
            digest.update(f"{len(axis)}\n".encode())
            for example in axis:
                digest.update(
                    f"{len(example.id)} {example.id} {example.content_key}\n".encode("utf-8", "surrogatepass")
                )
        return digest.hexdigest()


def make_axes(
    pool: Pool,
    target: Pool | None,
    existing: Pool | None,
    *,
    pairwise: bool,
    cover_pool: bool,
    max_targets: int,
    seed: int,
) -> Axes:
    """Lays out the kernels of a run.

    Args:
        pool, target, existing: in the order of their ids (`Pool.by_id`). Without a target the pool is its own.
        pairwise: False for an influence that does not look at targets; its kernel has one row, which is no example.
        cover_pool: whether the objective covers the pool rows too (FL1MI).
        max_targets: a larger target is sampled down to this many rows, uniformly by the seed.
        seed: of the run.
    """
    columns = (*pool.examples, *(existing.examples if existing else ()))
    if not pairwise:
        return Axes((), columns, 1, len(pool), False, 1)
    wanted = pool.examples if target is None else target.examples
    if len(wanted) > max_targets:
        chosen = np.sort(generator(seed, "targets").choice(len(wanted), max_targets, replace=False))
        rows = tuple(wanted[int(k)] for k in chosen)
    else:
        rows = tuple(wanted)
    return Axes(
        rows + (pool.examples if cover_pool else ()), columns, len(rows), len(pool), target is None, len(wanted)
    )


def parse_budget(text: str, n: int) -> int:
    """How many rows a budget means.

    Args:
        text: a number of rows, or a percentage of the `n` usable rows, rounded to nearest (halves up).

    Raises:
        ConfigError: it has another form, or is 0 or more than the pool.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*", text)
    if match is None or (not match[2] and "." in match[1]):
        raise ConfigError(
            f"--budget {text!r} is neither a number of rows (175) nor a percentage (5%).{_share_hint(text)}"
        )
    rows = int(float(match[1]) * n / 100 + 0.5) if match[2] else int(match[1])
    if rows == 0:
        raise ConfigError(f"--budget {text!r} is no row at all of {n} usable rows. Choose a larger budget.")
    if rows > n or (match[2] and float(match[1]) > 100):
        raise ConfigError(f"--budget {text!r} is {rows:,} rows, but only {n:,} rows of the pool are usable. Lower it.")
    return rows


def _share_hint(text: str) -> str:
    """What a bare fraction most likely meant."""
    if re.fullmatch(r"\s*0?\.\d+\s*", text) and float(text) > 0:
        return f" Did you mean {float(text) * 100:.12g}%?"
    return ""


def describe_rejected(pools: Sequence[tuple[str, Pool]]) -> str | None:
    """One sentence on the rows that cannot be used and the most frequent reason, or None where all can be used."""
    parts = [
        f"{len(pool.rejected):,} of {len(pool) + len(pool.rejected):,} {role} rows"
        for role, pool in pools
        if pool.rejected
    ]
    reasons = Counter(row.reason for _, pool in pools for row in pool.rejected).most_common(1)
    return f"{' and '.join(parts)} are left out, most often: {reasons[0][0]} (see rejected.jsonl)" if parts else None
