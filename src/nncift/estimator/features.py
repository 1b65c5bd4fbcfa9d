"""What an estimator may read of a row: some blocks of numbers, none of them made for a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.errors import ConfigError, ModelError


@dataclass(frozen=True, slots=True)
class Features:
    """Blocks of features of some rows.

    Attributes:
        blocks: by name, float32 [rows, d_b] (`embedding`, `mean_state`, `last_state`, `scalars`); one block at least. All
            rows of a run, on either side, have the same blocks of the same widths.
        keys: [rows], what tells a row's content apart: rows with equal keys are the same row to an estimator.
    """

    blocks: Mapping[str, Float[ndarray, "rows d"]]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, block in self.blocks.items():
            if len(block) != len(self.keys):
                raise ConfigError(f"the feature `{name}` has {len(block)} rows; {len(self.keys)} are needed.")
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                raise ModelError(
                    f"the feature `{name}` of row {self.keys[int(finite.argmin())]!r} is no number. Use other --features."
                )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def same(self) -> Int[ndarray, " rows"]:
        """For each row the position of the first row of its key."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(key, k) for k, key in enumerate(self.keys)], dtype=np.int64)

    @property
    def widths(self) -> dict[str, int]:
        """Width of each block, by name."""
        return {name: block.shape[1] for name, block in self.blocks.items()}

    def take(self, which: ndarray | Sequence[int]) -> Features:
        """The rows at the given positions."""
        at = np.asarray(which, dtype=np.int64)
        return Features({name: block[at] for name, block in self.blocks.items()}, tuple(self.keys[k] for k in at))


def embedding_features(vectors: Float[ndarray, "rows d"], keys: Sequence[str] | None = None) -> Features:
    """Features that are nothing but embeddings; without keys every row is a row of its own."""
    return Features({"embedding": vectors}, tuple(keys) if keys is not None else tuple(map(str, range(len(vectors)))))
