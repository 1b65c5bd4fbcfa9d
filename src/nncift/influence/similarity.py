"""DELIFT (SE): sentence-embedding similarity in place of a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.errors import ConfigError
from nncift.influence.base import Context, Progress, Traits


@dataclass(frozen=True, slots=True)
class Similarity:
    """Cosine of the embeddings of two rows, in [-1, 1].

    Use it as the cheap baseline that any language-model influence has to beat. Exact values need nothing but the
    embeddings that an estimator would need too, so estimating it cannot save anything. With a and b the embeddings,

        cosine, dot   y = a · b               in [-1, 1]: embeddings have length one here, so the two are equal
        rbf           y = exp(-‖a - b‖² / (width · mean ‖a - b‖²))   in (0, 1], the mean over all pairs of the run

    Args:
        measure: `cosine`, `dot` or `rbf`.
        width: above 0, of the `rbf`; the smaller, the less a far row counts.

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

    measure: Literal["cosine", "dot", "rbf"] = "cosine"
    width: float = 0.1

    def __post_init__(self) -> None:
        if self.width <= 0:
            raise ConfigError(f"--option width is {self.width}; it must be above 0.")

    @property
    def inner_product(self) -> bool:
        """Whether its kernel can be kept in factors."""
        return self.measure != "rbf"

    def start(self, context: Context) -> SimilaritySession:
        """Needs the embeddings of both sides."""
        session = compare_embeddings(context, self.traits.name)
        if self.measure != "rbf":
            return session
        spread = mean_square_distance(session.targets, session.pool)
        return SimilaritySession(session.targets, session.pool, self.width * spread)


@dataclass(frozen=True, slots=True)
class SimilaritySession:
    """Unit-norm embeddings of both sides.

    Attributes:
        targets, pool: the embeddings.
        bandwidth: what the squared distance is divided by in exp(-‖a - b‖² / bandwidth); None for the cosine.
    """

    targets: Float[ndarray, "m d"]
    pool: Float[ndarray, "n d"]
    bandwidth: float | None = None

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Similarities, pair by pair."""
        values = dot_products(self.targets, self.pool, i, j)
        if self.bandwidth is not None:
            values = self._rbf(values, _squares(self.targets)[i], _squares(self.pool)[j])
        on_progress(len(i))
        return values.astype(np.float32)

    def block(self, columns: slice) -> Float[ndarray, "n m"]:
        """Similarities of some pool rows with every target, as one product."""
        pool = self.pool[columns]
        if self.bandwidth is None:
            return np.ascontiguousarray(pool @ self.targets.T, dtype=np.float32)
        products = pool.astype(np.float64) @ self.targets.T.astype(np.float64)  # the distance of near rows cancels
        return self._rbf(products, _squares(self.targets)[None, :], _squares(pool)[:, None]).astype(np.float32)

    @property
    def factors(self) -> tuple[Float[ndarray, "m d"], Float[ndarray, "n d"]] | None:
        """The embeddings, of which the cosine is an inner product; None for the `rbf`."""
        return (self.targets, self.pool) if self.bandwidth is None else None

    def truncated(self) -> dict[str, str]:
        """Nothing: the embedder reports what it cut."""
        return {}

    def _rbf(self, products: ndarray, targets: ndarray, pool: ndarray) -> ndarray:
        distances = np.maximum(targets + pool - 2 * products, 0.0)
        return np.exp(-distances / self.bandwidth) if self.bandwidth else np.ones_like(distances)


def compare_embeddings(context: Context, name: str) -> SimilaritySession:
    """The cosine of the run's embeddings.

    Raises:
        ConfigError: there are none.
    """
    if context.target_embeddings is None or context.pool_embeddings is None:
        raise ConfigError(f"the influence `{name}` needs embeddings: add `--embedder`.")
    return SimilaritySession(context.target_embeddings, context.pool_embeddings)


def dot_products(
    a: Float[ndarray, "m d"], b: Float[ndarray, "n d"], i: Int[ndarray, " L"], j: Int[ndarray, " L"]
) -> Float[ndarray, " L"]:
    """a[i] · b[j] for every pair, float64, in blocks that stay in the cache."""
    values = np.empty(len(i))
    for start in range(0, len(i), 4096):
        part = slice(start, start + 4096)
        values[part] = np.einsum("ld,ld->l", a[i[part]], b[j[part]], dtype=np.float64)
    return values


def mean_square_distance(a: Float[ndarray, "m d"], b: Float[ndarray, "n d"]) -> float:
    """The mean of ‖a_i - b_j‖² over all m · n pairs, in (m + n) · d steps."""
    centres = a.mean(axis=0, dtype=np.float64) @ b.mean(axis=0, dtype=np.float64)
    return max(0.0, float(_squares(a).mean() + _squares(b).mean() - 2 * centres))


def _squares(vectors: Float[ndarray, "n d"]) -> Float[ndarray, " n"]:
    return np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
