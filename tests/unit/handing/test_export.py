"""`nncift export` on the folder of a finished run: the same rows as in Python, a card that tells no path, a push when asked."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml

import nncift
from nncift.errors import ConfigError, DataError, NnciftError, RunError
from nncift.handing.export import export
from nncift.handing.options import ExportConfig
from nncift.selection import Selection
from toy_road import Corpus, make_corpus, write_influences

TOKEN = "secret-0123456789"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("private-folder"), n=40, beta=16)


@pytest.fixture
def picked(corpus: Corpus, tmp_path: Path) -> Selection:
    options = corpus.options(influence="similarity", budget=7, output=str(tmp_path / "run"))
    return nncift.select(str(corpus.pool), **options)


def of(run: Path, **options: Any) -> ExportConfig:
    return ExportConfig.of({"run": str(run), **options})


@pytest.mark.parametrize("trainer", ["trl", "alpaca", "llamafactory"])
def test_the_folder_alone_gives_what_the_selection_gives(picked: Selection, tmp_path: Path, trainer: str) -> None:
    before = {path: path.read_bytes() for path in picked.folder.rglob("*") if path.is_file()}
    handed = export(of(picked.folder, trainer=trainer, output=str(tmp_path / "cli")))
    assert handed.data.read_bytes() == picked.export(tmp_path / "python", trainer=trainer).read_bytes()
    assert handed.rows == len(picked) and handed.lines()[-1].startswith("7 rows for ")
    assert {path: path.read_bytes() for path in picked.folder.rglob("*") if path.is_file()} == before


def test_without_a_folder_it_lies_in_the_run_which_stays_one(picked: Selection, corpus: Corpus) -> None:
    handed = export(of(picked.folder))
    assert handed.data == picked.folder / "export" / "trl.jsonl"
    again = nncift.select(
        str(corpus.pool), **corpus.options(influence="similarity", budget=7, output=str(picked.folder))
    )
    assert again.ids == picked.ids and handed.data.is_file()
    with pytest.raises(RunError, match="is a run folder"):
        export(of(picked.folder, output=str(picked.folder)))


def test_a_resized_selection_exports_its_own_rows(picked: Selection, tmp_path: Path) -> None:
    assert len(picked.resize(3).export(tmp_path / "out", card=True).read_text().splitlines()) == 3
    assert "3 of 40 usable rows" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_that_is_not_whole_is_refused(picked: Selection, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run folder"):
        export(of(tmp_path))
    subset = picked.folder / "subset.jsonl"
    whole = subset.read_bytes()
    subset.write_bytes(whole[1:])
    with pytest.raises(RunError, match="not what it was"):
        export(of(picked.folder))
    subset.write_bytes(whole)
    (picked.folder / "done.json").unlink()
    with pytest.raises(RunError, match="did not finish"):
        export(of(picked.folder))


def test_the_card_says_what_how_and_what_it_cost_and_names_no_folder(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = write_influences(tmp_path, monkeypatch)
    options = corpus.options(influence=f"{planted}:Planted", labels="30%", budget=7, output=str(tmp_path / "run"))
    picked = nncift.select(str(corpus.pool), **options)
    handed = export(of(picked.folder, card=True, output=str(tmp_path / "out")))
    assert handed.card is not None
    text = handed.card.read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["configs"][0]["data_files"] == [{"split": "train", "path": "trl.jsonl"}]
    assert head["size_categories"] == ["n<1K"] and "license" not in head
    assert "7 of 40 usable rows (17.5%) of `pool.jsonl`" in text and "**Not stated.**" in text
    assert "facility-location" in text and "| label |" in text and "`target.jsonl`" in text
    assert picked.fidelity and picked.fidelity["sentence"].split(",")[0] in text.replace("\\", "")
    assert "private-folder" not in text and str(tmp_path) not in text


def test_a_stated_licence_stays_and_a_strangers_readme_too(picked: Selection, tmp_path: Path) -> None:
    first = export(of(picked.folder, license="apache-2.0", output=str(tmp_path / "out")))
    again = export(of(picked.folder, card=True, output=str(tmp_path / "out")))
    assert first.card and again.card and first.card.read_bytes() == again.card.read_bytes()
    assert "license: apache-2.0" in again.card.read_text() and "Not stated" not in again.card.read_text()
    again.card.write_text("# mine")
    with pytest.raises(DataError, match="not written by an export"):
        export(of(picked.folder, card=True, output=str(tmp_path / "out")))
    assert again.card.read_text() == "# mine"


def test_shards_of_an_export_and_of_a_run(picked: Selection, corpus: Corpus, tmp_path: Path) -> None:
    handed = export(of(picked.folder, card=True, shard_rows=3, output=str(tmp_path / "cli")))
    assert handed.lines()[-1] == f"7 rows for trl: {tmp_path / 'cli' / 'trl'} (3 shards)"
    path = picked.export(tmp_path / "python", shard_rows=3)
    assert [one.read_bytes() for one in sorted(path.iterdir())] == [
        one.read_bytes() for one in sorted(handed.data.iterdir())
    ]
    assert handed.card is not None and handed.card.read_text().count("trl/*.jsonl") == 2
    options = corpus.options(influence="similarity", budget=7, output=str(tmp_path / "sharded"), shard_rows=2)
    run = nncift.select(str(corpus.pool), **options)
    one = export(of(run.folder, output=str(tmp_path / "one")))  # from shards to one file
    assert one.data.read_bytes() == b"".join(path.read_bytes() for path in sorted(handed.data.iterdir()))
    with pytest.raises(NnciftError, match="litgpt reads its rows from one file"):
        export(of(run.folder, trainer="litgpt", shard_rows=2))
    with pytest.raises(NnciftError, match="--shard-rows is -1"):
        of(run.folder, shard_rows=-1)


class Hub:
    """The calls that would reach the hub."""

    calls: tuple[tuple[str, tuple[Any, ...], dict[str, Any]], ...] = ()

    def create_repo(self, *arguments: Any, **options: Any) -> None:
        Hub.calls += (("create_repo", arguments, options),)

    def upload_folder(self, *arguments: Any, **options: Any) -> None:
        Hub.calls += (("upload_folder", arguments, options),)


class Shut(Hub):
    def create_repo(self, *arguments: Any, **options: Any) -> None:
        raise ValueError(f"Illegal header value b'Bearer {TOKEN}' or hf_abcDEF")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr(Hub, "calls", ())
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    return Hub


def test_nothing_is_pushed_unless_asked(picked: Selection, tmp_path: Path, hub: type[Hub]) -> None:
    export(of(picked.folder, card=True, output=str(tmp_path / "out")))
    assert hub.calls == ()


def test_a_push_uploads_rows_and_card_alone_and_privately(picked: Selection, tmp_path: Path, hub: type[Hub]) -> None:
    handed = export(of(picked.folder, push_to_hub="me/rows", output=str(tmp_path / "out")))
    (made, named, options), (sent, _, told) = hub.calls
    assert (made, named, options["private"], options["exist_ok"]) == ("create_repo", ("me/rows",), True, True)
    assert sent == "upload_folder" and told["allow_patterns"] == ["trl.jsonl", "README.md"]
    assert told["folder_path"] == tmp_path / "out" and told["repo_type"] == options["repo_type"] == "dataset"
    assert told["delete_patterns"] == ["trl.jsonl", "trl/*.jsonl"]
    assert handed.pushed == "datasets/me/rows" and (tmp_path / "out" / "README.md").is_file()


def test_a_push_of_shards(picked: Selection, tmp_path: Path, hub: type[Hub]) -> None:
    export(of(picked.folder, push_to_hub="me/rows", shard_rows=3, output=str(tmp_path / "out")))
    assert hub.calls[1][2]["allow_patterns"] == ["trl/*.jsonl", "README.md"]


def test_no_token_is_ever_told(
    picked: Selection, tmp_path: Path, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Shut)
    with pytest.raises(DataError, match="cannot push me/rows") as found:
        export(of(picked.folder, push_to_hub="me/rows", output=str(tmp_path / "out")))
    told = "".join(traceback.format_exception(found.value))
    assert TOKEN not in told and "hf_abc" not in told and "***" in told


@pytest.mark.parametrize(
    "wrong", [{"push_to_hub": "rows"}, {"push_to_hub": "a/b/c"}, {"trainer": "trll"}, {"traner": "trl"}]
)
def test_a_wrong_option_is_told_before_anything_is_written(picked: Selection, wrong: dict[str, str]) -> None:
    with pytest.raises(NnciftError):
        export(of(picked.folder, **wrong))
    assert not (picked.folder / "export").exists()


def test_the_record_is_json(picked: Selection, tmp_path: Path) -> None:
    record = export(of(picked.folder, output=str(tmp_path / "out"))).record()
    assert json.loads(json.dumps(record))["rows"] == 7
