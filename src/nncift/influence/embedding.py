"""Nearest neighbours in embedding space, each target row in its turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nncift.influence.base import Context, Traits
from nncift.influence.similarity import SimilaritySession, compare_embeddings


@dataclass(frozen=True, slots=True)
class Embedding:
    """Cosine of the embeddings of two rows, for picks by nearest neighbour.

    Use it as the baseline of retrieval: it has the values of `similarity`, and chooses by `round-robin`, so that every
    target row gets its nearest rows. `--objective top-max` is the other common form: the rows that are nearest to any
    target row.

    *Cost*: no language-model call; m · n · d multiply-adds.
    *Reference*: Ivison et al., Large-Scale Data Selection for Instruction Tuning, 2025, embedding baselines.
    """

    traits: ClassVar[Traits] = Traits(
        name="embedding",
        pairwise=True,
        objective="round-robin",
        needs_embeddings=True,
        uses_target=True,
        free=True,
        priced="row",
    )

    def start(self, context: Context) -> SimilaritySession:
        """Needs the embeddings of both sides."""
        return compare_embeddings(context, self.traits.name)
