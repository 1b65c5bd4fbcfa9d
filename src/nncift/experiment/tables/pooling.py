"""One number from several runs, and how sure one can be of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

End = tuple[float, float] | None
"""Lower and upper end of a 95 % interval; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Number:
    """A mean over runs and its 95 % interval.

    Attributes:
        mean: over the runs.
        ends: of the interval; None where nothing tells it.
        runs: how many.
    """

    mean: float
    ends: End
    runs: int


def pooled(values: Sequence[float], ends: Sequence[End]) -> Number | None:
    """The mean of what several runs found, with an interval that is too wide rather than too narrow.

    At either end two distances add in squares: that to the mean of the runs' own ends (their noise may be all the same, as test
    rows and random draws are, so that a mean of runs is no surer than each), and, from two runs on, Student's t of the runs'
    means, which sees what differs from run to run.

    Args:
        values: one per run.
        ends: of each run's own interval.

    Returns:
        None without a run.
    """
    if not values:
        return None
    mean = float(np.mean(values))
    own = [one for one in ends if one is not None]
    sides = [tuple(float(side) for side in np.mean(own, axis=0))] if own else []
    if len(values) > 1:
        half = student_t(len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
        sides.append((mean - half, mean + half))
    if not sides:
        return Number(mean, None, len(values))
    below, above = (float(np.hypot.reduce([side[k] - mean for side in sides])) for k in (0, 1))
    return Number(mean, (mean - below, mean + above), len(values))


def gap(value: float, ends: End, other: float, other_ends: End) -> tuple[float, End]:
    """A difference of two numbers and the interval that it has where their noise is independent: ends add in squares."""
    diff = value - other
    if ends is None or other_ends is None:
        return diff, None
    below = np.hypot(value - ends[0], other_ends[1] - other)
    above = np.hypot(ends[1] - value, other - other_ends[0])
    return diff, (float(diff - below), float(diff + above))


def student_t(freedom: int) -> float:
    """What Student's t exceeds in 2.5 % of cases.

    With t = √freedom · tan θ its density is that of θ: cos θ to the power of freedom - 1, which is summed up and inverted.
    """
    theta = np.linspace(0, np.pi / 2, 200_001)
    middle = (theta[1:] + theta[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(np.cos(middle) ** (freedom - 1))])
    return float(freedom**0.5 * np.tan(np.interp(0.95, mass / mass[-1], theta)))
