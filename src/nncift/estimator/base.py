"""What an estimator is: it learns influences of pairs from a few of them, and gives the kernel of all."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from nncift.data.labels import Labels
from nncift.errors import ConfigError, ModelError
from nncift.estimator.features import Features
from nncift.kernel.base import Kernel


class Fitted(Protocol):
    """An estimator that has learnt."""

    kind: ClassVar[str]
    """What a file of it is told by."""

    @property
    def pointwise(self) -> bool:
        """Whether it scores pool rows alone, so that its kernel has one row."""
        ...

    @property
    def labels(self) -> int:
        """How many labels it was fitted to."""
        ...

    @property
    def weights(self) -> int:
        """How many numbers it has learnt."""
        ...

    @property
    def flops(self) -> int:
        """Estimated floating-point operations that fitting took."""
        ...

    def kernel(self, target: Features | None, pool: Features) -> Kernel:
        """Predicted influences of any pool rows on any target rows, in factors; a pointwise one ignores `target`.

        Raises:
            ConfigError: the rows have other features than those it was fitted to.
        """
        ...

    def summary(self) -> str:
        """In a few words, how it was fitted."""
        ...

    def record(self) -> dict[str, Any]:
        """What is kept beside the tensors, as plain values for JSON."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that it has learnt, by name."""
        ...

    @classmethod
    def restored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> Fitted:
        """The same from what `record` and `tensors` gave."""
        ...


@runtime_checkable
class Unsure(Protocol):
    """A fitted estimator that says how sure it is."""

    def candidate_sd(self, pool: Features) -> Float[ndarray, " n"]:
        """Standard deviations of candidates' mean influences over all targets, against the mean of the pool."""
        ...


Reads = Literal["nothing", "embedding", "all"]
"""What an estimator makes use of: no features, embeddings alone, or a language model's states too where there are any."""


class Estimator(Protocol):
    """Learns influences.

    Adding one: a frozen dataclass with `reads`, `fitted` and `fit` in a file of its own, and a line in the registry. Where its
    kernels are kept in more or fewer than 512 numbers a row, an attribute `factors` says how many at most.
    """

    reads: ClassVar[Reads]
    fitted: ClassVar[type[Fitted]]
    """What `fit` gives."""

    def fit(self, labels: Labels, target: Features | None, pool: Features, *, seed: int) -> Fitted:
        """Learns from exact influences.

        Args:
            labels: at least two.
            target: features of all targets; None where the influence is pointwise.
            pool: features of all candidates.
            seed: of everything that is drawn; equal labels and seed give equal bits.

        Raises:
            ConfigError: labels and features are not of the same rows, or there are fewer than two labels.
            ModelError: a label is NaN or infinite.
        """
        ...


@runtime_checkable
class Layered(Protocol):
    """An estimator with hidden layers that can be chosen (`--hidden`)."""

    def with_hidden(self, hidden: tuple[int, ...]) -> Estimator:
        """The same with other units of its hidden layers; none of them makes it linear."""
        ...


def refuse_other_rows(labels: Labels, target: Features | None, pool: Features) -> None:
    """Raises:
    ConfigError: labels and features are not of the same rows, or there are fewer than two labels.
    ModelError: a label is NaN or infinite.
    """
    rows = (labels.shape[0] if target is None else len(target), len(pool))
    if rows != labels.shape:
        raise ConfigError(
            f"the labels belong to a kernel of {labels.shape[0]} targets and {labels.shape[1]} candidates, the features to "
            f"one of {rows[0]} and {rows[1]}. Embed the rows that were labelled."
        )
    bad = np.flatnonzero(~np.isfinite(labels.y))
    if len(bad):
        raise ModelError(
            f"label {bad[0]} of {len(labels)} is {labels.y[bad[0]]}, no number that can be learnt. Leave such pairs out."
        )
    if len(labels) < 2:
        raise ConfigError(f"{len(labels)} label cannot teach an estimator. Label more pairs (`labels`).")
