"""What a choice may hold: so many rows or so much cost, so many of each group, what is in it already, and what never."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from nncift.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a choice.

    Attributes:
        budget: how many candidates, or how much cost where candidates have one; more than there is means all.
        cost: float64 [n], above 0; None where each costs one.
        group: int64 [n], the group of each candidate; None where there are none.
        quota: int64 [g], how many candidates of each group at most.
        kept: int64 [k], candidates that are chosen before anything else, in this order; they count.
        closed: int64 [b], candidates that are never chosen.

    Raises:
        ConfigError: a length or a number does not fit.
    """

    budget: float
    cost: Float64[ndarray, " n"] | None = None
    group: Int64[ndarray, " n"] | None = None
    quota: Int64[ndarray, " g"] | None = None
    kept: Int64[ndarray, " k"] | None = None
    closed: Int64[ndarray, " b"] | None = None

    def __post_init__(self) -> None:
        if not self.budget >= 0:
            raise ConfigError(f"the budget is {self.budget}; it must be 0 or more.")
        if self.cost is not None and not (np.isfinite(self.cost).all() and (self.cost > 0).all()):
            raise ConfigError("a cost is not a finite number above 0.")
        if (self.group is None) != (self.quota is None):
            raise ConfigError("groups and quotas come together.")

    @property
    def plain(self) -> bool:
        """Whether the budget is a number of candidates and nothing else limits the choice."""
        return self.cost is None and self.group is None

    def only(self, which: Int64[ndarray, " k"]) -> Limits:
        """The same limits of some candidates, in ascending order; all that are kept must be among them."""

        def places(of: Int64[ndarray, " b"] | None) -> Int64[ndarray, " b"] | None:
            return None if of is None else np.searchsorted(which, of[np.isin(of, which)])

        return replace(
            self,
            cost=None if self.cost is None else self.cost[which],
            group=None if self.group is None else self.group[which],
            kept=places(self.kept),
            closed=places(self.closed),
        )


class Room:
    """What a growing choice may still hold. A candidate that does not fit now never will."""

    def __init__(self, limits: Limits, size: int) -> None:
        """Nothing is chosen yet; `size` is the number of candidates."""
        self.cost = np.ones(size) if limits.cost is None else limits.cost
        self.group = np.zeros(size, dtype=np.int64) if limits.group is None else limits.group
        self.quota = np.array([size], dtype=np.int64) if limits.quota is None else limits.quota.copy()
        if len(self.cost) != size or len(self.group) != size:
            raise ConfigError(f"costs and groups are needed for each of {size} candidates.")
        self.left = np.array([min(float(limits.budget), float(self.cost.sum()))])
        self.open = np.ones(size, dtype=np.bool_)
        if limits.closed is not None:
            self.open[limits.closed] = False

    def fits(self, candidate: int) -> bool:
        """Whether there is room for it."""
        return bool(
            self.open[candidate] and self.cost[candidate] <= self.left[0] and self.quota[self.group[candidate]] > 0
        )

    def fitting(self) -> Int64[ndarray, " f"]:
        """All candidates that there is room for, by position."""
        return np.flatnonzero(self.open & (self.cost <= self.left[0]) & (self.quota[self.group] > 0))

    def take(self, candidate: int) -> bool:
        """Chooses a candidate; always true."""
        self.open[candidate] = False
        self.left[0] -= self.cost[candidate]
        self.quota[self.group[candidate]] -= 1
        return True
