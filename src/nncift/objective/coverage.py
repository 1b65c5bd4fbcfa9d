"""The facility location family: a row is covered as well as the best chosen candidate covers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

from nncift.objective.base import Kernels
from nncift.objective.problem import CoverageProblem
from nncift.objective.scale import above, common_floor, needed, weight
from nncift.objective.survey import Survey


class FacilityLocation:
    """f(A) = Σ_i (max_{j∈A} K[i, j] − floor_i): every target row wants one candidate that teaches it much.

    Use it to represent a target, or the pool itself when there is none. `floor_i` is row i's own smallest unmasked
    influence (or the given floor), so that a constant added to a row and a positive scale of the kernel change no pick.

    *Cost*: no kernel beside target × pool.
    *Reference*: NN-CIFT, arXiv 2502.09969, section 4; DELIFT, arXiv 2411.04425, instruction tuning.
    """

    name: ClassVar[str] = "facility-location"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    sparse: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta` and `nu` play no part."""
        floors = kernels.of_target.floors if floor is None else np.full(kernels.target.shape[1], floor)
        return CoverageProblem(kernels.target, floors.astype(np.float64))


class ConditionalGain:
    """f(A) = Σ_i max(max_{j∈A} K'[i, j] − ν max_k E'[i, k], 0): what the choice adds to the existing examples.

    Use it for continual learning: rows that existing data already teach count for less. K' = K − floor and
    E' = E − floor with one floor, the smallest unmasked influence of both kernels. ν = 0 forgets the existing examples.

    *Cost*: one more kernel, target × existing, from the same teacher and estimator on the same scale.
    *Reference*: DELIFT, arXiv 2411.04425, continual fine-tuning; Kothawade et al. 2022 (PRISM), FLCG.
    """

    name: ClassVar[str] = "flcg"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    sparse: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `eta` plays no part."""
        needed(kernels.existing, self.name, "existing")
        surveys = (kernels.of_target, kernels.of_existing)
        low = common_floor(surveys, floor)
        known = _known(kernels.of_existing, kernels.known, surveys, low)
        return CoverageProblem(kernels.target, above(low, known, weight(nu, "nu")))


class MutualInformation:
    """f(A) = Σ_{i∈pool} min(max_{j∈A} P'[i, j], η max_q K'[q, i]): cover the part of the pool that helps the target.

    Use it to choose for a benchmark and still represent the pool. P'[i, j] is the influence of pool row j on pool row i
    and K'[q, i] that of pool row i on target q, both above one common floor. Row i counts up to what it is itself worth
    to the target it helps most; η > 1 lets it count for more.

    *Cost*: one more kernel, pool × pool: n² predictions and 4 n² bytes.
    *Reference*: DELIFT, arXiv 2411.04425, task-specific; Kothawade et al. 2022 (PRISM), FL1MI.
    """

    name: ClassVar[str] = "fl1mi"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    sparse: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `nu` plays no part."""
        pool = needed(kernels.pool, self.name, "pool")
        low = common_floor((kernels.of_target, kernels.of_pool), floor)
        worth = np.maximum(kernels.of_target.best, np.float32(low))
        return CoverageProblem(pool, np.full(pool.shape[1], low), cap=above(low, worth, weight(eta, "eta")))


class ConditionalMutualInformation:
    """f(A) = Σ_{i∈pool} max(min(max_{j∈A} P'[i, j], η max_q K'[q, i]) − ν max_k E'[i, k], 0).

    Use it to choose for a benchmark what the existing rows do not teach yet, and still represent the pool: as
    `MutualInformation`, but pool row i begins where the existing rows have brought it. All three kernels are above one common
    floor. ν = 0 forgets the existing rows.

    *Cost*: two more kernels than FLCG, pool × pool and pool × existing: n² + n e predictions and four times as many bytes.
    *Reference*: Kothawade et al. 2022 (PRISM), FLCMI.
    """

    name: ClassVar[str] = "flcmi"
    needs_pool: ClassVar[bool] = True
    needs_existing: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    needs_target: ClassVar[bool] = True
    sparse: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`."""
        pool = needed(kernels.pool, self.name, "pool")
        needed(kernels.existing_pool, self.name, "existing_pool")
        surveys = (kernels.of_target, kernels.of_pool, kernels.of_existing_pool)
        low = common_floor(surveys, floor)
        worth = np.maximum(kernels.of_target.best, np.float32(low))
        known = _known(kernels.of_existing_pool, kernels.known_pool, surveys, low)
        cap = above(low, worth, weight(eta, "eta"))
        return CoverageProblem(pool, above(low, known, weight(nu, "nu")), cap=cap)


class VariantMutualInformation:
    """f(A) = Σ_q max_{j∈A} K'[q, j] + η Σ_{j∈A} max_q K'[q, j]: cover the target with picks that each help a lot.

    Use it to choose for a benchmark where the pool × pool kernel is too dear. K' = K − floor, floor the smallest
    unmasked influence. η = 0 is facility location with one floor for all rows; a large η tends to `top-max`.

    *Cost*: no kernel beside target × pool.
    *Reference*: Kothawade et al. 2022 (PRISM), FLVMI (also called FL2MI or FLQMI).
    """

    name: ClassVar[str] = "flvmi"
    needs_pool: ClassVar[bool] = False
    needs_existing: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    sparse: ClassVar[bool] = True

    def problem(
        self, kernels: Kernels, *, eta: float = 1.0, nu: float = 1.0, floor: float | None = None
    ) -> CoverageProblem:
        """See `Objective.problem`; `nu` plays no part."""
        low = common_floor((kernels.of_target,), floor)
        best = np.maximum(kernels.of_target.best, np.float32(low)).astype(np.float64)
        return CoverageProblem(
            kernels.target, np.full(kernels.target.shape[1], low), modular=weight(eta, "eta") * (best - low)
        )


def _known(
    existing: Survey, twins: Int[ndarray, " k"], surveys: Sequence[Survey], low: float
) -> Float32[ndarray, " r"]:
    """How well the existing examples cover each row; one whose text is among them as well as anything covers anything."""
    known = np.maximum(existing.highest, np.float32(low))
    known[twins] = max(float(found.highest.max(initial=np.float32(low))) for found in surveys)
    return known
