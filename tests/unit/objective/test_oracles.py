"""Hand-computed values of the objectives on a 3 × 3 similarity, all influence measured from zero."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.kernel.lines import DenseLines
from nncift.objective.base import Kernels, Objective
from nncift.objective.concave import ConcaveCoverage
from nncift.objective.coverage import ConditionalGain, FacilityLocation, MutualInformation, VariantMutualInformation
from nncift.objective.determinant import LogDeterminant
from nncift.objective.disparity import DisparityMin, DisparitySum
from nncift.objective.graph_cut import GraphCut
from nncift.objective.greedy import greedy
from nncift.objective.problem import CoverageProblem

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


SETS = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        (GraphCut(redundancy=0.4), [1.3, 1.5, 1.2, 2.4, 2.34, 2.38, 3.12]),
        (LogDeterminant(regularisation=1e-9), [0.0, 0.0, 0.0, -0.287682, -0.040822, -0.174353, -0.462035]),
        (DisparitySum(), [0.0, 0.0, 0.0, 0.5, 0.8, 0.6, 1.9]),
        (DisparityMin(), [0.0, 0.0, 0.0, 0.5, 0.8, 0.6, 0.5]),
        # masses 1.5, 1.5, .6 of {0, 1}; 1.2, .9, 1.2 of {0, 2}; .7, 1.4, 1.4 of {1, 2}; 1.7, 1.9, 1.6 of all; the unit is 1
        (ConcaveCoverage(), [2.154320, 2.339562, 2.079670, 3.224086, 3.139574, 3.203092, 3.947156]),
        (ConcaveCoverage("ratio"), [1.0, 1.119048, 0.952381, 1.575, 1.564593, 1.578431, 1.900187]),
    ],
    ids=["graph-cut", "log-determinant", "disparity-sum", "disparity-min", "concave-sqrt", "concave-ratio"],
)
def test_sums_of_pairs_and_of_masses(objective: Objective, values: list[float]) -> None:
    function = objective.problem(Kernels.dense(S.copy(), pool=S.copy()), eta=1.0, nu=1.0, floor=0.0)
    assert [function.value(np.array(chosen)) for chosen in SETS] == pytest.approx(values, abs=1e-6)


def test_start_and_cap_at_once_are_the_conditional_mutual_information() -> None:
    """FLCMI = Σ_i max(min(max_A s_ij, η max_Q s_iq) − ν max_P s_ip, 0), which the coverage is where both are known."""
    start, cap = 0.5 * np.array([0.6, 0.9, 0.1]), 0.75 * np.array([0.9, 0.2, 1.2])
    problem = CoverageProblem(DenseLines(S.copy()), start, cap)
    for chosen in SETS:
        best = S[chosen].max(axis=0)
        expected = sum(max(min(best[i], cap[i]) - start[i], 0.0) for i in range(3))
        assert problem.value(np.array(chosen)) == pytest.approx(expected)
    assert problem.value(np.array([0])) == pytest.approx(0.675 - 0.3 + 0.0 + 0.15)
