"""The benchmark that compares two files of labels matches pairs by the ids of their rows."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nncift.data.arrays import write_npz
from nncift.errors import DataError

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
M, N = 6, 9
TARGETS, POOL = [f"t{k}" for k in range(M)], [f"p{k}" for k in range(N)]
VALUES = np.random.default_rng(0).normal(size=(M, N)).astype(np.float32)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return pytest.importorskip("label_agreement")


def written(path: Path, values: np.ndarray, targets: list[str], pool: list[str], *, pairs: int = 0) -> Path:
    ids = {"target_ids": np.array(targets), "pool_ids": np.array(pool)}
    if not pairs:
        write_npz(path, ids | {"values": values})
        return path
    chosen = np.random.default_rng(1).permutation(values.size)[:pairs]
    i, j = (axis.astype(np.int32) for axis in np.unravel_index(chosen, values.shape))
    write_npz(path, ids | {"i": i, "j": j, "y": values[i, j]})
    return path


def test_the_same_labels_in_another_order_agree_fully(compared: ModuleType, tmp_path: Path) -> None:
    one = written(tmp_path / "one.npz", VALUES, TARGETS, POOL, pairs=30)
    turned = written(tmp_path / "two.npz", VALUES[::-1, ::-1].copy(), TARGETS[::-1], POOL[::-1])
    found = compared.agreement(compared.read_pairs(one), compared.read_pairs(turned))
    assert (found.pairs, found.largest_difference) == (30, 0)
    assert found.pearson == found.spearman == found.within_target == pytest.approx(1)
    assert "30 pairs in both: Pearson 1.0000" in found.sentence()


def test_what_differs_and_what_only_one_has(compared: ModuleType, tmp_path: Path) -> None:
    other = VALUES.copy()
    other[:, :2] += 0.5
    other[0, 3] = np.nan
    one = compared.read_pairs(written(tmp_path / "one.npz", VALUES, TARGETS, POOL))
    two = compared.read_pairs(written(tmp_path / "two.npz", other, TARGETS, [*POOL[:-1], "else"]))
    found = compared.agreement(one, two)
    assert found.pairs == M * (N - 1) - 1
    assert found.largest_difference == pytest.approx(0.5, abs=1e-6)
    assert found.mean_difference == pytest.approx(0.5 * 2 * M / found.pairs, abs=1e-6)
    common = np.isfinite(other[:, :-1])
    expected = np.corrcoef(VALUES[:, :-1][common], other[:, :-1][common])[0, 1]
    assert found.pearson == pytest.approx(expected) and found.pearson < 0.99
    with pytest.raises(DataError, match="0 pairs in common"):
        compared.agreement(one, {("x", "y"): 1.0})
    write_npz(tmp_path / "three.npz", {"values": VALUES})
    with pytest.raises(DataError, match="no `target_ids`"):
        compared.read_pairs(tmp_path / "three.npz")
