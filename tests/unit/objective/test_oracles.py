"""Hand-computed values of the facility location family on a 3 × 3 similarity, all influence measured from zero."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.objective.base import Kernels, Objective
from nncift.objective.coverage import ConditionalGain, FacilityLocation, MutualInformation, VariantMutualInformation
from nncift.objective.greedy import greedy

S = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.4], [0.2, 0.4, 1.0]], np.float32)
P = np.array([[0.6], [0.9], [0.1]], np.float32)  # one query, or one existing example
NO_REST = np.zeros(3)

FACILITY = (FacilityLocation(), Kernels.dense(S.copy()))
CONDITIONAL = (ConditionalGain(), Kernels.dense(S.copy(), existing=np.ascontiguousarray(P.T)))
MUTUAL = (MutualInformation(), Kernels.dense(P.copy(), pool=S.copy()))
VARIANT = (VariantMutualInformation(), Kernels.dense(P.copy()))


@pytest.mark.parametrize(
    ("case", "singles", "order", "value"),
    [
        pytest.param(FACILITY, [1.7, 1.9, 1.6], [1, 2], 2.5, id="facility-location"),
        pytest.param(CONDITIONAL, [0.5, 0.4, 0.9], [2, 0], 1.3, id="flcg"),
        pytest.param(MUTUAL, [1.2, 1.5, 0.7], [1, 0], 1.6, id="fl1mi"),
        pytest.param(VARIANT, [1.2, 1.8, 0.2], [1, 0], 2.4, id="flvmi"),
    ],
)
def test_hand_computed(case: tuple[Objective, Kernels], singles: list[float], order: list[int], value: float) -> None:
    objective, kernels = case
    problem = objective.problem(kernels, eta=1.0, nu=1.0, floor=0.0)
    assert [problem.value(np.array([j])) for j in range(3)] == pytest.approx(singles, abs=1e-6)
    ranking = greedy(problem, 2, rest=NO_REST)
    assert ranking.order.tolist() == order
    assert ranking.gains.sum() == pytest.approx(value, abs=1e-6)
    assert problem.value(ranking.order) == pytest.approx(value, abs=1e-6)


def test_facility_location_gains() -> None:
    objective, kernels = FACILITY
    ranking = greedy(objective.problem(kernels, eta=1.0, nu=1.0, floor=0.0), 3, rest=NO_REST)
    assert ranking.gains.tolist() == pytest.approx([1.9, 0.6, 0.5], abs=1e-6)


def test_conditional_gain_of_pairs() -> None:
    objective, kernels = CONDITIONAL
    problem = objective.problem(kernels, eta=1.0, nu=1.0, floor=0.0)
    assert problem.value(np.array([2, 1])) == pytest.approx(1.0, abs=1e-6)
    assert problem.value(np.array([0, 1])) == pytest.approx(0.8, abs=1e-6)
