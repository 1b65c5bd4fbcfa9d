"""What a user lets a subset hold: rows or tokens, so many of each group, and rows that are in it already."""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from nncift.config import SelectConfig, parse_budget
from nncift.data.columns import column_values
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.errors import ConfigError
from nncift.objective.limits import Limits

_TOKENS = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kKmMgG]?)\s*(?:tok|tokens?)\s*")
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}
_QUOTA = re.compile(r"\s*([^=]+?)\s*=\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a subset of a pool may hold. Positions are in the pool sorted by id.

    Attributes:
        rows: how many rows at most.
        tokens: how many tokens at most, None where rows are counted.
        kept: int64 [k], rows that are in the subset already, in their order.
        group: int64 [n], the group of each row, None where groups do not count.
        quota: the share of the rows, or the number of rows, that one group may have.
    """

    rows: int
    tokens: int | None = None
    kept: Int64[ndarray, " k"] | None = None
    group: Int64[ndarray, " n"] | None = None
    quota: float | int | None = None

    @property
    def plain(self) -> bool:
        """Whether only a number of rows is allowed, and nothing else."""
        return self.tokens is None and self.kept is None and self.group is None

    def limits(self, rows: int, closed: Int64[ndarray, " b"], lengths: Int64[ndarray, " n"] | None) -> Limits:
        """The limits of a choice of so many rows.

        Args:
            rows: how many at most; where tokens are counted and no other number is asked for, they are what counts.
            closed: rows that cannot be scored.
            lengths: tokens of every row, where they are counted.
        """
        quota = None
        if self.group is not None and self.quota is not None:
            most = self.quota if isinstance(self.quota, int) else max(1, int(self.quota * rows))
            quota = np.full(int(self.group.max()) + 1, most, dtype=np.int64)
        kept = None if self.kept is None else self.kept[~np.isin(self.kept, closed)]
        if self.tokens is None or rows != self.rows:
            return Limits(rows, group=self.group, quota=quota, kept=kept, closed=closed)
        assert lengths is not None
        return Limits(
            self.tokens, cost=lengths.astype(np.float64), group=self.group, quota=quota, kept=kept, closed=closed
        )

    def record(self) -> dict[str, Any]:
        """What a subset depends on, as plain values."""
        return {
            "budget": self.rows,
            "tokens": self.tokens,
            "kept": None if self.kept is None else self.kept.tolist(),
            "group": None if self.group is None else self.group.tolist(),
            "quota": self.quota,
        }


def read_allowance(config: SelectConfig, pool: Pool) -> Allowance:
    """What the options allow of a pool, sorted by id.

    Raises:
        ConfigError: a budget or quota cannot be read, no row has the column of the quota, or a row to keep is not in the
            pool.
        DataError: the file of rows to keep cannot be used.
    """
    tokens = _tokens(config)
    rows = parse_budget(config.budget, len(pool)) if tokens is None else len(pool)
    kept = None if config.keep is None else _kept(config.keep, pool)
    if kept is not None and len(kept) > rows:
        raise ConfigError(f"--keep names {len(kept):,} rows, more than the {rows:,} rows to choose. Raise --budget.")
    if config.quota is None:
        return Allowance(rows, tokens, kept)
    group, quota = _quota(config.quota, pool, tokens)
    return Allowance(rows, tokens, kept, group, quota)


def _tokens(config: SelectConfig) -> int | None:
    """The budget in tokens, None where it is one of rows."""
    found = _TOKENS.fullmatch(config.budget)
    if found is None:
        return None
    tokens = int(float(found[1]) * _UNITS[found[2].lower()])
    if not tokens:
        raise ConfigError(f"--budget {config.budget!r} is no token at all. Choose a larger budget.")
    if not config.model:
        raise ConfigError(
            f"--budget {config.budget} counts tokens as a language model reads them: add --model, of which only the tokenizer "
            "is needed for that, or give a number of rows."
        )
    return tokens


def _kept(source: str, pool: Pool) -> Int64[ndarray, " k"]:
    """Where the rows of a file are in the pool; of rows with the same text the lowest ids first."""
    places: dict[str, deque[int]] = {}
    for k, key in enumerate(pool.keys):
        places.setdefault(key, deque()).append(k)
    found: list[int] = []
    for row in load_pool(source, role="keep"):
        left = places.get(row.content_key)
        if not left:
            raise ConfigError(
                f"--keep {source}, line {row.line}: this row is not in the pool. Keep rows of the pool only; what the model "
                "knows from elsewhere goes to --existing."
            )
        found.append(left.popleft())
    return np.array(found, dtype=np.int64)


def _quota(text: str, pool: Pool, tokens: int | None) -> tuple[Int64[ndarray, " n"], float | int]:
    """The group of each row, and how much one group may have."""
    found = _QUOTA.fullmatch(text)
    if found is None or (not found[3] and "." in found[2]) or not 0 < float(found[2]) <= (100 if found[3] else np.inf):
        raise ConfigError(f"--quota {text!r} is not of the form column=5% (of the rows chosen) or column=200 (rows).")
    if found[3] and tokens is not None:
        raise ConfigError(
            f"--quota {text} is a share of rows, and --budget counts tokens. Give a number of rows, such as {found[1]}=200."
        )
    values = column_values(pool.examples, found[1])
    if not any(value is not None for value in values):
        raise ConfigError(f"--quota {text}: no row of the pool has a column {found[1]!r}. Name a column of its rows.")
    names = {name: code for code, (name, _) in enumerate(sorted(Counter(value or "" for value in values).items()))}
    return np.array([names[value or ""] for value in values]), float(found[2]) / 100 if found[3] else int(found[2])
