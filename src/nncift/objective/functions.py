"""What the greedy optimisers know of a set function: what candidates would add now, and that one has been chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float64, Int
from numpy import ndarray

from nncift.objective.ranking import Ranking


class Chosen(Protocol):
    """A choice that grows. Gains of a block of candidates, and one of them is added: the whole seam."""

    @property
    def size(self) -> int:
        """How many candidates there are."""
        ...

    @property
    def batch(self) -> int:
        """How many gains are best asked for at once; all where they are only looked up, so that bounds save nothing."""
        ...

    def gains(self, which: Int[ndarray, " b"]) -> Float64[ndarray, " b"]:
        """What each of some candidates would add now; bits depend on the candidate and the choice alone.

        Where the function is submodular no gain ever grows, rounding included.
        """
        ...

    def add(self, candidate: int) -> None:
        """Chooses a candidate."""
        ...


class SetFunction(Protocol):
    """What is maximised.

    Attributes:
        submodular: whether gains never grow, so that an old one is a bound of the new one.
        exhaustible: whether a gain of zero means that the function has nothing more to say of a candidate.
    """

    submodular: ClassVar[bool]
    exhaustible: ClassVar[bool]

    @property
    def size(self) -> int:
        """How many candidates there are."""
        ...

    def begin(self, threads: int = 0) -> Chosen:
        """Nothing is chosen yet; at most so many threads work at once, 0 for all cores."""
        ...

    def value(self, chosen: Int[ndarray, " k"]) -> float:
        """f of a set of candidates, from the definition."""
        ...


@runtime_checkable
class Explained(Protocol):
    """A set function that can say why its picks were made."""

    def sentences(self, ranking: Ranking, rows: Sequence[str]) -> list[str]:
        """One sentence for each pick behind the kept ones that was made for its gain.

        Args:
            ranking: of this function.
            rows: ids of what the kernel's rows are.
        """
        ...
