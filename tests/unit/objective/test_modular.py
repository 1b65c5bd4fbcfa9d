"""Rankings by a worth of one's own, masked pairs left out."""

from __future__ import annotations

import numpy as np

from nncift.objective.base import Kernels
from nncift.objective.greedy import greedy
from nncift.objective.modular import TopMax, TopMean

VALUES = np.array([[1.0, -3.0, 2.0], [4.0, 0.0, -1.0], [-1.0, -2.0, -6.0], [1.0, 1.0, 1.0]], np.float32)
MASKED = np.array([[0, 1], [2, 2], [0, 0]])  # (i, j): target 0 with pool 1 and 0, target 2 with pool 2
MISLEADING = np.array([0.0, 1.0, 9.0, 2.0])


def test_top_mean_leaves_masked_pairs_out() -> None:
    kernels = Kernels.dense(VALUES.copy(), masked=MASKED)
    np.testing.assert_allclose(kernels.means, [-0.5, -0.5, -1.5, 1.0])
    ranking = greedy(TopMean().problem(kernels), 4, rest=MISLEADING)
    assert ranking.order.tolist() == [3, 0, 1, 2]
    assert ranking.gains.tolist() == [1.0, -0.5, -0.5, -1.5]
    assert ranking.positive == 1
    assert ranking.rest_rule == "Picks 2 to 4 had no positive gain and follow their own score, then the lowest id."


def test_top_max_leaves_masked_pairs_out() -> None:
    ranking = greedy(TopMax().problem(Kernels.dense(VALUES.copy(), masked=MASKED)), 9, rest=MISLEADING)
    assert ranking.order.tolist() == [0, 3, 1, 2]
    assert ranking.gains.tolist() == [2.0, 1.0, 0.0, -1.0]
    assert ranking.positive == 2


def test_a_candidate_with_nothing_but_masked_pairs_comes_last() -> None:
    masked = np.array([[0, 3], [1, 3], [2, 3]])
    for objective, lowest in ((TopMean(), -3.0), (TopMax(), -1.0)):
        ranking = greedy(objective.problem(Kernels.dense(VALUES.copy(), masked=masked)), 4, rest=MISLEADING)
        assert ranking.order[-1] == 3 and ranking.gains[-1] == lowest
    everything = np.array([[i, j] for i in range(3) for j in range(4)])
    assert Kernels.dense(VALUES.copy(), masked=everything).means.tolist() == [0.0] * 4


def test_tasks_share_their_mean_and_masked_pairs_stay_out_of_it() -> None:
    kernels = Kernels.dense(VALUES.copy(), masked=MASKED, groups=np.array([1, 0, 1]))
    ranking = greedy(TopMax().problem(kernels), 4, rest=MISLEADING)
    assert dict(zip(ranking.order.tolist(), ranking.gains.tolist(), strict=True)) == {0: 2.0, 3: 1.0, 1: 0.0, 2: -1.0}
