"""What objectives ask of kernels before they begin: that they are there and finite, one floor for all, and weights."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from nncift.errors import ConfigError, ModelError
from nncift.kernel.lines import Lines
from nncift.objective.survey import Survey


def needed(lines: Lines | None, objective: str, which: str) -> Lines:
    """A kernel that an objective cannot do without.

    Raises:
        ConfigError: it is not there.
    """
    if lines is None:
        raise ConfigError(f"the objective {objective!r} needs the {which} kernel: fill `Kernels.{which}`.")
    return lines


def weight(value: float, name: str) -> float:
    """A weight as it is.

    Raises:
        ConfigError: it is below 0 or not finite.
    """
    if not 0.0 <= value < np.inf:
        raise ConfigError(f"{name} is {value}; it must be a finite number of at least 0.")
    return value


def above(low: float, best: Float32[ndarray, "r"], share: float) -> Float64[ndarray, "r"]:
    """low + share · (best − low), written so that shares 0 and 1 give `low` and `best` without rounding."""
    return share * best.astype(np.float64) + (1.0 - share) * low


def common_floor(surveys: tuple[Survey, ...], floor: float | None) -> float:
    """The floor of several kernels, as float32 holds it: the given one, else the smallest unmasked entry of all."""
    if floor is None:
        floor = min((found.floor for found in surveys if len(found.best)), default=0.0)
    return float(np.float32(floor))


def refuse_not_finite(found: Survey, what: str) -> None:
    """Refuses a kernel in which one number would spoil every gain.

    Raises:
        ModelError: an entry that is not masked is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(found.sums))
    if len(bad):
        raise ModelError(
            f"{len(bad)} of {len(found.sums)} candidates have values that are not finite in {what}, at positions "
            f"{bad[:5].tolist()}."
        )
