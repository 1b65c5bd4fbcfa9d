"""Entropic transport against linear programming, plain Sinkhorn iterations and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray
from scipy.optimize import linprog

from nncift.influence.transport import transport


def _problem(rows: int, targets: int, seed: int = 0) -> tuple[ndarray, ndarray, ndarray]:
    draw = np.random.default_rng(seed)
    source, target = draw.dirichlet(np.full(rows, 2.0)), draw.dirichlet(np.full(targets, 2.0))
    return draw.random((rows, targets)), source, target


def _exact(cost: ndarray, source: ndarray, target: ndarray) -> float:
    """The transport cost by linear programming."""
    rows, targets = cost.shape
    sums = np.r_[np.kron(np.eye(rows), np.ones(targets)), np.kron(np.ones(rows), np.eye(targets))].reshape(
        rows + targets, -1
    )
    found = linprog(cost.ravel(), A_eq=sums, b_eq=np.r_[source, target], method="highs")
    assert found.success
    return float(found.fun)


def _sinkhorn(cost: ndarray, source: ndarray, target: ndarray, epsilon: float) -> tuple[float, ndarray]:
    """Value with its entropy term, and potential, by the textbook iteration on the plan itself."""
    kernel = np.exp(-cost / epsilon)
    u, v = np.ones(len(source)), np.ones(len(target))
    for _ in range(20_000):
        v = 1 / (kernel.T @ (source * u))
        u = 1 / (kernel @ (target * v))
    plan = (source * u)[:, None] * kernel * (target * v)
    entropy = (plan * np.log(plan / np.outer(source, target))).sum()
    return float((plan * cost).sum() + epsilon * entropy), epsilon * np.log(u)


@pytest.mark.parametrize(("rows", "targets"), [(1, 4), (3, 5), (6, 2), (5, 9)])
def test_a_small_entropy_gives_the_cost_of_linear_programming(rows: int, targets: int) -> None:
    cost, source, target = _problem(rows, targets)
    exact = _exact(cost, source, target)
    got = transport(cost, source, target, epsilon=1e-3).cost
    assert exact - 1e-9 <= got <= exact + 1e-3 * np.log(rows * targets)


@pytest.mark.parametrize("epsilon", [0.05, 0.3, 5.0])
def test_is_what_sinkhorn_iterations_arrive_at(epsilon: float) -> None:
    cost, source, target = _problem(5, 8, seed=1)
    value, potential = _sinkhorn(cost, source, target, epsilon)
    got = transport(cost, source, target, epsilon=epsilon)
    assert got.cost == pytest.approx(value, abs=1e-9)
    np.testing.assert_allclose(got.gradient, potential - source @ potential, atol=1e-7)


@pytest.mark.parametrize("epsilon", [0.003, 0.05, 1.0])
def test_the_gradient_is_that_of_finite_differences(epsilon: float) -> None:
    cost, source, target = _problem(6, 9, seed=2)
    gradient = transport(cost, source, target, epsilon=epsilon).gradient
    assert source @ gradient == pytest.approx(0, abs=1e-12)

    def at(weights: ndarray) -> float:
        return transport(cost, weights / weights.sum(), target, epsilon=epsilon).cost

    for row in range(len(source)):
        step = np.zeros(len(source))
        step[row] = 1e-5
        assert (at(source + step) - at(source - step)) / 2e-5 == pytest.approx(gradient[row], abs=2e-5)


def test_a_row_far_from_the_target_has_the_steepest_gradient() -> None:
    source = np.array([[0.0], [0.2], [3.0]])
    target = np.array([[0.0], [0.1], [0.2], [0.3]])
    cost = (source - target.T) ** 2 / 2
    gradient = transport(cost, np.full(3, 1 / 3), np.full(4, 0.25), epsilon=0.01).gradient
    assert np.argmax(gradient) == 2 and gradient[2] > 1


def test_arrives_with_many_close_rows_and_little_entropy(caplog: pytest.LogCaptureFixture) -> None:
    draw = np.random.default_rng(3)
    centres = draw.standard_normal((4, 20))
    rows = centres[draw.integers(0, 4, 24)] + 0.2 * draw.standard_normal((24, 20))
    targets = centres[draw.integers(0, 3, 90)] + 0.2 * draw.standard_normal((90, 20))
    cost = ((rows[:, None] - targets[None]) ** 2).sum(2) / 2
    got = transport(cost, np.full(24, 1 / 24), np.full(90, 1 / 90), epsilon=2.5e-3)
    exact = _exact(cost, np.full(24, 1 / 24), np.full(90, 1 / 90))
    assert exact - 1e-9 <= got.cost <= exact + 2.5e-3 * np.log(24 * 90)
    assert caplog.text == ""


def test_one_source_row_serves_everything() -> None:
    got = transport(np.array([[1.0, 3.0]]), np.ones(1), np.array([0.25, 0.75]), epsilon=0.1)
    assert got.cost == pytest.approx(2.5)
    assert got.gradient.tolist() == [0.0]
