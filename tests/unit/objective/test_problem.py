"""The borders: what a problem, a kernel bundle and greedy refuse, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.errors import ConfigError, ModelError
from nncift.objective.base import Kernels
from nncift.objective.coverage import ConditionalGain, MutualInformation, VariantMutualInformation
from nncift.objective.greedy import greedy
from nncift.objective.problem import CoverageProblem, check_finite

VALUES = np.arange(15, dtype=np.float32).reshape(5, 3)
CANDIDATES, ROWS = [f"pool-{j}" for j in range(5)], [f"target-{i}" for i in range(3)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_by_its_ids(bad: float) -> None:
    values = VALUES.copy()
    check_finite(values, CANDIDATES, ROWS)
    values[3, 1] = bad
    with pytest.raises(ModelError, match=r"target × pool has 1 of 15 .*'pool-3' on row 'target-1' is") as caught:
        check_finite(values, CANDIDATES, ROWS, what="target × pool")
    assert "pool-2" not in str(caught.value)


def test_many_such_numbers_are_counted_and_five_named() -> None:
    values = np.full((5, 3), np.nan, np.float32)
    with pytest.raises(ModelError, match=r"15 of 15 .* and 10 more") as caught:
        check_finite(values, CANDIDATES, ROWS)
    assert str(caught.value).count("candidate") == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("cap", [None, np.full(3, 9.0)])
def test_greedy_never_selects_nan(bad: float, cap: np.ndarray | None) -> None:
    values = VALUES.copy()
    values[2, 0] = bad
    if np.isinf(bad) and cap is not None:
        assert np.isfinite(greedy(CoverageProblem(values, np.zeros(3), cap), 5, rest=np.zeros(5)).gains).all()
        return
    with pytest.raises(ModelError, match=r"positions \[2\]"):
        greedy(CoverageProblem(values, np.zeros(3), cap), 2, rest=np.zeros(5))


def test_problem_refuses_what_the_compiled_code_would_misread() -> None:
    for values in (VALUES.astype(np.float64), VALUES.T, VALUES[0]):
        with pytest.raises(ConfigError, match="values is"):
            CoverageProblem(values, np.zeros(len(values[0]) if values.ndim == 2 else 1))
    with pytest.raises(ConfigError, match="start is"):
        CoverageProblem(VALUES, np.zeros(5))
    with pytest.raises(ConfigError, match="cap is float32"):
        CoverageProblem(VALUES, np.zeros(3), cap=np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match="modular is"):
        CoverageProblem(VALUES, np.zeros(3), modular=np.zeros(3))


def test_greedy_refuses_a_negative_budget_and_a_wrong_rest() -> None:
    problem = CoverageProblem(VALUES, np.zeros(3))
    with pytest.raises(ConfigError, match="budget is -1"):
        greedy(problem, -1, rest=np.zeros(5))
    with pytest.raises(ConfigError, match="rest has shape"):
        greedy(problem, 1, rest=np.zeros(4))
    with pytest.raises(ConfigError, match="finite"):
        greedy(problem, 1, rest=np.full(5, np.nan))


def test_kernels_refuse_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ConfigError, match="pool kernel"):
        Kernels(VALUES, pool=np.zeros((3, 3), np.float32))
    with pytest.raises(ConfigError, match="existing kernel has 5 rows"):
        Kernels(VALUES, existing=np.zeros((2, 5), np.float32))
    with pytest.raises(ConfigError, match="target kernel is float64"):
        Kernels(VALUES.astype(np.float64))
    with pytest.raises(ConfigError, match="at least one of each"):
        Kernels(np.zeros((5, 0), np.float32))
    frozen = VALUES.copy()
    frozen.flags.writeable = False
    Kernels(frozen)
    with pytest.raises(ConfigError, match="read-only"):
        Kernels(frozen, masked=np.array([[0, 1]]))


def test_objectives_say_which_kernel_or_weight_is_wrong() -> None:
    kernels = Kernels(VALUES)
    with pytest.raises(ConfigError, match=r"'fl1mi' needs the pool kernel"):
        MutualInformation().problem(kernels)
    with pytest.raises(ConfigError, match=r"'flcg' needs the existing kernel"):
        ConditionalGain().problem(kernels)
    with pytest.raises(ConfigError, match="eta is -1"):
        VariantMutualInformation().problem(kernels, eta=-1.0)
    with pytest.raises(ConfigError, match="nu is nan"):
        ConditionalGain().problem(Kernels(VALUES, existing=VALUES[:2]), nu=float("nan"))
