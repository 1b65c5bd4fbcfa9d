"""A ranking comes back from the disk as it was, whatever its reasons say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nncift.errors import RunError
from nncift.pipeline.picked import PICKS, read_picks, write_picks
from nncift.run import RunFolder
from nncift.selection import Picks

TEXTS = st.text(st.characters(), max_size=9)  # lone surrogates among them


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reasons=st.lists(TEXTS, max_size=6), phased=st.booleans())
def test_a_ranking_comes_back(tmp_path: Path, reasons: list[str], phased: bool) -> None:
    count = len(reasons)
    order, gains = np.random.default_rng(1).permutation(count), np.linspace(3, -1, count)
    picks = Picks(order, gains, tuple(reasons), 2, "mean influence", 1, np.arange(count) % 3 if phased else None)
    with closing(RunFolder(tmp_path / "run")) as folder:
        record = folder.stage("select", {"reasons": reasons}, lambda done: write_picks(folder, picks, done))
        found = read_picks(folder, record)
    assert (found.reasons, found.positive, found.merit, found.kept) == (tuple(reasons), 2, "mean influence", 1)
    np.testing.assert_array_equal(found.order, order)
    np.testing.assert_array_equal(found.gains, gains)
    assert (found.phases is None) == (not phased)
    if found.phases is not None:
        np.testing.assert_array_equal(found.phases, np.arange(count) % 3)


def test_a_damaged_ranking_is_told(tmp_path: Path) -> None:
    picks = Picks(np.arange(3), np.ones(3), ("a", "b", "c"), 3, "")
    with closing(RunFolder(tmp_path / "run")) as folder:
        record = folder.stage("select", {}, lambda done: write_picks(folder, picks, done))
        path = folder.path / PICKS
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(RunError, match=r"picks\.npz"):
            read_picks(folder, record)
