"""The harness of `make bench` at tiny sizes: sides agree, unequal answers are refused, goals are judged as they are said."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nncift.errors import MissingExtraError

ROOT = Path(__file__).parents[3]
PEERS = ("submodlib", "apricot")
NAMES = ("fill", "facility", "conditional", "matrix-free", "means")


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are no part of the package: they are found from the root of the checkout."""
    monkeypatch.syspath_prepend(str(ROOT))


def part(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.selection.{name}")


def tiny(name: str, folder: Path) -> tuple[Any, Any]:
    """A workload and its inputs at the size of tests."""
    workload = part("workloads").load(name)
    data = part("workload").Data(folder)
    data.write(workload.prepare(workload.tiny))
    return workload, data


@pytest.mark.parametrize("name", NAMES)
def test_our_own_sides_agree_and_a_wrong_one_is_refused(name: str, tmp_path: Path) -> None:
    """Peers warn when they are imported: they come in a process of their own."""
    workload, data = tiny(name, tmp_path)
    found = {key: side.open(data, workload.tiny, 1)() for key, side in workload.sides.items() if key not in PEERS}
    ours = found["ours"]
    if name in ("facility", "conditional"):  # another order is as good; other picks are not
        found["another"] = replace(ours, values=ours.values[::-1].copy())
        wrong = np.setdiff1d(np.arange(workload.tiny["n"]), ours.values)[: len(ours.values)]
    else:
        wrong = ours.values[::-1].copy() if name == "matrix-free" else ours.values + 0.5
    assert len(found) > 1
    assert workload.agree(data, workload.tiny, found)
    with pytest.raises(AssertionError):
        workload.agree(data, workload.tiny, {**found, "ours": replace(ours, values=wrong)})


@pytest.mark.parametrize("name", ["facility", "conditional"])
def test_picks_are_worth_what_the_peer_says(name: str, tmp_path: Path) -> None:
    if find_spec("submodlib") is None or find_spec("apricot") is None:
        pytest.skip('the peers are not installed: pip install "nncift[peers]"')
    tiny(name, tmp_path)
    code = (
        "import json, sys; from pathlib import Path; from benchmarks.selection.workload import Data\n"
        "from benchmarks.selection.workloads import load\n"
        "w, d = load(sys.argv[1]), Data(Path(sys.argv[2]))\n"
        "a = {name: side.open(d, w.tiny, 1)() for name, side in w.sides.items()}\n"
        "print(w.agree(d, w.tiny, a)); print(json.dumps({name: x.total for name, x in a.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, name, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    totals = json.loads(done.stdout.splitlines()[-1])
    assert len(totals) > 1 and totals["ours"] > 0
    assert np.allclose(list(totals.values()), totals["ours"], rtol=1e-5)


def test_what_a_peer_is_timed_on_is_its_share_of_the_work() -> None:
    fill, means = part("fill"), part("means")
    size = {"n": 2000, "d": 1024}
    assert fill.FILL.sides["loop"].share(size) == 2000 / 4_000_000
    assert fill.FILL.sides["ours"].share(size) == 1.0
    assert means.MEANS.sides["pairs"].share({"n": 100_000}) == 0.02


def line(row: Any, found: float | None, cpu: float | None = None) -> Any:
    return part("measuring").Line(
        row, f"of {row.name}", "a peer", found, cpu, ours=0.5, theirs=10.0, scaled=0.25, says="equal", roof=0.25,
        why="some arithmetic",
    )  # fmt: skip


def test_goals_are_reached_from_the_right_side_and_the_check_asks_for_half() -> None:
    Row = part("rows").Row
    speed, limit = Row("a", "fill", "loop", "speed", 30.0), Row("b", "fill", None, "seconds", 60.0)
    assert speed.reached(45.0) == 1.5 and limit.reached(45.0) == pytest.approx(60 / 45)
    assert line(speed, 10.0, 16.0).reached == pytest.approx(1 / 3)
    assert line(speed, 10.0, 16.0).reached_of_check == pytest.approx(16 / 15)  # by CPU time, of half the goal
    assert line(limit, 10.0, 121.0).reached_of_check == pytest.approx(120 / 121)
    assert line(Row("c", "fill", "loop", "memory", 12.0), 5.0).reached_of_check == pytest.approx(5 / 6)
    assert line(Row("d", "fill", "loop", "memory", 12.0), None).reached_of_check is None


def test_the_check_prints_the_worst_last_and_fails_only_below_half(capsys: pytest.CaptureFixture[str]) -> None:
    Row, main = part("rows").Row, part("__main__")
    rows = [Row(name, "fill", "loop", "speed", 30.0) for name in ("good", "bad", "fair")]
    lines = [line(row, 99.0, cpu) for row, cpu in zip(rows, (60.0, 3.0, 16.0), strict=True)]
    assert main.checked(lines) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [text.split()[1] for text in printed] == ["good:", "fair:", "bad:"] and printed[-1].startswith("FAILED")
    assert main.checked([lines[0], lines[2]]) == 0


def test_the_page_shows_goal_beside_measured_and_explains_what_was_missed() -> None:
    Row, table = part("rows").Row, part("table")
    lines = [line(Row("a", "fill", "loop", "speed", 30.0), 20.0, 25.0)]
    row = table.markdown(lines)[-1]
    assert "| 30× | 20× | 0.67 | 25× | 500 ms | 10 s* | 50% |" in row
    text = "\n".join(table.remarks(lines, {"operations": 1e9, "bytes": 1e9}))
    assert "Some arithmetic: at least 250 ms" in text and "50% of the roof" in text


def test_memory_at_the_peak_is_seen_and_returned_memory_is_not_hidden() -> None:
    peak = part("memory").peak_over_baseline
    kept: list[np.ndarray] = []
    found = peak(lambda: kept.append(np.ones(1 << 23)[:1].copy()))
    if found is None:
        pytest.skip("this system does not say how much memory a process took")
    assert 60e6 < found < 90e6 and len(kept) == 1


def test_a_missing_peer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = part("peers")
    monkeypatch.setattr(peers, "find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"submodlib-py.*nncift\[peers\]"):
        peers.refuse_missing(["submodlib"])


def test_every_route_chooses_its_share_and_the_computed_ones_pick_what_the_stored_one_picks() -> None:
    routes, data = part("routes"), part("data")
    rows = data.embeddings(150, routes.DIMENSION, "pool")
    network = data.likeness_network(routes.DIMENSION)
    sides = data.projections(network, pool=rows, target=rows)
    whole = data.kernel(sides["pool"], sides["target"], network["second"], network["second_bias"])
    picked = {route.name: routes.choose(whole, route, 150) for route in routes.ROUTES}
    assert all(len(set(found.order.tolist())) == 15 for found in picked.values())
    assert picked["stored, lazy"].order.tolist() == picked["computed, lazy"].order.tolist()


def test_a_route_that_takes_too_long_or_too_much_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Mapping[str, Any] = vars(importlib.import_module("benchmarks.routes"))
    ran: list[int] = []

    def child(task: dict[str, int]) -> dict[str, float]:
        ran.append(task["n"])
        return {"seconds": 40.0, "peak": 1e6, "value": 2.0, "random": 1.0}

    monkeypatch.setitem(module, "_child", child)  # type: ignore[arg-type]
    found = module["measured"]([1_000, 10_000], 100.0)
    assert set(ran) == {1_000}
    assert {round(of[10_000]["expected"]) for of in found.values()} == {4_000, 400}  # by the square, and by n
    text = module["page"]([1_000, 10_000], found, 1.0)
    assert "(4,000 s)" in text and "| 1,000 | 40 s" in text


@pytest.mark.parametrize("threads", [1])
def test_a_side_runs_in_a_process_of_its_own(threads: int, tmp_path: Path) -> None:
    bench = part("running").Bench(tmp_path, threads, 2, tiny=True)
    found = bench.time("means", "pairs")
    assert found["repeats"] == 2 and found["whole_wall"] == found["wall"] > 0
    assert "relative error" in bench.agreement("means", {"ours", "pairs"})
