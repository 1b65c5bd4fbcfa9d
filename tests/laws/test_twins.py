"""Near-copies: what comparing every pair tells, whatever the blocks; a run that leaves them out is a run without them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nncift
from nncift.config import SelectConfig
from nncift.embed.base import unit_rows
from nncift.errors import ConfigError, RunError
from nncift.pipeline import dedup, footprint, reopen
from nncift.pipeline import select as nncift_select
from nncift.pipeline.twins import find_twins
from nncift.plan import plan
from nncift.progress import Silent
from toy_road import write_rows


def one_by_one(vectors: np.ndarray, threshold: float) -> list[int]:
    """The definition, in plain loops."""
    twin: list[int] = []
    for i, one in enumerate(vectors.astype(float)):
        kept = (j for j in range(i) if twin[j] < 0 and sum(one * vectors[j].astype(float)) >= threshold - 1e-6)
        twin.append(next(kept, -1))
    return twin


def clusters(seed: int, n: int, *, d: int = 5, spread: float = 0.2) -> np.ndarray:
    """Unit vectors around a few centres, some of them equal, some zero."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((4, d))[draw.integers(4, size=n)] + spread * draw.standard_normal((n, d))
    vectors[draw.random(n) < 0.1] = vectors[0]
    vectors[draw.random(n) < 0.05] = 0
    return unit_rows(vectors)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999), n=st.integers(1, 60), threshold=st.floats(0.1, 1.0), block=st.sampled_from([1, 3, 7, 64])
)
def test_it_is_what_every_pair_tells_for_blocks_of_any_size(seed: int, n: int, threshold: float, block: int) -> None:
    vectors = clusters(seed, n)
    twin, cosine = find_twins(vectors.__getitem__, n, threshold, block=block)
    assert twin.tolist() == one_by_one(vectors, threshold)
    again, exactly = find_twins(vectors.__getitem__, n, threshold, block=n)
    assert twin.tolist() == again.tolist() and cosine.tolist() == exactly.tolist()
    kept = np.flatnonzero(twin < 0)
    assert (np.triu(vectors[kept] @ vectors[kept].T, 1) < threshold).all()
    assert all(twin[twin[k]] < 0 and twin[k] < k for k in np.flatnonzero(twin >= 0))


def test_equal_rows_are_told_at_a_threshold_of_one_and_zeros_are_near_nothing() -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((3, 700)))[[0, 1, 0, 2, 1]]
    assert find_twins(vectors.__getitem__, 5, 1.0, block=2)[0].tolist() == [-1, -1, 0, -1, 1]
    assert find_twins(np.zeros((4, 3), dtype=np.float32).__getitem__, 4, 0.1, block=3)[0].tolist() == [-1] * 4


@dataclass(frozen=True)
class Copied:
    """A pool of 40 rows, every fourth of which has a near-copy of a lower id before it."""

    rows: list[dict[str, str]]
    vectors: np.ndarray
    folder: Path

    def select(self, name: str = "a", /, *, keep: np.ndarray | None = None, **options: Any) -> nncift.Selection:
        order = np.arange(len(self.rows)) if keep is None else keep
        pool = write_rows(self.folder / f"{name}.jsonl", [self.rows[k] for k in order])
        np.save(self.folder / f"{name}.npy", self.vectors[order])
        options = {"influence": "similarity", "budget": "50%", **options}
        vectors, output = str(self.folder / f"{name}.npy"), options.pop("output", str(self.folder / f"run-{name}"))
        return nncift.select(str(pool), embedder=vectors, output=output, **options)


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    draw = np.random.default_rng(3)
    rows = [{"id": f"r{k:02}", "prompt": f"ask {k}", "completion": f"say {k}"} for k in range(40)]
    vectors = draw.standard_normal((40, 64))
    vectors[3::4] = vectors[2::4] + 0.02 * draw.standard_normal((10, 64))
    return Copied(rows, vectors.astype(np.float32), tmp_path)


def test_a_run_without_copies_is_the_run_of_the_rest(copied: Copied) -> None:
    picked = copied.select(dedup=0.95)
    gone = set(range(3, 40, 4))
    rest = copied.select("rest", keep=np.array([k for k in range(40) if k not in gone]))
    assert picked.ids == rest.ids and picked.gains.tolist() == rest.gains.tolist()
    assert len(picked) == 15 and len(picked.pool) == 30  # half of the rows that are left
    told = [json.loads(line) for line in (picked.folder / "rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row["twin"]) for row in told] == [(k + 1, f"r{k - 1:02}") for k in sorted(gone)]
    assert {row["reason"] for row in told} == {"a near-copy of another row (--dedup)"}
    assert json.loads(told[0]["row"])["id"] == "r03"
    assert "10 of 40 pool rows are left out, most often: a near-copy" in picked.notes["rejected"]
    assert picked.costs["stages"]["dedup"]["seconds"] >= 0 and "near_copies" not in picked.notes
    assert set(picked.indices).isdisjoint(gone)


def test_the_order_of_the_file_plays_no_part(copied: Copied) -> None:
    shuffled = copied.select("b", keep=np.random.default_rng(1).permutation(40), dedup=0.95)
    assert shuffled.ids == copied.select(dedup=0.95).ids


def test_it_is_off_by_default_and_then_counted(copied: Copied) -> None:
    picked = copied.select()
    assert len(picked.pool) == 40 and len(picked) == 20
    assert picked.notes["near_copies"].startswith("10 of 40 pool rows (25%) are near-copies")
    stages = json.loads((picked.folder / "stages.json").read_text())
    assert stages["embed"]["facts"]["near_copies"] == {"threshold": 0.95, "rows": 10, "of": 40}
    few = copied.select("few", keep=np.array([k for k in range(40) if k % 4 < 3]))
    assert "near_copies" not in few.notes
    assert not (picked.folder / "twins.json").exists()


def test_a_finished_run_is_read_again_without_looking_for_copies(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = copied.select(dedup=0.95, labels="all")
    monkeypatch.setattr(dedup, "find_twins", None)
    again = reopen(picked.folder)
    assert again.ids == picked.ids and len(again.pool) == 30 and again.resize(3).ids == picked.ids[:3]
    (picked.folder / "twins.json").write_text("{}")
    with pytest.raises(RunError, match=r"twins\.json is missing or damaged"):
        reopen(picked.folder)


def test_the_same_command_looks_for_nothing_again_and_another_threshold_does(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = copied.select(dedup=0.95)
    with monkeypatch.context() as patch:
        patch.setattr(dedup, "find_twins", None)
        second = copied.select(dedup=0.95)
    assert second.costs == first.costs and second.ids == first.ids
    (first.folder / "twins.json").unlink()
    assert copied.select(dedup=0.95).ids == first.ids
    assert len(copied.select(dedup=1).pool) == 40
    assert not (copied.select().folder / "twins.json").exists()


def test_vectors_of_the_rows_that_are_left_are_found_beside_rejected_ones(copied: Copied, tmp_path: Path) -> None:
    rows = [{"prompt": "x", "completion": " "}, *copied.rows]
    per_row = Copied(rows, np.concatenate([copied.vectors[:1], copied.vectors]), tmp_path / "per-row")
    per_row.folder.mkdir()
    assert per_row.select(dedup=0.95).ids == copied.select(dedup=0.95).ids
    pool = write_rows(tmp_path / "usable.jsonl", rows)
    np.save(tmp_path / "usable.npy", copied.vectors)
    with pytest.raises(ConfigError, match="no vectors of the rejected rows to count by"):
        nncift.select(str(pool), influence="similarity", embedder=str(tmp_path / "usable.npy"), dedup=0.95)


def test_a_plan_says_that_its_numbers_are_before(copied: Copied) -> None:
    pool, vectors = copied.select().pool.source, str(copied.folder / "a.npy")
    told = plan(SelectConfig(pool=pool, embedder=vectors, influence="similarity", dedup=0.95), Silent())
    assert told.rows == {"pool": 40} and "All numbers are before --dedup 0.95 leaves near-copies out." in told.lines()


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_what_is_no_cosine_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="--dedup is"):
        SelectConfig(pool="pool.jsonl", dedup=wrong)


class Counting:
    """An encoder of a user's own that says how often it was asked."""

    asked: ClassVar[list[int]] = []
    name, fingerprint, dimension = "counting", "counting", 8

    def __init__(self, *, device: str) -> None:
        pass

    def encode(self, texts: Sequence[str], *, on_progress: Any = None) -> np.ndarray:
        self.asked.append(len(texts))
        return unit_rows(np.array([np.random.default_rng(list(text.encode())).standard_normal(8) for text in texts]))

    def overlong(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros(len(texts), dtype=bool)


def counting(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> dict[str, Any]:
    monkeypatch.setattr(Counting, "asked", [])
    rows = [{"id": f"r{k:02}", "prompt": f"ask {k // 2}", "completion": f"say {k // 2}"} for k in range(40)]
    pool = str(write_rows(folder / "pool.jsonl", rows))
    usual = {"influence": "similarity", "embedder": f"{__name__}:Counting", "dedup": 0.95, "budget": 5}
    return {"pool": pool, "output": str(folder / "run"), **usual, **options}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"memory": "200MB"}, r"in its stage `dedup`, and 200 MB are allowed by --memory"),
        ({"quota": "nowhere=5%"}, "no row of the pool has a column 'nowhere'"),
        ({"budget": 41}, "41"),
        ({"labels": "3"}, "too few to teach an estimator"),
    ],
)
def test_what_can_be_refused_is_refused_before_a_row_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], told: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=told):
        nncift.select(**counting(tmp_path, monkeypatch, **wrong))
    assert Counting.asked == [] and {path.name for path in tmp_path.iterdir()} == {"pool.jsonl"}
    assert len(nncift.select(**counting(tmp_path, monkeypatch))) == 5 and Counting.asked


def test_a_run_that_fits_without_its_copies_is_not_refused_for_them(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kernels of 40 × 3,000 stored influences take 480 kB, of 30 rows 360 kB."""
    for name in ("_PROGRAM", "_REPORT", "_ROW", "_CHARACTER", "_CHOOSING", "BLOCK"):
        monkeypatch.setattr(footprint, name, 0)
    targets = [{"id": f"t{k:04}", "prompt": f"q {k}", "completion": f"a {k}"} for k in range(3000)]
    target = str(write_rows(copied.folder / "target.jsonl", targets))
    np.save(copied.folder / "t.npy", np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32))
    pool = str(write_rows(copied.folder / "pool.jsonl", copied.rows))
    np.save(copied.folder / "p.npy", copied.vectors)
    embedder = ",".join(str(copied.folder / name) for name in ("p.npy", "t.npy"))
    asked = {"target": target, "embedder": embedder, "influence": "similarity", "budget": 5, "max_targets": 3000}
    for least, memory, fits in ((0.95, "420KB", True), (0.95, "330KB", False), (0.0, "420KB", False)):
        caplog.clear()
        options = asked | {"dedup": least, "memory": memory, "output": str(copied.folder / f"run-{least}-{memory}")}
        if fits:
            assert len(nncift.select(pool, **options)) == 5
        else:
            with pytest.raises(ConfigError, match="The largest part is: kernels"):
                nncift.select(pool, **options)
        assert ("whether --dedup leaves few enough rows is known once they are embedded" in caplog.text) is (least > 0)
        assert not Path(options["output"]).exists() or fits
    plan(SelectConfig.of({"pool": pool, **asked, "dedup": 0.95, "memory": "420KB"}), Silent())


def test_what_is_read_is_told_before_it_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Order(Silent):
        told: ClassVar[list[tuple[str, str]]] = []
        within: ClassVar[list[str]] = []

        def begin(self, stage: str, total: int, unit: str) -> None:
            self.within.append(stage)

        def end(self, summary: str) -> None:
            self.told.append((self.within.pop(), summary))

    nncift_select(SelectConfig.of(counting(tmp_path, monkeypatch)), Order())
    stages = [stage for stage, _ in Order.told if stage != "load"]
    assert stages[:3] == ["read", "embed", "dedup"] and stages.count("read") == 1
    assert Order.told[0][1].startswith("pool 40 rows")
    assert dict(Order.told)["dedup"] == "20 of 40 rows are near-copies (cosine 0.95 or more)"
