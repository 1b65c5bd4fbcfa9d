"""Coverage by the best entries of each row, and objectives of pairs where the pool is its own target, from options to rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.errors import ConfigError
from nncift.selection import Selection
from toy_road import Corpus, make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Rows of two topics."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def select(corpus: Corpus, place: Path, **options: Any) -> Selection:
    return nncift.select(corpus.pool, **corpus.options(output=str(place), budget="20%") | options)


def coverage(chosen: Selection, picks: np.ndarray) -> float:
    """Σ_i (best influence of the picks on row i − least influence on row i), from the whole matrix."""
    values = chosen.influences().values
    return float((np.nanmax(values[picks], axis=0) - np.nanmin(values, axis=0)).sum())


@pytest.mark.parametrize("backend", ["dense", "tiled"])
def test_all_entries_are_the_whole_kernel(corpus: Corpus, tmp_path: Path, backend: str) -> None:
    whole = select(corpus, tmp_path / "whole", backend=backend)
    every = select(corpus, tmp_path / "every", backend=backend, entries=10_000)
    assert every.ids == whole.ids
    np.testing.assert_array_equal(every.gains, whole.gains)
    assert "entries" not in whole.facts and every.facts["entries"]["least"] == every.facts["entries"]["most"]


@pytest.mark.parametrize("kept", [1, 2, 5])
def test_a_few_entries_say_what_they_may_have_lost(corpus: Corpus, tmp_path: Path, kept: int) -> None:
    whole = select(corpus, tmp_path / "whole")
    sparse = select(corpus, tmp_path / f"sparse{kept}", entries=kept, backend="tiled")
    bound = sparse.facts["entries"]
    true, best = coverage(sparse, sparse.picks.order), coverage(whole, whole.picks.order)
    assert bound["kept"] == kept
    assert bound["least"] - 1e-4 <= true <= bound["most"] + 1e-4
    assert best <= bound["best"] + 1e-4
    assert f"best {kept} candidates" in sparse.notes["entries"]
    done = json.loads((tmp_path / f"sparse{kept}" / "done.json").read_text(encoding="utf-8"))
    assert done["notes"]["entries"] == sparse.notes["entries"]


def test_what_needs_whole_kernels_refuses_entries(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`top-mean` cannot do with"):
        select(corpus, tmp_path / "run", entries=3, objective="top-mean")
    with pytest.raises(ConfigError, match="--entries is -1"):
        select(corpus, tmp_path / "run", entries=-1)


@pytest.mark.parametrize("objective", ["graph-cut", "log-determinant", "disparity-sum", "disparity-min"])
@pytest.mark.parametrize("backend", ["dense", "tiled"])
def test_a_pool_that_is_its_own_target_can_be_compared_with_itself(
    corpus: Corpus, tmp_path: Path, objective: str, backend: str
) -> None:
    options = {"objective": objective, "target": None, "backend": backend}
    own = select(corpus, tmp_path / "own", **options)
    vectors = str(corpus.options()["embedder"]).split(",")[0]
    twice = {"target": corpus.pool, "embedder": f"{vectors},{vectors}"}
    named = select(corpus, tmp_path / "named", **options | twice)
    sampled = select(corpus, tmp_path / "sampled", **options, max_targets=7)
    assert len(set(own.ids)) == len(own.ids) == len(sampled.ids)
    if objective != "graph-cut":  # which sums over the rows of the target: twins of the pool are masked either way
        assert own.ids == named.ids == sampled.ids


def test_what_speaks_of_a_target_still_needs_one(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`fl1mi` needs --target"):
        select(corpus, tmp_path / "run", objective="fl1mi", target=None)
