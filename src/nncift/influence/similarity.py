"""DELIFT (SE): sentence-embedding similarity in place of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.influence.base import Context, Progress, Traits


@dataclass(frozen=True, slots=True)
class Similarity:
    """Cosine of the embeddings of two rows, in [-1, 1].

    Use it as the cheap baseline that any language-model influence has to beat. Exact values need nothing but the
    embeddings that an estimator would need too, so estimating it cannot save anything.

    *Cost*: no language-model call; m · n · d multiply-adds.
    *Reference*: Agarwal et al., DELIFT, 2024, the "SE" variant.
    """

    traits: ClassVar[Traits] = Traits(
        name="similarity",
        pairwise=True,
        objective="facility-location",
        needs_embeddings=True,
        uses_target=True,
        free=True,
        priced="row",
    )

    def start(self, context: Context) -> SimilaritySession:
        """Needs the embeddings of both sides."""
        if context.target_embeddings is None or context.pool_embeddings is None:
            raise ConfigError("the influence `similarity` needs embeddings: add `--embedder`.")
        return SimilaritySession(context.target_embeddings, context.pool_embeddings)


@dataclass(frozen=True, slots=True)
class SimilaritySession:
    """Unit-norm embeddings of both sides."""

    targets: Float[ndarray, "m d"]
    pool: Float[ndarray, "n d"]

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Cosines, pair by pair in blocks that stay in the cache."""
        values = np.empty(len(i), dtype=np.float32)
        for start in range(0, len(i), 4096):
            part = slice(start, start + 4096)
            values[part] = np.einsum("ld,ld->l", self.targets[i[part]], self.pool[j[part]], dtype=np.float64)
        on_progress(len(i))
        return values

    def block(self, columns: slice) -> Float[ndarray, "n m"]:
        """Cosines of some pool rows with every target, as one product."""
        return np.ascontiguousarray(self.pool[columns] @ self.targets.T, dtype=np.float32)

    def truncated(self) -> dict[str, str]:
        """Nothing: the embedder reports what it cut."""
        return {}
