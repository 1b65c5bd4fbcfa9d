"""The run folder: work is kept by what it depends on, whatever is killed, damaged or opened twice."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nncift.errors import RunError
from nncift.run import RunFolder, Work, content_key, environment, file_hash, lists_key
from toy_road import cli_environment


class Writer:
    """A stage that writes one file and counts how often it did."""

    def __init__(self, folder: RunFolder, text: str = "made") -> None:
        self.folder = folder
        self.text = text
        self.runs = 0

    def __call__(self, done: Work) -> None:
        self.runs += 1
        with self.folder.atomic("deep/artefact.txt") as part:
            part.write_text(self.text)
        done.files.append("deep/artefact.txt")
        done.ledger.lm_forwards += 3
        done.facts["length"] = len(self.text)
        done.note("cut", "one row was cut")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with closing(RunFolder(tmp_path / "a" / "run")) as folder:
        yield folder


def _again(path: Path, depends: dict, act: Callable[[Path], None] = lambda path: None) -> int:
    """How often the work runs when the folder is opened anew after `act`."""
    act(path)
    with closing(RunFolder(path)) as folder:
        writer = Writer(folder)
        record = folder.stage("write", depends, writer)
        assert (path / "deep/artefact.txt").read_text() == "made"
        assert record.files == {"deep/artefact.txt": file_hash(path / "deep/artefact.txt")}
        return writer.runs


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A folder in which the stage `write` is done with {"a": 1}."""
    path = tmp_path / "run"
    assert _again(path, {"a": 1}) == 1
    return path


def test_a_stage_leaves_its_record(folder: RunFolder) -> None:
    record = folder.stage("write", {"a": 1}, Writer(folder))
    assert record.key == content_key({"a": 1})
    assert record.costs["lm_forwards"] == 3 and record.costs["seconds"] >= 0
    assert record.facts == {"length": 4} and record.notes == {"cut": "one row was cut"}
    stored = json.loads((folder.path / "stages.json").read_text())
    assert stored["write"]["key"] == record.key and stored["write"]["files"] == record.files


def test_work_is_done_once_per_key(done: Path) -> None:
    assert _again(done, {"a": 1}) == 0
    assert _again(done, {"a": 2}) == 1
    assert _again(done, {"a": 1}) == 1  # what was there belongs to another key now
    assert _again(done, {"a": 1}) == 0


def test_keys_do_not_depend_on_the_order_of_names() -> None:
    assert content_key({"a": 1, "b": {"c": 2, "d": 3}}) == content_key({"b": {"d": 3, "c": 2}, "a": 1})
    assert content_key({"a": 1}) != content_key({"a": "1"})
    assert content_key({"a": "\ud800"}) != content_key({"a": "\ud801"})


@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.integers() | st.text(max_size=3) | st.just(("a", 1)), max_size=4))
)
def test_lists_that_are_not_held_have_the_key_of_lists(lists: dict[str, list[Any]]) -> None:
    assert lists_key({name: iter(entries) for name, entries in lists.items()}) == content_key(lists)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path / "deep/artefact.txt").unlink(),
        lambda path: (path / "deep/artefact.txt").write_text("mad"),
        lambda path: (path / "deep/artefact.txt").write_text(""),
    ],
)
def test_missing_or_damaged_artefacts_are_made_again(
    done: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert _again(done, {"a": 1}, harm) == 1
    assert any("artefact.txt of the stage 'write' is missing or damaged" in line for line in caplog.messages)
    assert _again(done, {"a": 1}) == 0


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "null", '{"write": 3}', '{"write": {"key": 1}}', '{"write": {"x": 1}}', "\x00\xff"]
)
def test_damaged_records_are_made_again(done: Path, body: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert (
            _again(done, {"a": 1}, lambda path: (path / "stages.json").write_bytes(body.encode("latin-1")) and None)
            == 1
        )
    assert any("stages.json is damaged" in line for line in caplog.messages)
    assert _again(done, {"a": 1}) == 0


def test_notes_are_said_again_when_the_work_is_not(done: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert _again(done, {"a": 1}) == 0
    assert caplog.messages == ["one row was cut"]


def test_a_folder_is_not_done_while_a_stage_is_at_work(done: Path) -> None:
    with closing(RunFolder(done)) as folder:
        folder.write_json("done.json", {})
        folder.stage("write", {"a": 1}, Writer(folder))
        assert (done / "done.json").exists()
        folder.stage("write", {"a": 2}, Writer(folder))
        assert not (done / "done.json").exists()
        assert folder.records["write"].key == content_key({"a": 2})


def test_a_failure_leaves_the_stage_undone(done: Path) -> None:
    def fail(work: Work) -> None:
        raise ValueError("half-way")

    with closing(RunFolder(done)) as folder, pytest.raises(ValueError, match="half-way"):
        folder.stage("late", {"b": 1}, fail)
    with closing(RunFolder(done)) as folder:
        assert set(folder.records) == {"write"} and folder.records["write"].key == content_key({"a": 1})


def test_a_write_that_fails_leaves_the_old_file(folder: RunFolder) -> None:
    folder.write_json("a.json", {"old": True})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_json("a.json", {"new": float("nan")})
    with pytest.raises(RuntimeError), folder.atomic("a.json") as part:
        part.write_text("half")
        raise RuntimeError
    assert json.loads((folder.path / "a.json").read_text()) == {"old": True}


def test_leftovers_of_a_kill_are_removed(done: Path) -> None:
    for name in ("labels.npz.part", "deep/artefact.txt.part"):
        (done / name).write_text("half")
    assert _again(done, {"a": 1}) == 0
    assert list(done.rglob("*.part")) == []


def test_a_second_process_is_refused(folder: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path; from nncift.run import RunFolder; from nncift.errors import RunError\n"
        "try: RunFolder(Path(sys.argv[1]))\nexcept RunError as error: print(error); sys.exit(2)"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    found = subprocess.run(command, env=cli_environment(), capture_output=True, text=True, check=False)
    assert found.returncode == 2 and "is in use by another process" in found.stdout
    folder.close()
    assert subprocess.run(command, env=cli_environment(), check=False).returncode == 0


def test_closing_twice_is_harmless_and_gives_the_folder_free(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match="in use"):
        RunFolder(tmp_path / "run")
    first.close()
    first.close()
    with closing(RunFolder(tmp_path / "run")):
        pass


def test_a_folder_of_the_users_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    kept = [tmp_path / "labels" / "precious.txt", tmp_path / "film.mkv.part"]
    for path in kept:
        path.write_text("mine")
    with pytest.raises(RunError, match=r"holds other files and is no run folder\. Choose another with -o"):
        RunFolder(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_artefacts_of_an_earlier_key_do_not_stay(folder: RunFolder) -> None:
    def work(name: str) -> Callable[[Work], None]:
        def write(done: Work) -> None:
            (folder.path / name).write_text("x")
            done.files.append(name)

        return write

    folder.stage("write", {"a": 1}, work("subset.jsonl"))
    folder.stage("write", {"a": 2}, work("subset.csv"))
    assert (folder.path / "subset.csv").exists() and not (folder.path / "subset.jsonl").exists()


def test_stages_that_a_run_does_not_go_through_are_dropped(done: Path) -> None:
    with closing(RunFolder(done)) as folder:
        folder.stage("other", {"b": 1}, lambda work: None)
        folder.forget_all_but({"other"})
    assert not (done / "deep/artefact.txt").exists()
    with closing(RunFolder(done)) as folder:
        assert set(folder.records) == {"other"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="cannot write the run folder"):
        RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match="cannot write the run folder"):
        RunFolder(tmp_path / "run" / "below")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match=r"Permission denied\. Choose another with -o"):
        RunFolder(tmp_path / "locked" / "run")


def test_environment_names_versions_and_machine() -> None:
    found = environment({"seed": 3})
    assert found["seed"] == 3 and found["python"] == sys.version.split()[0]
    assert {"numpy", "torch", "transformers"} <= set(found["packages"])
