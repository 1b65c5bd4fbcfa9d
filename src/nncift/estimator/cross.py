"""The design `cross`: some landmark targets with all candidates, and some landmark candidates with all targets."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.estimator.openings import Openings, by_count, fewest_that_hold


@dataclass(frozen=True, slots=True)
class Arms:
    """How large a cross is.

    Attributes:
        targets: landmark targets that meet all candidates.
        candidates: landmark candidates that meet all targets.
        target_part: labels of one more target, with candidates that are no landmarks.
        candidate_part: labels of one more candidate, with targets that are neither landmarks nor that one more target.
    """

    targets: int
    candidates: int
    target_part: int
    candidate_part: int

    def difference(self, m: int, n: int) -> int:
        """How many pairs more one arm holds than the other; what lies in both counts for both."""
        rows = self.targets * n + (self.target_part + self.candidates if self.target_part else 0)
        columns = self.candidates * m + (self.candidate_part + self.targets if self.candidate_part else 0)
        return abs(rows - columns)


def arms(total: int, m: int, n: int) -> Arms:
    """The cross of exactly `total` pairs, at most m·n, with equally many pairs in both arms.

    Up to half of the kernel the arms differ by one at most beside one for each landmark, because a part of a landmark meets
    all landmarks of the other arm or, where it is none, none; beyond half, whole landmarks decide.
    """
    length = total / (1 + sqrt(1 - total / (m * n)))  # of an arm of fractional rows: 2·length − length²/(m·n) = total
    t, c = _whole(length, total, m, n), _whole(length, total, n, m)
    rest = total - (t * n + c * m - t * c)
    least, most = max(0, rest - max(0, m - t - 1)), min(rest, n - c)
    even = (rest + c * m + t - t * n - c) // 2
    parts = sorted({min(max(part, least), most) for part in (least, even, even + 1, most)})
    return min((Arms(t, c, part, rest - part) for part in parts), key=lambda arm: arm.difference(m, n))


def _whole(length: float, total: int, own: int, other: int) -> int:
    """How many whole landmarks of `other` pairs an arm holds; in integers, because the root is rounded."""
    count = min(own, int(length / other) + 1)
    while count * other * (2 * own - count) > total * own:
        count -= 1
    return count


def cross(total: int, openings: Openings, rng: np.random.Generator) -> Int[ndarray, "L"]:
    """A cross of exactly `total` pairs that may be drawn. Landmarks of earlier rounds stay landmarks.

    *Cost*: O(L + m + n + barred pairs), twenty times where there are barred pairs.
    """
    m, columns = openings.m, openings.columns
    targets = by_count(openings.row_count, rng)
    candidates = columns[by_count(openings.column_count[columns], rng)]
    met_targets, met_candidates = rng.permutation(m), rng.permutation(columns)

    def shape(size: int) -> Int[ndarray, "q"]:
        arm = arms(size, m, len(columns))
        t, c = arm.targets, arm.candidates
        unmet_targets = met_targets[~np.isin(met_targets, targets[:t])]
        other_targets = met_targets[~np.isin(met_targets, targets[: t + 1])]
        other_candidates = met_candidates[~np.isin(met_candidates, candidates[:c])]
        return np.concatenate(
            [
                _product(targets[:t], met_candidates, m),
                _product(unmet_targets, candidates[:c], m),
                _product(targets[t : t + 1], other_candidates[: arm.target_part], m),
                _product(other_targets[: arm.candidate_part], candidates[c : c + 1], m),
            ]
        )

    return fewest_that_hold(total, openings, shape)[:total]


def _product(i: Int[ndarray, "a"], j: Int[ndarray, "b"], m: int) -> Int[ndarray, "L"]:
    return (j[None, :] * m + i[:, None]).ravel()
