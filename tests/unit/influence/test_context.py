"""Which targets are pool rows that are to be covered: told without looking at a row where the run knows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nncift.data import files
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.influence.base import Context
from nncift.pipeline.inputs import Axes, make_axes


def pool(path: Path, count: int) -> Pool:
    path.write_text("".join(json.dumps({"id": f"{path.stem}{k}", "text": f"say {k}"}) + "\n" for k in range(count)))
    return load_pool(path)


def context(axes: Axes) -> Context:
    asked = np.arange(len(axes.helped)), np.arange(len(axes.columns))
    return Context(
        targets=axes.helped, pool=axes.columns, asked_targets=asked[0], asked_pool=asked[1], folder=Path("unused"),
        own_targets=axes.own,
    )  # fmt: skip


@pytest.mark.parametrize("large", [-1, 10**12])
@pytest.mark.parametrize("pairwise", [True, False])
def test_pool_rows_among_the_targets(
    large: int, pairwise: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGE", large)
    rows, target = pool(tmp_path / "pool.jsonl", 7), pool(tmp_path / "target.jsonl", 4)
    for own, cover in ((None, False), (target, False), (target, True)):
        if cover and not pairwise:
            continue
        axes = make_axes(
            rows.by_id(), own, None, pairwise=pairwise, uses_target=True, cover_pool=cover, max_targets=3, seed=0
        )
        told = context(axes)
        found = [told.is_candidate(k) for k in range(len(axes.helped))]
        assert found == ([True] * 3 if own is None else [False] * 3 + [True] * (7 if cover else 0))
        if large > 0:  # then a row is one object wherever it stands
            by_object = replace(told, own_targets=None)
            assert [by_object.is_candidate(k) for k in range(len(found))] == found
