"""Errors by whether a candidate and a target ever got a label, against loops over a tiny matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nncift.data.labels import Labels
from nncift.estimator.baselines import AdditiveMeans
from nncift.rehearsal.options import FidelityConfig
from nncift.rehearsal.quadrants import PARTS, quadrants
from nncift.rehearsal.rehearse import rehearse
from nncift.seeds import generator
from toy_rehearsal import M, N, make_known

BOTH, CANDIDATE, TARGET, NEITHER = PARTS
ROWS, COLUMNS = (0, 2), (1, 3, 4)


def tiny(rows: tuple[int, ...] = ROWS, columns: tuple[int, ...] = COLUMNS) -> tuple[np.ndarray, np.ndarray, Labels]:
    """Exact influences of 3 targets and 5 candidates, all known but one; predictions; the labels of a block."""
    rng = np.random.default_rng(4)
    exact = rng.normal(2, 3, size=(3, 5)).astype(np.float32)
    known = np.ones((3, 5), dtype=bool)
    known[1, 0] = False
    i, j = (axis.ravel().astype(np.int32) for axis in np.meshgrid(rows, columns, indexing="ij"))
    return exact, known, Labels(i, j, exact[i, j], (3, 5))


def test_every_part_against_loops() -> None:
    exact, known, labels = tiny()
    predicted = np.random.default_rng(9).normal(size=(3, 5)).astype(np.float32)
    found = quadrants(exact, predicted, known, labels, seed=3)
    assert found is not None
    values = [float(exact[i, j]) for i in range(3) for j in range(5) if known[i, j]]
    low, high = min(values), max(values)
    assert (found.low, found.high) == (low, high)
    mean = sum(float(y) for y in labels.y) / len(labels)
    effects = AdditiveMeans.fit(labels, generator(3, "estimator/means"))
    for part in PARTS:
        pairs = [
            (i, j)
            for i in range(3)
            for j in range(5)
            if known[i, j] and (j in COLUMNS) == (part in (BOTH, CANDIDATE)) and (i in ROWS) == (part in (BOTH, TARGET))
        ]
        y = [float(exact[pair]) for pair in pairs]
        guesses = {
            "the estimator": [float(predicted[pair]) for pair in pairs],
            "predict the mean": [mean] * len(y),
            "predict 0 of [0, 1]": [low] * len(y),
            "row + column means": [effects.mean + effects.row[i] + effects.column[j] for i, j in pairs],
        }
        around = sum((one - mean) ** 2 for one in y)
        one = found.parts[part]
        assert one is not None and one.pairs == len(pairs)
        assert one.sd == pytest.approx(np.std(y))
        for name, guess in guesses.items():
            error = one.estimator if name == "the estimator" else one.baselines[name]
            squares = sum((a - b) ** 2 for a, b in zip(y, guess, strict=True))
            assert error["mse"] == pytest.approx(squares / len(y))
            assert error["r2"] == pytest.approx(1 - squares / around)
        drawn = np.random.default_rng(0).uniform(low, high, size=(200_000, len(y)))
        assert one.baselines["uniform random in [0, 1]"]["mse"] == pytest.approx(((drawn - y) ** 2).mean(), rel=0.02)
    counts = [found.parts[part].pairs for part in PARTS]
    assert counts == [6, 3, 4, 1]  # one pair of the last two is not known


def test_a_part_without_pairs_is_none_and_one_part_alone_says_nothing() -> None:
    exact, known, labels = tiny(rows=(0, 1, 2))
    found = quadrants(exact, exact, known, labels, seed=0)
    assert found is not None
    assert [found.parts[part] is None for part in PARTS] == [False, True, False, True]
    assert found.parts[BOTH].estimator == {"mse": 0.0, "r2": 1.0}
    exact, known, labels = tiny(rows=(0, 1, 2), columns=(0, 1, 2, 3, 4))
    assert quadrants(exact, exact, known, labels, seed=0) is None


def test_a_matrix_of_equal_influences_has_no_spread() -> None:
    _, known, labels = tiny()
    flat = np.full((3, 5), 7, dtype=np.float32)
    labels = Labels(labels.i, labels.j, flat[labels.i, labels.j], labels.shape)
    found = quadrants(flat, flat + 1, known, labels, seed=0)
    assert found is not None and found.low == found.high == 7
    for part in PARTS:
        one = found.parts[part]
        assert one.sd == 0 and one.estimator["mse"] == 1
        assert {name: error["mse"] for name, error in one.baselines.items()} == dict.fromkeys(one.baselines, 0)


def test_the_records_of_a_rehearsal_have_them(tmp_path: Path) -> None:
    known = make_known(tmp_path / "known")
    options = {"design": "block,stripes", "labels": "25%", "repeats": 3, "estimator": "means"}
    block, stripes, guess = rehearse(FidelityConfig.of(known.options(**options)))
    found = block["quadrants"]
    assert found is not None and set(found["parts"]) == set(PARTS)
    finite = known.values[np.isfinite(known.values)]
    assert (found["low"], found["high"]) == (pytest.approx(finite.min()), pytest.approx(finite.max()))
    counts = [found["parts"][part]["pairs"]["mean"] for part in PARTS]
    assert sum(counts) == pytest.approx(M * N - 4) and counts[0] == block["labels"]
    for part in PARTS:
        one = found["parts"][part]
        assert one["mse"]["se"] is not None and one["baselines"]["predict the mean"]["r2"]["mean"] == pytest.approx(0)
        own = one["baselines"]["row + column means"]
        assert one["mse"]["mean"] == pytest.approx(own["mse"]["mean"], rel=1e-4)  # the estimator is that baseline
    neither = found["parts"][PARTS[3]]
    assert neither["r2"]["mean"] == pytest.approx(0, abs=1e-6)  # of rows and columns never seen it knows the mean alone
    assert stripes["quadrants"] is None or set(stripes["quadrants"]["parts"]) == set(PARTS)
    assert guess["quadrants"] is not None or stripes["quadrants"] is None


def test_with_all_labels_there_are_no_quadrants(tmp_path: Path) -> None:
    known = make_known(tmp_path / "known", masked=0)
    records = rehearse(FidelityConfig.of(known.options(labels="all", repeats=1, estimator="means")))
    assert [record["quadrants"] for record in records] == [None, None]
