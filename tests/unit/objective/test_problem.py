"""The borders: what a problem, a kernel bundle and greedy refuse, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.errors import ConfigError, ModelError
from nncift.kernel.lines import DenseLines
from nncift.objective.base import Kernels
from nncift.objective.coverage import ConditionalGain, MutualInformation, VariantMutualInformation
from nncift.objective.greedy import greedy
from nncift.objective.problem import CoverageProblem
from nncift.objective.survey import check_finite, survey

VALUES = np.arange(15, dtype=np.float32).reshape(5, 3)
NOTHING = np.empty((0, 2), int)
CANDIDATES, ROWS = [f"pool-{j}" for j in range(5)], [f"target-{i}" for i in range(3)]


def checked(values: np.ndarray, masked: np.ndarray = NOTHING) -> None:
    lines = DenseLines(values)
    check_finite(lines, survey(lines), CANDIDATES, ROWS, masked=masked, what="target × pool")


def test_a_masked_pair_is_no_offender_and_the_same_number_elsewhere_is() -> None:
    values = VALUES.copy()
    values[3, 1] = -np.inf
    checked(values, np.array([[1, 3], [1, 3]]))
    with pytest.raises(ModelError, match="'pool-3' on row 'target-1'"):
        checked(values, np.array([[1, 2]]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_by_its_ids(bad: float) -> None:
    values = VALUES.copy()
    checked(values)
    values[3, 1] = bad
    with pytest.raises(ModelError, match=r"target × pool .* in 1 of 5 .*'pool-3' on row 'target-1' is") as caught:
        checked(values)
    assert "pool-2" not in str(caught.value)


def test_many_such_numbers_are_counted_and_five_named() -> None:
    values = np.full((5, 3), np.nan, np.float32)
    with pytest.raises(ModelError, match=r"in 5 of 5 candidates") as caught:
        checked(values)
    assert str(caught.value).count(" on row ") == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("cap", [None, np.full(3, 9.0)])
def test_greedy_never_selects_nan(bad: float, cap: np.ndarray | None) -> None:
    values = VALUES.copy()
    values[2, 0] = bad
    if np.isinf(bad) and cap is not None:
        assert np.isfinite(
            greedy(CoverageProblem(DenseLines(values), np.zeros(3), cap), 5, rest=np.zeros(5)).gains
        ).all()
        return
    with pytest.raises(ModelError, match=r"positions \[2\]"):
        greedy(CoverageProblem(DenseLines(values), np.zeros(3), cap), 2, rest=np.zeros(5))


def test_problem_refuses_what_the_compiled_code_would_misread() -> None:
    for values in (VALUES.astype(np.float64), VALUES.T, VALUES[0]):
        with pytest.raises(ConfigError, match="the kernel is"):
            CoverageProblem(DenseLines(values), np.zeros(len(values[0]) if values.ndim == 2 else 1))
    with pytest.raises(ConfigError, match="start is"):
        CoverageProblem(DenseLines(VALUES), np.zeros(5))
    with pytest.raises(ConfigError, match="cap is float32"):
        CoverageProblem(DenseLines(VALUES), np.zeros(3), cap=np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match="modular is"):
        CoverageProblem(DenseLines(VALUES), np.zeros(3), modular=np.zeros(3))


def test_greedy_refuses_a_negative_budget_and_a_wrong_rest() -> None:
    problem = CoverageProblem(DenseLines(VALUES), np.zeros(3))
    with pytest.raises(ConfigError, match="budget is -1"):
        greedy(problem, -1, rest=np.zeros(5))
    with pytest.raises(ConfigError, match="rest has shape"):
        greedy(problem, 1, rest=np.zeros(4))
    with pytest.raises(ConfigError, match="finite"):
        greedy(problem, 1, rest=np.full(5, np.nan))


def test_kernels_refuse_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ConfigError, match="pool kernel"):
        Kernels.dense(VALUES, pool=np.zeros((3, 3), np.float32))
    with pytest.raises(ConfigError, match="existing kernel has 5 rows"):
        Kernels.dense(VALUES, existing=np.zeros((2, 5), np.float32))
    with pytest.raises(ConfigError, match="the kernel is float64"):
        Kernels.dense(VALUES.astype(np.float64))
    with pytest.raises(ConfigError, match="at least one of each"):
        Kernels.dense(np.zeros((5, 0), np.float32))
    frozen = VALUES.copy()
    frozen.flags.writeable = False
    Kernels.dense(frozen)
    with pytest.raises(ConfigError, match="read-only"):
        Kernels.dense(frozen, masked=np.array([[0, 1]]))


def test_objectives_say_which_kernel_or_weight_is_wrong() -> None:
    kernels = Kernels.dense(VALUES)
    with pytest.raises(ConfigError, match=r"'fl1mi' needs the pool kernel"):
        MutualInformation().problem(kernels)
    with pytest.raises(ConfigError, match=r"'flcg' needs the existing kernel"):
        ConditionalGain().problem(kernels)
    with pytest.raises(ConfigError, match="eta is -1"):
        VariantMutualInformation().problem(kernels, eta=-1.0)
    with pytest.raises(ConfigError, match="nu is nan"):
        ConditionalGain().problem(Kernels.dense(VALUES, existing=VALUES[:2]), nu=float("nan"))
