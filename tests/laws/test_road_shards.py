"""A subset in shards is the subset: of the same choice, read alike, and never half there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nncift
from nncift.data.files import load_pool
from nncift.data.shards import lines_in
from nncift.errors import ConfigError, DataError, RunError
from nncift.handing.finished import Finished
from nncift.pipeline import reopen
from nncift.report.reading import open_run
from nncift.selection import Selection
from toy_road import Corpus, cli_environment, make_corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=40, beta=16)


def choose(corpus: Corpus, folder: Path, pool: Path | None = None, **options: Any) -> Selection:
    told = corpus.options(influence="similarity", budget=12, output=str(folder), threads=1) | options
    return nncift.select(str(pool or corpus.pool), **told)


def subsets(folder: Path) -> list[str]:
    """What a run folder has of a subset, all files by their names."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0].startswith("subset")
    )


def rankings(folder: Path) -> list[str]:
    """What a run folder has of a ranking."""
    found = (path for path in folder.rglob("selection*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def joined(folder: Path, names: list[str]) -> bytes:
    return b"".join((folder / name).read_bytes() for name in names)


def rows(folder: Path) -> bytes:
    """The subset."""
    return joined(folder, [name for name in subsets(folder) if "phase" not in name])


def lines(folder: Path) -> bytes:
    """The subset, then its ranking."""
    return rows(folder) + joined(folder, rankings(folder))


def names(stem: str, count: int, kind: str = "jsonl") -> list[str]:
    return [f"{stem}/{stem}-{k:05d}-of-{count:05d}.{kind}" for k in range(count)]


@pytest.mark.parametrize(("size", "count"), [(1, 12), (5, 3), (6, 2), (12, 1), (100, 1)])
def test_shards_hold_the_rows_of_the_file_in_its_order(corpus: Corpus, tmp_path: Path, size: int, count: int) -> None:
    whole = choose(corpus, tmp_path / "whole")
    picked = choose(corpus, tmp_path / "run", shard_rows=size)
    assert subsets(whole.folder) == ["subset.jsonl"] and subsets(picked.folder) == names("subset", count)
    assert rankings(whole.folder) == ["selection.jsonl"] and rankings(picked.folder) == names("selection", count)
    assert lines(picked.folder) == lines(whole.folder)
    entries = [json.loads(line) for line in lines_in(picked.folder, "selection")]
    assert [(one["rank"], one["id"]) for one in entries] == list(enumerate(whole.ids, start=1))
    assert [(one["gain"], one["reason"]) for one in entries] == list(zip(whole.gains, whole.reasons, strict=True))
    assert picked.subset == tmp_path / "run" / "subset" and picked.ids == whole.ids
    assert json.loads((picked.folder / "done.json").read_text())["subset"] == "subset"


def test_parquet_shards(corpus: Corpus, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in corpus.pool.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pool.parquet")
    options = {"pool": tmp_path / "pool.parquet", "embedder": corpus.options()["embedder"]}
    whole = choose(corpus, tmp_path / "whole", **options)
    picked = choose(corpus, tmp_path / "run", **options, shard_rows=5)
    assert subsets(picked.folder) == names("subset", 3, "parquet")
    found = [pq.read_table(picked.folder / name) for name in subsets(picked.folder)]
    assert [len(table) for table in found] == [5, 5, 2]
    assert pa.concat_tables(found).equals(pq.read_table(whole.folder / "subset.parquet"))


def test_phases_are_in_shards_too(corpus: Corpus, tmp_path: Path) -> None:
    whole = choose(corpus, tmp_path / "whole", phases=2)
    picked = choose(corpus, tmp_path / "run", phases=2, shard_rows=4)
    expected = [*names("subset", 3), *names("subset.phase1", 2), *names("subset.phase2", 2)]
    assert subsets(picked.folder) == sorted(expected)
    for stem in ("subset.phase1", "subset.phase2"):
        shards = [(picked.folder / name).read_bytes() for name in names(stem, 2)]
        assert b"".join(shards) == (whole.folder / f"{stem}.jsonl").read_bytes()
    told = [[json.loads(line)["phase"] for line in lines_in(run.folder, "selection")] for run in (whole, picked)]
    assert told[0] == told[1] == whole.phases == reopen(picked.folder).phases
    again = choose(corpus, tmp_path / "run", shard_rows=4)  # without phases
    assert subsets(again.folder) == names("subset", 3)


def test_another_layout_writes_and_chooses_nothing_again(corpus: Corpus, tmp_path: Path) -> None:
    place = tmp_path / "run"
    choose(corpus, place)
    before, written = json.loads((place / "stages.json").read_text()), lines(place)
    layouts = [(5, names("subset", 3)), (3, names("subset", 4)), (0, ["subset.jsonl"]), (0, ["subset.jsonl"])]
    for size, expected in layouts:
        picked = choose(corpus, place, shard_rows=size)
        after = json.loads((place / "stages.json").read_text())
        assert {name: one for name, one in after.items() if name != "write"} == {
            name: one for name, one in before.items() if name != "write"
        }
        assert sorted(subsets(place) + rankings(place)) == sorted(after["write"]["files"])
        assert subsets(place) == expected and lines(place) == written
        assert rankings(place) == [name.replace("subset", "selection") for name in expected]
        assert not (size and (place / "subset.jsonl").exists()) and (size or not (place / "subset").exists())
        assert reopen(place).ids == picked.ids and reopen(place).subset == picked.subset


def test_shards_are_a_pool(corpus: Corpus, tmp_path: Path) -> None:
    whole, picked = choose(corpus, tmp_path / "whole"), choose(corpus, tmp_path / "run", shard_rows=5)
    assert load_pool(picked.subset).ids == load_pool(whole.subset).ids == picked.ids
    told = {"influence": "random", "budget": 5, "embedder": None, "target": None}
    one, other = (
        choose(corpus, tmp_path / f"again-{run.folder.name}", pool=run.subset, shard_rows=2, **told)
        for run in (whole, picked)
    )
    assert one.ids == other.ids and rows(one.folder) == rows(other.folder)
    assert len(subsets(other.folder)) == 3
    with pytest.raises(DataError, match="the folder subset: name that"):
        load_pool(picked.folder)


def test_everything_that_reads_a_run_reads_shards(corpus: Corpus, tmp_path: Path) -> None:
    picked = choose(corpus, tmp_path / "run", shard_rows=5)
    assert Finished.at(picked.folder).rows().ids == picked.ids
    corpus_pool = picked.folder.parent / "moved.jsonl"
    corpus.pool.rename(corpus_pool)  # without its pool, a report reads the rows of the folder
    try:
        run = open_run(picked.folder)
    finally:
        corpus_pool.rename(corpus.pool)
    assert run.picked is None and tuple(row.id for row in run.chosen) == picked.ids


@pytest.mark.parametrize("stem", ["subset", "selection"])
@pytest.mark.parametrize("harm", ["changed", "gone", "more"])
def test_a_shard_that_is_not_what_it_was(corpus: Corpus, tmp_path: Path, harm: str, stem: str) -> None:
    picked = choose(corpus, tmp_path / "run", shard_rows=5)
    before = lines(picked.folder)
    selected = json.loads((picked.folder / "stages.json").read_text())["select"]
    shard = picked.folder / stem / f"{stem}-00001-of-00003.jsonl"
    if harm == "changed":
        shard.write_bytes(shard.read_bytes()[:-2])
    elif harm == "gone":
        shard.unlink()
    else:  # of another layout, copied there
        (shard.parent / f"{stem}-00003-of-00004.jsonl").write_bytes(shard.read_bytes())
    if stem == "subset":
        with pytest.raises(RunError, match="missing or not what it was"):
            Finished.at(picked.folder)
    else:
        with pytest.raises(RunError, match="run/selection is missing or damaged"):
            open_run(picked.folder)
    if harm != "more":  # a run does not look for what it has not written
        choose(corpus, tmp_path / "run", shard_rows=5)
        assert lines(picked.folder) == before
    assert json.loads((picked.folder / "stages.json").read_text())["select"] == selected


def test_a_folder_of_an_older_version_is_handed_over_and_chosen_anew(corpus: Corpus, tmp_path: Path) -> None:
    """It keeps its ranking in `selection.jsonl` alone, in the record of `select` with the subset; its embeddings stay."""
    picked = choose(corpus, tmp_path / "run")
    path = picked.folder / "stages.json"
    stages = json.loads(path.read_text())
    stages["select"] |= {"files": stages.pop("write")["files"], "key": "of older code"}
    for one in stages.values():
        one.pop("sha256", None)
    path.write_text(json.dumps(stages))
    (picked.folder / "picks.npz").unlink()
    assert Finished.at(picked.folder).rows().ids == picked.ids
    with pytest.raises(RunError, match=r"not what they were when it finished\. Do it again"):
        reopen(picked.folder)
    again = choose(corpus, tmp_path / "run", shard_rows=5)
    assert subsets(again.folder) == names("subset", 3) and reopen(again.folder).ids == picked.ids
    embedded = json.loads(path.read_text())["embed"]
    assert {name: embedded[name] for name in stages["embed"]} == stages["embed"]


@pytest.mark.parametrize("wrong", [-1, -300_000])
def test_a_number_of_rows_that_is_none(corpus: Corpus, tmp_path: Path, wrong: int) -> None:
    with pytest.raises(ConfigError, match=rf"--shard-rows is {wrong}; it must be at least 0"):
        choose(corpus, tmp_path / "run", shard_rows=wrong)
    assert not (tmp_path / "run").exists()


KILLS = '''
import json, os, shutil, sys
from contextlib import closing
from pathlib import Path
import numpy as np
from benchmarks.soak.hooks import Fault, Moments
from nncift.data.files import load_pool
from nncift.pipeline.writing import remove_others, write_depends, write_stage
from nncift.run import RunFolder, StageRecord
from nncift.selection import Picks

place = Path(sys.argv[1])
(place / "pool.jsonl").write_text("".join(json.dumps({"text": f"row {k}"}) + "\\n" for k in range(20)))
pool = load_pool(place / "pool.jsonl")
order = np.random.default_rng(1).permutation(20)[:11]
picks = Picks(order, np.zeros(11), ("",) * 11, 0, "")
run, selected = place / "run", StageRecord("key", {}, {}, {}, {})

def write(rows):
    with closing(RunFolder(run)) as folder:
        record = folder.stage("write", write_depends(selected, rows), write_stage(folder, pool, picks, rows))
        remove_others(folder, record.files)

def there():
    written = [p for p in run.rglob("*") if p.is_file() and p.parts[-1].startswith(("subset", "selection"))]
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in written}

def visible():
    """By layout: of what does not say of itself that it is temporary."""
    found = {}
    for name, body in there().items():
        if ".part" not in name:
            found.setdefault(Path(name).parts[0], {})[name] = body
    return found

def of(name, files):
    return {path: body for path, body in files.items() if Path(path).parts[0] == name}

def fresh(rows):
    shutil.rmtree(run, ignore_errors=True)
    if rows is not None:
        write(rows)
    return there()

whole = {rows: fresh(rows) for rows in (0, 3, 5, 11)}
assert len(whole[3]) == 8 and len(whole[5]) == 6 and len(whole[11]) == 2
tried = 0
for before, after in ((None, 3), (0, 3), (3, 5), (3, 0), (5, 11), (None, 0)):
    at = 0
    while True:
        fresh(before)
        child = os.fork()
        if child == 0:
            Moments(Fault(at)).install()
            write(after)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            break
        assert code == -9, code
        for name, layout in visible().items():
            assert layout in (of(name, one) for one in whole.values()), (before, after, at, sorted(layout))
        again = after if at % 2 or before is None else before  # the same command, or the one before it
        write(again)
        assert there() == whole[again], (before, after, at, sorted(there()))
        assert not list(run.rglob("*.part")) and {p.name for p in run.iterdir()} <= {
            ".nncift.lock", "stages.json", "subset", "subset.jsonl", "selection", "selection.jsonl"}, list(run.iterdir())
        at, tried = at + 1, tried + 1
print(tried)
'''


def test_a_kill_at_any_change_of_the_disk_leaves_no_half_of_a_layout(tmp_path: Path) -> None:
    environment = cli_environment(ROOT, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", KILLS, str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_the_same_picks_whatever_the_numbers_of_rows(corpus: Corpus, tmp_path: Path) -> None:
    """Neither labels nor estimator nor choice know of shards: two fresh runs differ in their last stage alone."""
    stages = []
    for size in (0, 7):
        picked = choose(corpus, tmp_path / f"run-{size}", shard_rows=size)
        stages.append(json.loads((picked.folder / "stages.json").read_text()))
    first, second = ({name: one["key"] for name, one in told.items()} for told in stages)
    assert first.keys() == second.keys() and {name for name in first if first[name] != second[name]} == {"write"}
    assert np.array_equal(
        np.load(tmp_path / "run-0/embeddings/rows.npy"), np.load(tmp_path / "run-7/embeddings/rows.npy")
    )
