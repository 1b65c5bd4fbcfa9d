"""Controls are of the right size, the same whatever order a file is in, and made of nothing that is tested on."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nncift.config import SelectConfig
from nncift.data.files import load_pool
from nncift.errors import ConfigError, NnciftError
from nncift.evaluation.comparison import read_test
from nncift.evaluation.controls import make_controls
from nncift.evaluation.evaluate import evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.evaluation.subjects import Named, Subject, read_subjects
from nncift.pipeline import select
from nncift.progress import Silent
from toy_evaluation import POOL, SUBSET, Toy, ToyRun, named, pool_of, read_rows, toy_rows


def controls_of(config: EvaluateConfig, named: Named) -> list[Subject]:
    """The controls, a character counted as a token."""
    return make_controls(
        config,
        named,
        folder=Path(str(config.output)),
        lengths=lambda rows: np.array([len(row.text) for row in rows]),
        reporter=Silent(),
    )


def ids(subject: Subject, draw: int = 0) -> list[str]:
    return [row.id for row in subject.draws[draw]]


def by_control(toy: Toy, *subsets: Path, **more: Any) -> dict[str, list[Subject]]:
    config = toy.config("out", *subsets, **more)
    found: dict[str, list[Subject]] = {}
    for subject in controls_of(config, read_subjects(config)):
        found.setdefault(str(subject.control), []).append(subject)
    return found


def shuffled(toy: Toy, path: Path, name: str) -> Path:
    rows = read_rows(path)
    return toy.write(name, random.Random(7).sample(rows, len(rows)))


def test_random_draws_differ_and_are_of_the_right_size(toy: Toy) -> None:
    small = toy.write("small.jsonl", read_rows(toy.subset)[:3])
    for subject in by_control(toy, toy.subset, small, controls="random", draws=9)["random"]:
        assert len(subject.draws) == 9 and subject.size in (3, SUBSET)
        assert all(len({row.id for row in draw}) == subject.size for draw in subject.draws)
        assert len({draw for draw in subject.draws}) == 9
        assert all([row.id for row in draw] == sorted(row.id for row in draw) for draw in subject.draws)
    drawn = Counter(row.id for draw in by_control(toy, controls="random", draws=400)["random"][0].draws for row in draw)
    assert len(drawn) == POOL  # every row has a chance: 400 · 8 / 31 = 103 on average
    assert max(abs(count - 400 * SUBSET / POOL) for count in drawn.values()) < 4.5 * (400 * 0.26 * 0.74) ** 0.5


def test_more_draws_keep_the_first_and_the_seed_decides(toy: Toy) -> None:
    few, many, other = (
        by_control(toy, controls="random", draws=draws, seed=seed)["random"][0].draws
        for draws, seed in ((3, 0), (5, 0), (3, 1))
    )
    assert many[:3] == few and not set(other) & set(few)


def test_controls_do_not_depend_on_the_order_of_files_or_their_names(toy: Toy) -> None:
    every = {"controls": "initial,random,random-tokens,full,embedding", "target": str(toy.target)}
    one = by_control(toy, **every)
    moved = every | {"pool": str(shuffled(toy, toy.pool, "moved.jsonl"))}
    moved |= {"target": str(shuffled(toy, toy.target, "moved-target.jsonl"))}
    two = by_control(toy, shuffled(toy, toy.subset, "x.jsonl"), **moved)
    assert list(one) == list(two) == ["initial", "random", "random-tokens", "full", "embedding"]
    for control, subjects in one.items():
        for a, b in zip(subjects, two[control], strict=True):
            assert [ids(a, k) for k in range(len(a.draws))] == [ids(b, k) for k in range(len(b.draws))], control


def test_random_tokens_hold_as_much_text_as_the_subset(toy: Toy) -> None:
    """Long rows are chosen, so that as many random rows would hold far less."""
    rows = toy_rows("pool", POOL)
    for k in range(5):
        rows[6 * k]["completion"] += " and more rain" * 12
    pool, long = toy.write("long-pool.jsonl", rows), toy.write("long.jsonl", rows[:25:6])
    found = by_control(toy, long, pool=str(pool), controls="random-tokens", draws=12)["random-tokens"]
    wanted = sum(len(row.text) for row in load_pool(str(long)))
    most = max(len(row.text) for row in load_pool(str(pool)))
    assert [subject.size for subject in found] == [5] and len(found[0].draws) == 12
    held = [sum(len(row.text) for row in draw) for draw in found[0].draws]
    assert max(abs(text - wanted) for text in held) <= most / 2
    assert np.mean([len(draw) for draw in found[0].draws]) > 8


def test_initial_is_nothing_and_full_is_all(toy: Toy) -> None:
    found = by_control(toy, controls="initial,full")
    assert found["initial"][0].draws == ((),) and len(found["full"][0].draws[0]) == POOL
    small = toy.write("small.jsonl", read_rows(toy.subset)[:3])
    several = by_control(toy, toy.subset, small, controls="initial,full,random")
    assert [subject.size for subject in (*several["initial"], *several["full"])] == [0, 0]
    assert [subject.size for subject in several["random"]] == [3, SUBSET]


def planted() -> tuple[np.ndarray, Any, Any]:
    """Six pool rows, two targets. Means by hand: 0.3, 0.9 (one NaN), none, 0.3, -0.2, 0.6."""
    nan = np.nan
    values = [[0.2, 0.4], [nan, 0.9], [nan, nan], [0.5, 0.1], [-0.4, 0.0], [0.6, 0.6]]
    return np.array(values, dtype=np.float32), pool_of(toy_rows("pool", 6)), pool_of(toy_rows("target", 2))


@pytest.mark.parametrize(("size", "wanted"), [(1, [1]), (2, [1, 5]), (3, [0, 1, 5]), (4, [0, 1, 3, 5])])
def test_top_mean_by_hand(toy: Toy, size: int, wanted: list[int]) -> None:
    values, pool, target = planted()
    run = ToyRun(values, target, pool, size)
    subject = Subject("run", None, size, (pool.examples[:size],))
    (found,) = controls_of(toy.config("out", controls="top-mean"), named(pool, subject, target=target, run=run))
    assert (found.name, found.size, found.control) == ("run, top-mean", size, "top-mean")
    assert ids(found) == [pool[k].id for k in wanted]
    assert found.cost == {"flops": 6.0e9, "seconds": 2.0, "cpu_seconds": 1.0, "reused": 0.0}


def test_top_mean_of_a_pointwise_run_and_of_none(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    _, pool, target = planted()
    values = np.array([[0.1], [0.7], [0.3], [0.9], [0.2], [0.0]], dtype=np.float32)
    config, subject = toy.config("out", controls="top-mean"), Subject("run", None, 2, (pool.examples[:2],))
    run = ToyRun(values, target, pool, 2)
    (found,) = controls_of(config, named(pool, subject, run=run))
    assert ids(found) == [pool[1].id, pool[3].id]
    assert controls_of(config, named(pool, subject, run=replace(run, objective="top-mean"))) == []
    assert controls_of(config, named(pool, subject)) == [] and "run folder" in caplog.text


@pytest.fixture
def run(toy: Toy) -> Path:
    """A run folder of the toy."""
    options = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 6}
    return select(SelectConfig.of(options | {"device": "cpu", "output": str(toy.folder / "run")})).folder


def test_a_run_folder_knows_its_pool_and_target(toy: Toy, run: Path) -> None:
    config = replace(toy.config("out", run), pool=None)
    found = read_subjects(config)
    assert [(s.name, s.size, s.control) for s in found.subjects] == [("run", 6, None)]
    assert found.pool.ids == load_pool(str(toy.pool)).ids and found.target is not None
    assert found.target.ids == load_pool(str(toy.target)).ids and list(found.runs) == ["run"]
    chosen = {row["id"] for row in read_rows(run / "subset.jsonl")}
    assert set(ids(found.subjects[0])) == chosen
    cost = found.subjects[0].cost
    assert cost is not None and cost["flops"] == json.loads((run / "costs.json").read_text())["total"]["flops"]


def test_top_mean_is_what_the_objective_of_that_name_chooses(toy: Toy, run: Path) -> None:
    recipe = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 6}
    recipe |= {"objective": "top-mean", "device": "cpu", "output": str(toy.folder / "other")}
    wanted = select(SelectConfig.of(recipe))
    assert ids(by_control(toy, run, controls="top-mean")["top-mean"][0]) == sorted(wanted.ids)


def test_the_embedding_control_selects_for_the_runs_target(toy: Toy, run: Path) -> None:
    options = {"pool": toy.pool, "influence": "embedding", "embedder": toy.encoder, "budget": 6, "device": "cpu"}

    def wanted(target: Path | None, name: str) -> list[str]:
        aimed = options | {"output": str(toy.folder / name)} | ({"target": target} if target else {})
        return sorted(select(SelectConfig.of(aimed)).ids)

    of_run = ids(by_control(toy, run, controls="embedding")["embedding"][0])
    subset = toy.write("six.jsonl", read_rows(toy.subset)[:6])
    for_itself = ids(by_control(toy, subset, controls="embedding")["embedding"][0])
    assert of_run == wanted(toy.target, "aimed") and for_itself == wanted(None, "free") and of_run != for_itself


def test_no_control_reads_a_test_row(toy: Toy, run: Path) -> None:
    every = "initial,random,random-tokens,full,top-mean,embedding"
    one = by_control(toy, run, controls=every)
    other = toy.write("other-test.jsonl", toy_rows("another", 4))
    assert by_control(toy, run, controls=every, test=str(other)) == one
    assert by_control(toy, run, controls=every, test=str(toy.folder / "there is none.jsonl")) == one


def test_two_subsets_of_one_name_are_refused_whatever_their_sizes(toy: Toy) -> None:
    (toy.folder / "there").mkdir()
    twin = toy.write("there/subset.jsonl", read_rows(toy.subset)[:3])
    with pytest.raises(ConfigError, match="'subset'"):
        read_subjects(toy.config("out", toy.subset, twin))
    with pytest.raises(ConfigError, match="'subset'"):
        read_subjects(toy.config("out", toy.subset, toy.subset))
    own = toy.write("full.jsonl", read_rows(toy.subset))
    with pytest.raises(ConfigError, match="'full'"):
        by_control(toy, own, twin, controls="full")
    assert by_control(toy, own, controls="none") == {}
    dotted = [toy.write(f"mix-{share}.jsonl", read_rows(toy.subset)) for share in ("0.05", "0.1")]
    found = read_subjects(toy.config("out", *dotted))
    assert [subject.name for subject in found.subjects] == ["mix-0.05", "mix-0.1"]


def test_dotted_run_folders_keep_their_names(toy: Toy) -> None:
    options = {"pool": toy.pool, "target": toy.target, "influence": "similarity", "embedder": toy.encoder}
    places = [toy.folder / f"run-{share}" for share in ("0.1", "0.2")]
    for place, budget in zip(places, (3, 6), strict=True):
        select(SelectConfig.of(options | {"budget": budget, "device": "cpu", "output": str(place)}))
    found = read_subjects(replace(toy.config("out", *places), pool=None))
    assert [(subject.name, subject.size) for subject in found.subjects] == [("run-0.1", 3), ("run-0.2", 6)]
    assert list(found.runs) == ["run-0.1", "run-0.2"]


def test_a_folder_of_shards_is_a_file_of_chosen_rows(toy: Toy) -> None:
    rows = read_rows(toy.subset)
    (toy.folder / "subset").mkdir(exist_ok=True)
    for number, some in enumerate((rows[:3], rows[3:])):
        toy.write(f"subset/subset-{number:05d}-of-00002.jsonl", some)
    (one,) = read_subjects(toy.config("out", toy.subset)).subjects
    (other,) = read_subjects(toy.config("out", toy.folder / "subset")).subjects
    assert (other.name, other.size, ids(other)) == (one.name, one.size, ids(one))


def test_what_is_missing_is_told(toy: Toy, run: Path) -> None:
    with pytest.raises(ConfigError, match="--pool FILE"):
        read_subjects(replace(toy.config("out"), pool=None))
    with pytest.raises(ConfigError, match="--test FILE"):
        evaluate(replace(toy.config("out"), test=None))
    with pytest.raises(ConfigError, match="no recipe at"):
        read_subjects(toy.config("out", toy.model))
    with pytest.raises(ConfigError, match=r"run folder.*-o DIR"):
        evaluate(toy.config(run))
    with pytest.raises(ConfigError, match="-o DIR"):
        evaluate(replace(toy.config("out"), output=None))
    with pytest.raises(NnciftError, match="there is no subset file"):
        read_subjects(toy.config("out", toy.folder / "subse.jsonl"))
    large = toy.write("large.jsonl", toy_rows("large", POOL + 1))
    with pytest.raises(ConfigError, match=r"32 rows, more than the pool's 31.*--pool"):
        by_control(toy, large)


def test_runs_of_other_pools_need_a_word(toy: Toy, run: Path) -> None:
    other = toy.write("other.jsonl", toy_rows("other", 12))
    options = {"pool": other, "target": toy.target, "influence": "similarity", "embedder": toy.encoder, "budget": 3}
    second = select(SelectConfig.of(options | {"device": "cpu", "output": str(toy.folder / "second")})).folder
    with pytest.raises(ConfigError, match=r"different files as pool.*--pool FILE"):
        read_subjects(replace(toy.config("out", run, second), pool=None))
    assert len(read_subjects(toy.config("out", run, second)).subjects) == 2


def test_a_runs_row_layout_is_kept(toy: Toy) -> None:
    rows = [{"text": f"river {k}", "prompt": "say", "completion": f"rain {k}"} for k in range(9)]
    pool = toy.write("texts.jsonl", rows)
    options = {"pool": pool, "format": "text", "influence": "similarity", "embedder": toy.encoder, "budget": 3}
    place = select(SelectConfig.of(options | {"device": "cpu", "output": str(toy.folder / "texts")})).folder
    found = read_subjects(replace(toy.config("out", place), pool=None))
    assert {row.content_key for row in found.subjects[0].draws[0]} < {row.content_key for row in found.pool}


def test_test_rows_that_could_have_been_learnt_by_heart_are_left_out(
    toy: Toy, caplog: pytest.LogCaptureFixture
) -> None:
    """One stands in the pool under another id, one in a subset that is not of the pool, one twice among the targets."""
    pool, test = read_rows(toy.pool), toy_rows("test", 7)
    leaked, elsewhere = dict(pool[4]) | {"id": "other"}, toy_rows("elsewhere", 3)
    tested = toy.write("leaky.jsonl", [*test, leaked, elsewhere[1], read_rows(toy.target)[2]])
    strange = toy.write("strange.jsonl", elsewhere)
    config = toy.config("out", strange, test=str(tested), target=str(toy.target))
    kept, notes = read_test(config, read_subjects(config))
    assert sorted(kept.ids) == sorted([*(row["id"] for row in test), "target-02"])
    assert notes["leaked"].startswith("2 of 10 test rows") and notes["target"].startswith("1 of 8 test rows")
    assert notes["leaked"] in caplog.messages and notes["target"] in caplog.messages
    with pytest.raises(NnciftError, match="every row of"):
        read_test(replace(config, test=str(toy.pool)), read_subjects(config))


def test_unusable_rows_of_a_subset_are_told(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    lame = toy.write("lame.jsonl", [*read_rows(toy.subset), {"prompt": "no answer", "completion": " "}])
    found = toy.evaluate("out", lame, by="icl", controls="none")
    assert "1 rows of the files of chosen rows cannot be used" in caplog.text
    (reject,) = read_rows(found.folder / "rejected.jsonl")
    assert reject["file"] == str(lame) and found.records[0]["size"] == SUBSET
