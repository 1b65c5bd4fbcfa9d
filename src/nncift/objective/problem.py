"""The one set function that the greedy optimiser knows: capped coverage of rows plus a worth of each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int
from numpy import ndarray

from nncift.errors import ConfigError, ModelError

_NAMED = 5  # offenders that an error message names


@dataclass(frozen=True, slots=True)
class CoverageProblem:
    """f(A) = Σ_i [min(max(start_i, max_{j∈A} values[j, i]), cap_i) − min(start_i, cap_i)] + Σ_{j∈A} modular_j.

    Facility location, its conditional gain and both mutual informations are this function with other `start`, `cap` and
    `modular`, so one compiled gain serves them all, and no kernel is ever copied to be shifted. f is submodular, and it
    is monotone where `modular` is nowhere negative. A purely modular objective has no rows (r = 0).

    Attributes:
        values: float32 [n, r], C-contiguous, finite; the worth of candidate j for row i.
        start: float64 [r], coverage of each row before anything is chosen.
        cap: float64 [r], coverage beyond it is worth nothing; None for no cap.
        modular: float64 [n], added when candidate j is chosen; None for nothing.

    Raises:
        ConfigError: a dtype or a length does not fit.
    """

    values: Float32[ndarray, "n r"]
    start: Float64[ndarray, "r"]
    cap: Float64[ndarray, "r"] | None = None
    modular: Float64[ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2 or not self.values.flags.c_contiguous:
            raise ConfigError(
                f"values is {self.values.dtype} {self.values.shape}; it must be C-contiguous float32 [n, r]."
            )
        n, r = self.values.shape
        for name, array, length in (("start", self.start, r), ("cap", self.cap, r), ("modular", self.modular, n)):
            if array is not None and (array.dtype != np.float64 or array.shape != (length,)):
                raise ConfigError(f"{name} is {array.dtype} {array.shape}; float64 of shape ({length},) is needed.")

    def value(self, chosen: Int[ndarray, "k"]) -> float:
        """f of a set of candidates, from the definition: to compare any subset, say a random one, with greedy."""
        covered = self.start.copy()
        for j in chosen:
            np.maximum(covered, self.values[j], out=covered)
        cap = np.inf if self.cap is None else self.cap
        gained = np.minimum(covered, cap) - np.minimum(self.start, cap)
        return float(gained.sum()) + (0.0 if self.modular is None else float(self.modular[chosen].sum()))


def check_finite(
    values: Float32[ndarray, "n r"], candidates: Sequence[str], rows: Sequence[str], *, what: str = "the kernel"
) -> None:
    """The border that a kernel crosses once, before any objective sees it.

    Args:
        values: candidate-major, values[j, i].
        candidates: the n ids of its candidates.
        rows: the r ids of its rows.
        what: its name in the message.

    Raises:
        ModelError: an entry is NaN or infinite; the message names the first few by candidate and row.
    """
    if not values.size or (np.isfinite(values.min()) and np.isfinite(values.max())):  # both keep NaN and need no copy
        return
    bad: list[str] = []
    count = 0
    for j, line in enumerate(values):
        wrong = np.flatnonzero(~np.isfinite(line))
        count += len(wrong)
        bad += [f"candidate {candidates[j]!r} on row {rows[i]!r} is {line[i]}" for i in wrong[: _NAMED - len(bad)]]
    more = f", and {count - len(bad)} more" if count > len(bad) else ""
    raise ModelError(
        f"{what} has {count} of {values.size} entries that are not finite: {'; '.join(bad)}{more}. "
        "Check the labels and embeddings of these rows."
    )
