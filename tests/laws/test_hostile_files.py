"""Laws of bad input: every hostile file is rows with reasons or one clear error; nothing hangs, and no good row is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import nncift
from hostile import LINES, ODD_BUT_SOUND, Rows, row_cases
from hostile_values import ANSWERS, ARRAYS, DAMAGES, MATRICES, POOL, RECIPES, TARGETS, header, npz, special_files
from nncift.data import files
from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.data.write import to_json, write_rejected, write_rows
from nncift.disk import sealed, unsealed
from nncift.embed.precomputed import Precomputed
from nncift.errors import NnciftError
from nncift.evaluation.grades import GradeBook
from nncift.evaluation.judge_reply import Fault, read_reply
from nncift.experiment.recipe import load_recipe
from nncift.handing.finished import Finished
from nncift.influence.recorded import Recorded
from nncift.pipeline import reopen
from nncift.pipeline.donor import Donor
from nncift.pipeline.reopening import reopen_estimator
from nncift.pipeline.reuse import learnt_rows
from nncift.plain import Unsound, parse_yaml
from nncift.recipe import read_recipe
from nncift.rehearsal.matrix import named_rows, read_matrix
from nncift.report.reading import open_run
from nncift.run import file_hash
from toy_road import SOURCE, make_corpus, write_influences

SECONDS = 20
"""No case takes a tenth of it alone; the processors are shared."""
LONGEST = 2000
"""Characters of a message beside the name of the file."""

CASES = list(row_cases())


class Hang(BaseException):
    """A case took too long; no handler on the way takes it for an error of its own."""


@contextmanager
def watched() -> Iterator[None]:
    """Ends what hangs, also in a system call such as the opening of a pipe."""

    def stop(*_: object) -> None:
        raise Hang(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refused(read: Callable[[], object], name: str) -> str:
    """The one clear error with which something is refused: it names the file, and is of a length that can be read."""
    with watched(), pytest.raises(NnciftError) as caught:
        read()
    said = str(caught.value)
    assert (name in said or "of the matrix" in said) and len(said) < LONGEST + 2 * len(name)
    return said


def test_the_corpus_is_as_large_as_is_said() -> None:
    others = 2 * len(MATRICES) + len(ARRAYS) + 2 * len(RECIPES) + len(ANSWERS)
    assert len(CASES) >= 250 and others >= 250
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("case", "large"),
    [(case, files.LARGE) for case in CASES] + [(case, -1) for case in CASES if case.good is not None],
    ids=lambda one: ascii(one.name)[1:40] if isinstance(one, Rows) else "held" if one > 0 else "stored",
)
def test_a_hostile_file_of_rows(case: Rows, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", large)
    path = tmp_path / case.name
    case.write(path)
    if case.good is None:
        refused(lambda: load_pool(path), case.name)
        return
    with watched():
        pool = load_pool(path)
        assert tuple(row.response for row in pool) == case.good
        assert all(bad.reason and bad.line > 0 and len(bad.reason) < LONGEST for bad in pool.rejected)
        write_rejected(pool.rejected, tmp_path / "rejected")
        write_rows(pool, range(len(pool)), tmp_path / f"subset{path.suffix}")
        again = load_pool(tmp_path / f"subset{path.suffix}", layout=pool.layout)
    assert [(row.id, row.turns) for row in again] == [(row.id, row.turns) for row in pool] and not again.rejected
    assert len(set(pool.ids)) == len(pool)


def context() -> Any:
    pool = load_pool([{"text": f"row {name}", "id": name} for name in POOL])
    targets = load_pool([{"text": f"target {name}", "id": name} for name in TARGETS])
    asked = {"asked_pool": np.arange(len(POOL)), "asked_targets": np.arange(len(TARGETS))}
    return SimpleNamespace(pool=pool.examples, targets=targets.examples, files=(pool, targets), **asked)


def influences(path: Path) -> object:
    """All recorded influences of three rows on two targets."""
    i, j = np.divmod(np.arange(6), 3)
    told = context()
    return Recorded(str(path)).start(told).label(i, j, {}, on_progress=lambda done: None)


def matrix(path: Path) -> object:
    """The same as `nncift fidelity` reads them."""
    found, (pool, targets) = read_matrix(path), context().files
    return named_rows(found.pool_ids, pool, "pool"), named_rows(found.target_ids, targets, "target")


def vectors(path: Path) -> object:
    """The vectors of three rows."""
    return Precomputed(str(path)).rows(context().files[0])


BINARY = [
    *((read, f"{name}.npz", data) for read in (influences, matrix) for name, data in MATRICES.items()),
    *((vectors, f"{name}.npy", data) for name, data in ARRAYS.items()),
    *((read_recipe, f"{name}.yaml", data) for name, data in RECIPES.items()),
    *((lambda path: load_recipe(str(path)), f"{name}.yml", data) for name, data in RECIPES.items()),
]
SMALLER = {"fewer-ids.npz"}  # a matrix may be of some rows


@pytest.mark.parametrize(("read", "name", "data"), BINARY, ids=[f"{k}-{case[1]}" for k, case in enumerate(BINARY)])
def test_a_hostile_file_of_values(read: Callable[[Path], object], name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    if read is matrix and name in SMALLER:
        read(tmp_path / name)
        return
    refused(lambda: read(tmp_path / name), name)


@pytest.mark.parametrize(
    "read", [influences, matrix, vectors, read_recipe, lambda path: load_recipe(str(path)), load_pool]
)
@pytest.mark.parametrize("name", [name for name, _ in special_files()])
def test_what_is_no_file(read: Callable[[Path], object], name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{'.npy' if read is vectors else '.jsonl'}"
    dict(special_files())[name](path)
    refused(lambda: read(path), path.name)


def test_names_that_no_file_can_have() -> None:
    for name in ("x" * 5000, "a\0b", "\ud800"):
        for read in (load_recipe, lambda name: read_recipe(Path(name)), load_pool):
            with watched(), pytest.raises(NnciftError):
                read(name)


def test_sound_files_are_read() -> None:
    """The corpus says something only if the same readers take what is sound."""
    folder = Path(str(__file__)).parents[2] / "src" / "nncift" / "experiment" / "recipes"
    assert all(load_recipe(str(path)).steps for path in folder.glob("*.yaml"))
    assert parse_yaml("a: &x [1, 2e3]\nb: *x\nc: {<<: {d: 1}}") == {"a": [1, "2e3"], "b": [1, "2e3"], "c": {"d": 1}}


def test_sound_arrays_are_read(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    ids = {"pool_ids": np.array(POOL), "target_ids": np.array(TARGETS)}
    i, j = np.divmod(np.arange(6), 3)
    for name, arrays in {"dense": {"values": values}, "pairs": {"i": i, "j": j, "y": np.arange(6.0)}}.items():
        (tmp_path / f"{name}.npz").write_bytes(npz(**ids, **arrays, other=header("(" * 5000)))
        assert np.array_equal(influences(tmp_path / f"{name}.npz"), np.arange(6))
        assert np.array_equal(read_matrix(tmp_path / f"{name}.npz").values, values)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer_of_a_judge(name: str) -> None:
    with watched():
        assert isinstance(read_reply(ANSWERS[name]), Fault)


def test_hostile_lines_of_a_book_of_grades(tmp_path: Path) -> None:
    good = [json.dumps({"answer": f"key {k}", "grade": k}) for k in (1, 4)]
    bad = [
        "[" * 100_000,
        '{"answer": [], "grade": 1}',
        '{"answer": "a", "grade": NaN}',
        '{"answer": "a", "grade": 1e999}',
    ]
    bad += [
        '{"answer": "a", "grade": ' + "9" * 400 + "}",
        '{"answer": "a", "grade": "x"}',
        "\0",
        "caf\xe9",
        '"text"',
        "17",
    ]
    (tmp_path / "grades").write_bytes("\n".join([good[0], *bad, good[1]]).encode("latin-1"))
    book = GradeBook(tmp_path / "grades")
    assert (book.get("key 1"), book.get("key 4"), book.get("a")) == (1, 4, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run folder with an estimator."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNCIFT_CACHE", str(folder / "cache"))
        name = f"{write_influences(folder, patch)}:Planted"
        corpus = make_corpus(folder / "corpus", n=20, m=5, beta=8)
        options = corpus.options(output=str(folder / "run"), influence=name, budget=4, labels="40%")
        nncift.select(corpus.pool, **options)
        yield folder / "run"


def opened(place: Path) -> None:
    """All that `nncift evaluate RUN` and Python's `reopen` read."""
    picked = reopen(place)
    assert picked.rows and picked.summary() and picked.resize(6) and picked.influences()


def told(place: Path) -> None:
    """What `nncift report` reads."""
    run = open_run(place)
    assert run.means and len(run.order) == len(run.gains) == len(run.chosen)


def handed(place: Path) -> None:
    """What `nncift export` reads."""
    run = Finished.at(place)
    assert run.rows() and run.subset


def taken_over(place: Path) -> None:
    """What `--estimator RUN` reads."""
    donor = Donor.at(place)
    assert donor.options and donor.depends and learnt_rows(donor)


VERBS = (opened, told, handed, reopen_estimator, taken_over)
KINDS = {
    "json": ("costs.json", "done.json", "environment.json", "fidelity.json", "stages.json", "recipe.yaml"),
    "lines": ("selection.jsonl", "subset.jsonl"),
    "arrays": ("labels.npz", "picks.npz", "embeddings/rows.npy", "embeddings/columns.npy", "estimator.safetensors"),
}
BYTES = ("empty", "cut", "null", "flipped", "renamed", "outside")
"""Damages that are worth trying of files of rows and arrays, which are of no use but whole."""


@pytest.mark.parametrize("name", [name for names in KINDS.values() for name in names])
def test_a_hostile_run_folder(name: str, finished: Path, tmp_path: Path) -> None:
    """Every damage, by itself and with checksums that agree with it, and the verbs in turn."""
    sound = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    outside = finished.parent / "outside.jsonl"
    outside.write_bytes(b'{"text": "not of this folder"}\n')
    try:
        kinds = [kind for kind in DAMAGES if name.endswith(("json", "yaml")) or kind in BYTES]
        for number, (kind, harm) in enumerate((kind, DAMAGES[kind]) for kind in kinds):
            (finished / name).write_bytes(harm(sound[finished / name]))
            for agreeing in (False, True):
                if agreeing and not _agree(finished, name):
                    continue
                verb = VERBS[(number + agreeing) % len(VERBS)]
                try:
                    with watched():
                        verb(finished)
                except NnciftError as error:
                    assert len(str(error)) < LONGEST, (verb.__name__, kind)
                (finished / "stages.json").write_bytes(
                    harm(sound[finished / name]) if name == "stages.json" else sound[finished / "stages.json"]
                )
            (finished / name).write_bytes(sound[finished / name])
    finally:
        for path, data in sound.items():
            path.write_bytes(data)
    assert outside.exists()
    for verb in VERBS:
        verb(finished)


def _agree(place: Path, name: str) -> bool:
    """Writes the checksum of a file into the record of the stage that made it; False where there is none."""
    stages = json.loads((place / "stages.json").read_bytes()) if name != "stages.json" else {}
    owners = [stage for stage in stages.values() if name in stage["files"]]
    for stage in owners:
        stage["files"][name] = file_hash(place / name)
    agreed = {
        name: sealed({key: value for key, value in stage.items() if key != "sha256"}) for name, stage in stages.items()
    }
    if owners:
        (place / "stages.json").write_text(json.dumps(agreed))
    return bool(owners)


def test_a_run_folder_names_no_file_outside_it(finished: Path, tmp_path: Path) -> None:
    stages, mine = finished / "stages.json", tmp_path / "mine"
    mine.write_text("mine")
    before = stages.read_bytes()
    body = json.loads(before)
    for name in (str(mine), "../../mine", "a/../../../mine"):
        stages.write_text(
            json.dumps(body | {"other": sealed({**unsealed(json.dumps(body["select"])), "files": {name: "0"}})})
        )
        assert "outside" in _warnings(finished)
    stages.write_bytes(before)
    assert mine.read_text() == "mine"


def _warnings(place: Path) -> str:
    from nncift.run import read_records

    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("nncift.run.log.warning", lambda text, *values: said.append(text % values))
        assert read_records(place) == {}
    return " ".join(said)


LAW = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SOUND = b'{"instruction": "ask", "output": "say"}'
SEEDS = st.sampled_from([SOUND, *(line for line in (*LINES.values(), *ODD_BUT_SOUND.values()) if len(line) < 400)])


@st.composite
def mutated(draw: st.DrawFn, seeds: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with some cut out, doubled, flipped or put in."""
    data = bytearray(draw(seeds))
    for _ in range(draw(st.integers(0, 4))):
        at, end = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
        new = draw(
            st.sampled_from([b"", b"\0", b'"', b"{", b"]", b",", b"\\u", b"\xff", b"\r", b"9" * 30])
            | st.binary(max_size=4)
        )
        data[at:end] = data[at:end] * 2 if draw(st.booleans()) else new
    return bytes(data)


@LAW
@given(
    lines=st.lists(mutated(SEEDS), max_size=6),
    stored=st.booleans(),
    suffix=st.sampled_from([".jsonl", ".csv", ".json"]),
)
@example(lines=[b'{"a":"\r"'], stored=True, suffix=".jsonl")
def test_mutated_rows(tmp_path: Path, lines: list[bytes], stored: bool, suffix: str) -> None:
    """Any bytes: an error that names the file, or rows and reasons that can be written; of JSON lines no good one is lost."""
    path = tmp_path / f"pool{suffix}"
    lines = [line.replace(b"\n", b" ") for line in lines]
    opening = {".csv": b"instruction,output\nask,say\n", ".json": b"[" + SOUND + b",", ".jsonl": SOUND + b"\n"}[suffix]
    path.write_bytes(opening + b"\n".join(lines) + b"\n" + (SOUND + b"]" if suffix == ".json" else SOUND))
    with pytest.MonkeyPatch.context() as patch, watched():
        patch.setattr(files, "LARGE", -1 if stored else files.LARGE)
        try:
            pool = load_pool(path, layout="alpaca")
        except NnciftError as error:
            assert suffix == ".json" and path.name in str(error)
            return
        write_rejected(pool.rejected, tmp_path / "rejected")
        write_rows(pool, range(len(pool)), tmp_path / "subset")
    if suffix == ".jsonl":
        assert pool[0].line == 1 and pool[len(pool) - 1].line == path.read_bytes().count(b"\n") + 1
    assert pool[0].response == "say"


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@LAW
@given(
    rows=st.lists(
        any_value | st.dictionaries(st.sampled_from(["id", "messages", "text", "task"]), any_value), max_size=5
    )
)
def test_any_rows_in_memory(rows: list[Any]) -> None:
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    circle: dict[str, Any] = {"text": "say"}
    circle["x"] = [circle, circle]
    pool: Pool = load_pool(
        [{"text": "first"}, *rows, {"text": "deep", "x": deep}, circle, {"text": "last"}], layout="text"
    )
    assert (pool[0].response, pool[len(pool) - 1].response) == ("first", "last")
    assert (
        len(pool) + len(pool.rejected) == len(rows) + 4
        and pool.reasons["nested too deeply (more than 100 levels)"] >= 2
    )
    assert to_json({"text": "deep", "x": deep}) and to_json(circle)


YAML_SEEDS = st.sampled_from([data for data in RECIPES.values() if len(data) < 3000] or [b""])


@LAW
@given(data=mutated(YAML_SEEDS))
def test_mutated_recipes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(data)
    for read in (read_recipe, lambda place: load_recipe(str(place))):
        with watched():
            try:
                read(path)
            except NnciftError as error:
                assert path.name in str(error)


@LAW
@given(text=mutated(st.sampled_from([text.encode() for text in ANSWERS.values() if len(text) < 400])))
def test_mutated_answers(text: bytes) -> None:
    with watched():
        found = read_reply(text.decode("utf-8", "replace"))
    assert isinstance(found, Fault) or found in {1, 2, 3, 4, 5}


@LAW
@given(data=mutated(st.sampled_from([data for data in (*MATRICES.values(), *ARRAYS.values()) if len(data) < 2000])))
def test_mutated_arrays(tmp_path: Path, data: bytes) -> None:
    for read, name in ((influences, "a.npz"), (matrix, "b.npz"), (vectors, "c.npy")):
        (tmp_path / name).write_bytes(data)
        with watched():
            try:
                read(tmp_path / name)
            except NnciftError as error:
                assert len(str(error)) < LONGEST


def test_text_of_yaml_that_is_too_much() -> None:
    with pytest.raises(Unsound, match="more than"):
        parse_yaml(RECIPES["laughs"].decode())


def test_parquet_that_lies_is_one_error_or_the_rows(tmp_path: Path) -> None:
    """In a process of its own, which has a limit: never a traceback, other rows, a hang, or memory as it is claimed."""
    program = Path(__file__).parents[1] / "hostile_footers.py"
    environment = {"PYTHONPATH": str(SOURCE), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(program), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {one["name"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert len(found) > 1500 and found["as it is"]["said"] == "40 rows, 0 rejected"
    honest, trap = found.pop("many"), [found.pop(f"many {rows}") for rows in (110_000, 2**31 - 1)]
    assert honest["said"] == "99999 rows, 0 rejected"
    assert all(
        "says that it has N rows, which N bytes cannot hold" in one["said"] and one["seconds"] < 2 for one in trap
    )
    wrong = [one for one in found.values() if not one["sure"] or one["peak"] > 64e6 or one["seconds"] > 5]
    assert wrong == []
    told = {one["said"] for one in found.values()}
    refused = {said for said in told if said.startswith(("FILE", "the pool FILE"))}
    assert told - refused == {"40 rows, 0 rejected"}  # all of them, or none


def test_bombs_stay_within_their_memory(tmp_path: Path) -> None:
    """In a process of its own, which has a limit: the peak of each is what is stated beside it."""
    program = Path(__file__).parents[1] / "hostile_bombs.py"
    command = [sys.executable, str(program), str(tmp_path)]
    environment = {"PYTHONPATH": str(SOURCE), "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= 10
    assert [one for one in found if one["peak"] > one["stated"] or not one["ended"]] == []
