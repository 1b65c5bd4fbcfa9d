"""From features to influences: hand numbers, plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.influence import matching as module
from nncift.influence.less import normalised
from nncift.influence.matching import Aggregate, Matching, factors_of
from nncift.tuning.features import FeatureStore, Kept


def _store(folder: Path, vectors: np.ndarray, kept: Kept = "float16") -> FeatureStore:
    store = FeatureStore(folder, vectors.shape, kept=kept)
    for t in range(len(vectors)):
        store.put(t, slice(0, vectors.shape[1]), vectors[t].astype(np.float32))
    return store


def _targets(count: int, tasks: str | None = None) -> tuple[Example, ...]:
    rows = [{"prompt": f"q{k}", "completion": "a", **({"task": tasks[k]} if tasks else {})} for k in range(count)]
    return load_pool(rows).examples


def _matrix(
    folder: Path,
    pool: np.ndarray,
    targets: np.ndarray,
    weights: list[float],
    *,
    aggregate: Aggregate = "mean_of_cos",
    tasks: str | None = None,
) -> np.ndarray:
    stores = _store(folder / "p", pool), _store(folder / "t", targets)
    n, m = pool.shape[1], targets.shape[1]
    factors = factors_of(stores[1], _targets(m, tasks), aggregate)
    matching = Matching(*stores, np.array(weights), factors, np.arange(n), np.arange(m))
    i, j = np.divmod(np.arange(m * n), n)
    done: list[int] = []
    y = matching.label(i, j, done.append)
    assert sum(done) == m * n and y.dtype == np.float32
    return y.reshape(m, n)


def test_published_learning_rates_are_normalised() -> None:
    got = normalised([1.6877e-5, 1.2859e-5, 7.7030e-6, 2.5616e-6])
    np.testing.assert_allclose(got, [0.421919, 0.321470, 0.192572, 0.064039], atol=1e-6)
    assert got.sum() == pytest.approx(1.0)


def test_checkpoints_are_weighted(tmp_path: Path) -> None:
    pool = np.array([[[1.0, 0]], [[0, 1.0]]])
    targets = np.array([[[1.0, 0]], [[1.0, 1.0]]])
    assert _matrix(tmp_path, pool, targets, [0.75, 0.25]).item() == pytest.approx(0.926777, abs=1e-4)


@pytest.mark.parametrize(("aggregate", "wanted"), [("mean_of_cos", 0.5), ("cos_of_mean", 0.316228)])
def test_mean_of_cosines_and_cosine_of_the_mean(tmp_path: Path, aggregate: Aggregate, wanted: float) -> None:
    got = _matrix(tmp_path, np.array([[[1.0, 0]]]), np.array([[[1.0, 0], [0, 3.0]]]), [1.0], aggregate=aggregate)
    assert got.mean() == pytest.approx(wanted, abs=1e-4)


def test_tasks_of_unequal_size_equal_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 3)
    draw = np.random.default_rng(2)
    pool, targets = draw.standard_normal((2, 7, 6)), draw.standard_normal((2, 5, 6)) * draw.uniform(0.1, 9, (2, 5, 1))
    tasks, weights = "aabab", [0.7, 0.3]
    got = _matrix(tmp_path, pool, targets, weights, aggregate="cos_of_mean", tasks=tasks)
    best = np.full(7, -np.inf)
    for task in "ab":
        members = [k for k in range(5) if tasks[k] == task]
        for j in range(7):
            score = 0.0
            for t in range(2):
                mean = sum(targets[t, k] for k in members) / len(members)
                score += weights[t] * mean @ pool[t, j] / np.linalg.norm(mean) / np.linalg.norm(pool[t, j])
            assert got[members, j].mean() == pytest.approx(score, abs=1e-3)
            best[j] = max(best[j], score)
    np.testing.assert_allclose(np.maximum(got[[0, 1, 3]].mean(0), got[[2, 4]].mean(0)), best, atol=1e-3)


def test_tiles_lists_and_rows_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    pool, targets = draw.standard_normal((2, 7, 6)), draw.standard_normal((2, 5, 6))
    stores = _store(tmp_path / "p", pool), _store(tmp_path / "t", targets)
    # the pool has 9 rows of which 2 were not scored; the target 6 of which 1 was not asked about
    pool_row, target_row = np.array([3, -1, 0, 6, 1, 2, -1, 5, 4]), np.array([4, 1, -1, 0, 2, 3])
    matching = Matching(*stores, np.array([0.4, 0.6]), np.ones((2, 5)), pool_row, target_row)
    i, j = (index.ravel() for index in np.meshgrid([0, 1, 3, 4, 5], np.arange(9)))
    whole = matching.label(i, j, lambda count: None)
    assert np.array_equal(whole == -np.inf, np.isin(j, [1, 6])) and not np.isnan(whole).any()
    units = [x / np.linalg.norm(x, axis=2, keepdims=True) for x in (pool, targets)]
    plain = [0.4 * units[0][0, b] @ units[1][0, a] + 0.6 * units[0][1, b] @ units[1][1, a]
             for a, b in zip(target_row[i], pool_row[j], strict=True)]  # fmt: skip
    np.testing.assert_allclose(whole[j % 5 != 1], np.array(plain)[j % 5 != 1], atol=1e-3)
    monkeypatch.setattr(module, "_TILE", 2)
    some = draw.permutation(len(i))[:13]
    np.testing.assert_allclose(matching.label(i[some], j[some], lambda count: None), whole[some], atol=1e-6)
