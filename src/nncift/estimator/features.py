"""What an estimator may read of a row: some blocks of numbers, none of them made for a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.data.keys import ContentKeys
from nncift.embed.base import first_bad_row
from nncift.errors import ConfigError, ModelError


@dataclass(frozen=True, slots=True)
class Features:
    """Blocks of features of some rows.

    Attributes:
        blocks: by name, float32 [rows, d_b] (`embedding`, `mean_state`, `last_state`, `scalars`); one block at least. All
            rows of a run, on either side, have the same blocks of the same widths.
        keys: [rows], what tells a row's content apart: rows with equal keys are the same row to an estimator.
        checked: whether the blocks are known to fit the keys and to be finite.
    """

    blocks: Mapping[str, Float[ndarray, "rows d"]]
    keys: Sequence[str]
    checked: InitVar[bool] = False

    def __post_init__(self, checked: bool) -> None:
        if checked:
            return
        for name, block in self.blocks.items():
            if len(block) != len(self.keys):
                raise ConfigError(f"the feature `{name}` has {len(block)} rows; {len(self.keys)} are needed.")
            if (bad := first_bad_row(block)) is not None:
                raise ModelError(f"the feature `{name}` of row {self.keys[bad]!r} is no number. Use other --features.")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def same(self) -> Int[ndarray, " rows"]:
        """For each row the position of the first row of its key."""
        if isinstance(self.keys, ContentKeys):
            return self.keys.first
        first: dict[str, int] = {}
        return np.array([first.setdefault(key, k) for k, key in enumerate(self.keys)], dtype=np.int64)

    @property
    def widths(self) -> dict[str, int]:
        """Width of each block, by name."""
        return {name: block.shape[1] for name, block in self.blocks.items()}

    def take(self, which: ndarray | Sequence[int]) -> Features:
        """The rows at the given positions; rows that follow one another are no copy."""
        at = np.asarray(which, dtype=np.int64)
        if len(at) and at[0] >= 0 and np.array_equal(at, np.arange(at[0], at[0] + len(at))):
            span = slice(int(at[0]), int(at[-1]) + 1)
            return Features({name: block[span] for name, block in self.blocks.items()}, self.keys[span], checked=True)
        keys = self.keys.take(at) if isinstance(self.keys, ContentKeys) else [self.keys[int(k)] for k in at]
        return Features({name: block[at] for name, block in self.blocks.items()}, keys, checked=True)


def embedding_features(vectors: Float[ndarray, "rows d"], keys: Sequence[str] | None = None) -> Features:
    """Features that are nothing but embeddings; without keys every row is a row of its own."""
    return Features({"embedding": vectors}, tuple(keys) if keys is not None else tuple(map(str, range(len(vectors)))))
