"""The numbers behind the pictures, against such as were worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.data.files import load_pool
from nncift.kernel.lines import DenseLines
from nncift.objective.problem import CoverageProblem
from nncift.report.comparing import compare
from nncift.report.gaining import growth, values
from nncift.report.landscape import _shares, flat, landscape
from nncift.report.listing import listing
from nncift.report.panels import panels
from nncift.report.reading import Missing, Run, open_run
from nncift.report.spending import spending
from nncift.report.spread import Bars, Shares, group_shares, influence_spread, length_spread
from nncift.report.verdict import verdict
from nncift.selection import Selection
from toy_road import write_rows

ROWS = [
    {"id": "a", "text": "xx", "task": "red"},
    {"id": "b", "text": "xxxx", "task": "red"},
    {"id": "c", "text": "xxxxxxxx", "task": "blue"},
    {"id": "d", "text": "x" * 16, "task": "blue"},
    {"id": "e", "text": "x" * 32, "task": "red"},
]
TARGET = [{"id": "t1", "text": "first"}, {"id": "t2", "text": "second"}, {"id": "t3", "text": "third"}]

POOL_VECTORS = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
TARGET_VECTORS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
KERNEL = POOL_VECTORS @ TARGET_VECTORS.T  # rows: a to e
# [[1, 0, .6], [.8, .6, .96], [0, 1, .8], [-1, 0, -.6], [.6, .8, 1]]


@pytest.fixture
def picked(tmp_path: Path) -> Selection:
    """Two of five rows for three targets, by similarities that are the kernel above."""
    np.save(tmp_path / "pool.npy", POOL_VECTORS)
    np.save(tmp_path / "target.npy", TARGET_VECTORS)
    pool, target = write_rows(tmp_path / "pool.jsonl", ROWS), write_rows(tmp_path / "target.jsonl", TARGET)
    vectors = f"{tmp_path / 'pool.npy'},{tmp_path / 'target.npy'}"
    return nncift.select(
        pool, target=target, budget=2, influence="similarity", embedder=vectors, output=tmp_path / "run"
    )


@pytest.fixture
def run(picked: Selection) -> Run:
    return open_run(picked.folder, picked)


def test_a_run_is_read_alike_open_or_not(run: Run, picked: Selection) -> None:
    again = open_run(picked.folder)
    assert (again.closed is None and again.ids == run.ids == ("b", "a")[: len(run)]) or run.ids == picked.ids
    assert [row.id for row in again.chosen] == list(picked.ids)
    np.testing.assert_array_equal(again.order, picked.picks.order)


def test_influences_of_chosen_and_others(run: Run) -> None:
    found = influence_spread(run)
    assert isinstance(found, Bars)
    chosen = run.is_chosen
    means = KERNEL.mean(axis=1)
    assert found.middles == pytest.approx((np.median(means[~chosen]), np.median(means[chosen])))
    assert found.counted == (3, 2)
    assert found.before.sum() == pytest.approx(1) and found.after.sum() == pytest.approx(1)


def test_the_gain_curve_is_the_objective_from_its_definition(run: Run) -> None:
    found = growth(run)
    floor = KERNEL.min(axis=0)  # of each target: an influence that is worth nothing
    covered = [(KERNEL[run.order[:size]].max(axis=0) - floor).sum() for size in (1, 2)]
    assert found.sizes.tolist() == [1, 2]
    np.testing.assert_allclose(found.chosen, covered, rtol=1e-6)
    np.testing.assert_allclose(np.cumsum(run.gains), covered, rtol=1e-6)
    assert found.random is not None and found.random.shape == (5, 2) and not found.why
    assert (found.random <= found.chosen[[0, 1]] + 1e-9).all()  # greedy is best at one row, and here at two


def test_values_are_of_prefixes() -> None:
    values_ = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]], dtype=np.float32)
    function = CoverageProblem(DenseLines(values_), np.zeros(2))
    assert values(function, np.array([1, 2, 0]), np.array([1, 2, 3])).tolist() == [1.0, 2.5, 3.0]


def test_lengths(run: Run) -> None:
    found = length_spread(run)
    assert isinstance(found, Bars)
    lengths = {"a": 2, "b": 4, "c": 8, "d": 16, "e": 32}
    assert found.middles == (8, np.median([lengths[one] for one in run.ids]))
    assert found.counted == (5, 2) and found.edges[0] == 2 and found.edges[-1] == pytest.approx(33)
    assert found.before.sum() == pytest.approx(1)


def test_groups(run: Run) -> None:
    found = group_shares(run)
    assert isinstance(found, Shares)
    tasks = {row["id"]: row["task"] for row in ROWS}
    assert (found.column, found.names, found.groups, found.named) == ("task", ("red", "blue"), 2, 2)
    assert found.before.tolist() == [0.6, 0.4]
    red = sum(tasks[one] == "red" for one in run.ids) / 2
    assert found.after.tolist() == [red, 1 - red]


def test_many_groups_are_gathered(tmp_path: Path) -> None:
    rows = [{"id": f"{k:03d}", "text": f"row {k}", "task": f"g{k % 30:02d}"} for k in range(95)]
    run = nncift.select(write_rows(tmp_path / "p.jsonl", rows), budget=9, influence="length", output=tmp_path / "run")
    found = group_shares(open_run(run.folder, run))
    assert isinstance(found, Shares) and (found.groups, found.named) == (30, 12)
    assert (
        {*found.names[:5]} == {f"g{k:02d}" for k in range(5)}
        and found.names[-1] == "18 other groups"
        and len(found.names) == 13
    )
    assert found.before.sum() == pytest.approx(1) and found.after.sum() == pytest.approx(1)
    assert found.before[:5].tolist() == pytest.approx([4 / 95] * 5) and found.before[5] == pytest.approx(3 / 95)


def test_the_map_lies_along_the_principal_axes() -> None:
    rng = np.random.default_rng(3)
    along = rng.normal(size=(40, 1)) * 5
    across = rng.normal(size=(40, 1))
    frame = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    vectors = along * frame[0] + across * frame[1] + 7.0
    points, explained = flat(vectors.astype(np.float32), np.random.default_rng(0))
    assert explained == pytest.approx(1.0, abs=1e-5)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(points[:, None] - points[None], axis=2), apart, atol=1e-3)
    assert points[:, 0].std() > points[:, 1].std()


def test_a_map_of_one_direction_or_one_point_is_no_error() -> None:
    points, explained = flat(np.array([[1.0], [3.0], [2.0]]), np.random.default_rng(0))
    assert points[:, 0].tolist() == [-1.0, 1.0, 0.0] and not points[:, 1].any() and explained == 1.0
    assert flat(np.ones((3, 2)), np.random.default_rng(0))[1] == 1.0


@pytest.mark.parametrize(
    ("chosen", "targets", "others", "shares"),
    [
        (10, 5, 20, (10, 5, 20)),
        (9000, 5000, 90_000, (2500, 1000, 1500)),
        (9000, 0, 100, (4900, 0, 100)),
        (10, 9000, 90_000, (10, 1000, 3990)),
    ],
)
def test_who_gets_the_points(chosen: int, targets: int, others: int, shares: tuple[int, int, int]) -> None:
    assert _shares(chosen, targets, others, 5000) == shares


def test_the_map_shows_every_kind(run: Run) -> None:
    found = landscape(run, 5000)
    assert not isinstance(found, Missing)
    assert [(kind.name, len(kind.points), kind.of) for kind in found.kinds] == [
        ("pool", 3, 3),
        ("target", 3, 3),
        ("chosen", 2, 2),
    ]
    assert found.kinds[2].ids == run.ids and set(found.kinds[1].ids) == {"t1", "t2", "t3"}
    assert found.explained == pytest.approx(1.0)
    few = landscape(run, 4)
    assert not isinstance(few, Missing) and sum(len(kind.points) for kind in few.kinds) == 4
    assert few.kinds[-1].ids == run.ids  # the best by rank first of all


def test_the_table_has_the_reasons_and_the_nearest_others(run: Run, picked: Selection) -> None:
    found = listing(run, 2000)
    assert [(line.rank, line.id) for line in found.chosen] == list(enumerate(picked.ids, start=1))
    assert [line.reason for line in found.chosen] == list(picked.reasons)
    assert [line.gain for line in found.chosen] == picked.gains.tolist()
    whole = picked.resize(5)
    assert [line.id for line in found.rejected] == list(whole.ids[2:]) and found.rejected[0].rank == 3
    by_id = dict(zip("abcde", KERNEL, strict=True))
    for line in (*found.chosen, *found.rejected):
        assert line.influence == pytest.approx(by_id[line.id].mean(), abs=1e-6)
        best = np.argsort(-by_id[line.id], kind="stable")[:2]
        assert [name for name, _ in line.helps] == [f"t{k + 1}" for k in best]
        assert [value for _, value in line.helps] == pytest.approx(by_id[line.id][best], abs=1e-6)
    few = listing(run, 1)
    assert len(few.chosen) == 1 and few.of == 2


def test_the_verdict_of_a_free_influence(run: Run) -> None:
    found = verdict(run, growth(run))
    assert found.sentence.startswith("2 of 5 rows (40.0%) are chosen for the target, by `facility-location`")
    answers = [card.answer for card in found.cards]
    assert answers == ["2 rows", "Exact", "No language-model call", "2 of 2 picks gain"]


def test_the_verdict_weighs_labels_against_every_pair(run: Run) -> None:
    stage = {"seconds": 2.0, "lm_forwards": 0, "lm_backwards": 0}
    costs = {
        "stages": {"embed": stage, "label": stage | {"lm_forwards": 30, "lm_backwards": 10}, "select": stage},
        "total": {"seconds": 61.0},
        "exact": {"lm_forwards": 900, "lm_backwards": 300, "share": 1 / 30, "not_made": 0.0},
    }
    fidelity = {"verdict": "worse", "sentence": "It does not.", "held_out": 5}
    dear = replace(run, costs=costs, fidelity=fidelity)
    cost, trust = verdict(dear, growth(dear)).cards[2], verdict(dear, growth(dear)).cards[1]
    assert cost.answer == "97% saved" and "1 min 1 s in all, labels included" in cost.words
    assert "30 forward and 10 backward language-model calls were made" in cost.words
    assert "900 forward and 300 backward" in cost.words and "3.3% of that" in cost.words
    assert (trust.answer, trust.tone, trust.words) == ("Worse than guessing", "bad", "It does not.")
    spent = spending(dear)
    assert [stage.work for stage in spent.stages] == [0.0, 50.0, 0.0]  # a backward pass counts as two
    assert spent.exact is not None and spent.exact.work == 1500.0
    drawn = {panel.name: panel for panel in panels(dear, growth(dear), 100)}
    assert "50 against 1,500 passes" in drawn["costs"].words and drawn["costs"].chart is not None
    assert drawn["agreement"].chart is None and "no list of held-out labels" in drawn["agreement"].words


def test_what_runs_share(run: Run) -> None:
    def chose(*ids: str) -> Run:
        entries = tuple({"id": one, "position": "abcde".index(one), "gain": 0.0, "reason": ""} for one in ids)
        rows = [next(row for row in load_pool(run.config.pool) if row.id == one) for one in ids]
        return replace(run, entries=entries, chosen=rows)

    found = compare([chose("a", "b", "c"), chose("c", "b"), chose("e", "b")])
    assert found.shared == ((3, 2, 1), (2, 2, 1), (1, 1, 2))
    assert found.jaccard[0] == pytest.approx((1, 2 / 3, 1 / 4)) and found.jaccard[1][2] == pytest.approx(1 / 3)
    assert found.by_all == 1 and found.same_pool
    assert [(one.count, [row[:2] for row in one.rows]) for one in found.alone] == [
        (1, [(1, "a")]),
        (0, []),
        (1, [(1, "e")]),
    ]
    assert found.names == ("run (1)", "run (2)", "run (3)")
    assert not compare([run, replace(run, of=9)]).same_pool


def test_without_its_pool_a_run_still_tells_what_lies_in_its_folder(picked: Selection, tmp_path: Path) -> None:
    (tmp_path / "pool.jsonl").unlink()
    run = open_run(picked.folder)
    assert run.picked is None and run.closed is not None and "pool" in run.closed
    assert [row.id for row in run.chosen] == list(picked.ids)
    for found in (influence_spread(run), length_spread(run), group_shares(run)):
        assert isinstance(found, Missing) and found.why
    grown = growth(run)
    np.testing.assert_allclose(grown.chosen, np.cumsum(picked.gains))
    assert grown.random is None and "could not be opened" in grown.why
    shown = listing(run, 2000)
    assert len(shown.chosen) == 2 and not shown.rejected and "cannot be told" in shown.how
