"""Figures of a predicted matrix are those of their definitions, by loops."""

from __future__ import annotations

import numpy as np
import pytest

from nncift.data.labels import Labels
from nncift.errors import ConfigError
from nncift.estimator.agreement import shared_best
from nncift.estimator.covariance import Coordinates
from nncift.estimator.dense import candidate_figures, pair_figures
from nncift.estimator.features import Features
from nncift.estimator.gaussian import GaussianProcess
from nncift.estimator.perceptron import PaperNetwork
from toy_rehearsal import brute_spearman

M, N = 9, 23
RNG = np.random.default_rng(1)
EXACT = RNG.normal(size=(M, N)).astype(np.float32)
PREDICTED = (EXACT + RNG.normal(size=(M, N))).astype(np.float32)
JUDGED = RNG.uniform(size=(M, N)) < 0.6


def test_figures_of_pairs_are_the_brute_force() -> None:
    wrong = np.where(JUDGED, PREDICTED, 1e6).astype(np.float32)  # must not count
    found = pair_figures(EXACT, wrong, JUDGED, mean=0.3)
    pairs = [(float(EXACT[i, j]), float(PREDICTED[i, j])) for i in range(M) for j in range(N) if JUDGED[i, j]]
    squared = sum((y - p) ** 2 for y, p in pairs) / len(pairs)
    assert found["mse"] == pytest.approx(squared)
    assert found["r2"] == pytest.approx(1 - squared / (sum((y - 0.3) ** 2 for y, _ in pairs) / len(pairs)))
    assert found["spearman"] == pytest.approx(brute_spearman(*map(np.array, zip(*pairs, strict=True))))
    rows = [brute_spearman(EXACT[i][JUDGED[i]], PREDICTED[i][JUDGED[i]]) for i in range(M)]
    assert found["row_spearman"] == pytest.approx(np.mean(rows))


def test_targets_that_order_nothing_do_not_count() -> None:
    exact = EXACT.copy()
    exact[2] = 0.5
    judged = JUDGED.copy()
    judged[3] = False
    judged[3, 1] = True
    found = pair_figures(exact, PREDICTED, judged, mean=0.0)["row_spearman"]
    others = [i for i in range(M) if i not in (2, 3)]
    assert found == pytest.approx(
        np.mean([brute_spearman(exact[i][judged[i]], PREDICTED[i][judged[i]]) for i in others])
    )


def test_what_has_no_meaning_is_none() -> None:
    nothing = pair_figures(EXACT, PREDICTED, np.zeros_like(JUDGED), mean=0.0)
    assert set(nothing.values()) == {None}
    one = pair_figures(EXACT[:1], PREDICTED[:1], JUDGED[:1], mean=0.0)
    assert one["row_spearman"] is None and one["spearman"] is not None
    assert set(candidate_figures(EXACT, PREDICTED, JUDGED, np.array([4])).values()) == {None}


def test_figures_of_candidates_are_the_brute_force() -> None:
    which = np.array([0, 3, 4, 7, 8, 9, 11, 15, 16, 17, 19, 20, 22])
    found = candidate_figures(EXACT, PREDICTED, JUDGED, which)
    true, guess = (
        np.array([np.mean([values[i, j] for i in range(M) if JUDGED[i, j]]) for j in which])
        for values in (EXACT.astype(float), PREDICTED.astype(float))
    )
    assert found["candidate_spearman"] == pytest.approx(brute_spearman(true, guess))
    k = 3  # floor(0.3 · 13)
    best = set(np.argsort(-true)[:k]) & set(np.argsort(-guess)[:k])
    assert found["top30_overlap"] == pytest.approx(len(best) / k)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (9, 2), (10, 3), (19, 5), (200, 60)])
def test_the_best_are_the_floor_of_thirty_per_cent(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    true, guess = rng.normal(size=(1, n)), rng.normal(size=(1, n))
    found = candidate_figures(true, guess, np.ones((1, n), dtype=bool), np.arange(n))
    assert found["top30_overlap"] == pytest.approx(shared_best(true[0], guess[0], k))


def test_states_take_the_place_of_embeddings_but_for_the_paper() -> None:
    rng = np.random.default_rng(0)
    keys = [tuple(f"{side}{k}" for k in range(count)) for side, count in (("t", M), ("p", N))]

    def features(of: tuple[str, ...], embedding: int) -> Features:
        draw = np.random.default_rng(len(of))
        blocks = {"mean_state": 3, "last_state": 3, "scalars": 2}
        made = {name: draw.normal(size=(len(of), d)).astype(np.float32) for name, d in blocks.items()}
        noise = np.random.default_rng(embedding).normal(size=(len(of), 4)).astype(np.float32)
        return Features(made | {"embedding": noise}, of)

    i, j = (axis.astype(np.int32) for axis in np.nonzero(rng.uniform(size=(M, N)) < 0.4))
    labels = Labels(i, j, EXACT[i, j], (M, N))
    assert list(Coordinates.of([features(keys[0], 1)]).whitening) == ["last_state", "mean_state", "scalars"]
    for estimator, differs in ((GaussianProcess(), False), (PaperNetwork(), True)):
        found = [
            estimator.fit(labels, features(keys[0], e), features(keys[1], e), seed=0)
            .kernel(features(keys[0], e), features(keys[1], e))
            .fill()
            for e in (1, 2)
        ]
        assert np.array_equal(*found) != differs


def test_rows_without_a_block_that_was_read_are_refused() -> None:
    keys = tuple(map(str, range(N)))
    both = Features({name: EXACT.T.copy() for name in ("embedding", "mean_state")}, keys)
    read = Coordinates.of([both])
    assert len(read.apply(both)) == 1
    with pytest.raises(ConfigError, match=r"'mean_state': 9.*these rows have \{'embedding': 9\}"):
        read.apply(Features({"embedding": EXACT.T.copy()}, keys))
