"""What a teacher at work is asked, and what it answers: plain data, which may come from another process."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.scale.tally import Spent


@dataclass(frozen=True, slots=True)
class Begin:
    """Asks what starting took, and which rows cannot be scored."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Asks for what is computed once per target."""

    targets: Int[ndarray, " T"]


@dataclass(frozen=True, slots=True)
class Some:
    """Asks for labels."""

    i: Int[ndarray, " L"]
    j: Int[ndarray, " L"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back.

    Attributes:
        arrays: of the targets, or `y`.
        spent: since the answer before, starting included.
        truncated: ids of rows that lost text so far, and what.
        told: how much the reporter was told while it was computed.
        silent: positions of candidates that cannot be scored, and why; for `Begin`.
        weights: of the language models; for `Begin`.
    """

    arrays: dict[str, ndarray]
    spent: Spent
    truncated: dict[str, str]
    told: int
    silent: dict[int, str] = field(default_factory=dict)
    weights: int = 0


Question = Begin | Heads | Some


def barred_in(y: ndarray, j: Int[ndarray, " L"]) -> dict[int, str]:
    """Candidates that the influence gave minus infinity."""
    return {int(row): "the influence cannot score it" for row in np.unique(j[np.isneginf(y)])}
