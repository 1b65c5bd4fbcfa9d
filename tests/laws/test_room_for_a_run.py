"""A run that would not fit into memory is refused before anything is spent, with what helps; the plan says what it takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nncift
from nncift.config import LabelConfig, SelectConfig
from nncift.errors import ConfigError
from nncift.pipeline import footprint as room_of
from nncift.pipeline.footprint import Footprint, footprint, parts
from nncift.pipeline.models import Models
from nncift.pipeline.preparing import prepare
from nncift.pipeline.refusing import refuse_too_large
from nncift.plan import plan
from nncift.progress import Silent
from toy_road import Corpus, make_corpus, run_cli, save_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=700, m=500)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


def told(corpus: Corpus, config: type[LabelConfig | SelectConfig] = SelectConfig, **options: Any) -> Footprint:
    setup = prepare(config.of({"pool": str(corpus.pool), **corpus.options(**options)}))
    return footprint(setup, Models(setup, Silent()))


def test_the_peak_is_what_its_parts_come_to(corpus: Corpus) -> None:
    found = told(corpus)
    assert found.bytes == sum(part.bytes for part in found.parts) > found.needed > 100e6
    assert not found.unknown and found.stage in ("embed", "select", "report")
    assert 4 * 700 * 500 in [part.bytes for part in found.parts]


@pytest.mark.parametrize(
    ("smaller", "larger", "part"),
    [
        ({"backend": "tiled"}, {}, "kernels"),
        ({"max_targets": 50}, {}, "kernels"),
        ({"influence": "delift", "labels": "3000", "batch_tokens": 64}, {"influence": "delift", "labels": "3000"}, "a forward"),
        ({"influence": "less", "labels": "3000", "batch_tokens": 64}, {"influence": "less", "labels": "3000"}, "a backward"),
        ({"influence": "delift", "labels": "500"}, {"influence": "delift", "labels": "3000"}, "labels while"),
    ],
)  # fmt: skip
def test_what_a_mend_names_lowers_its_part(
    corpus: Corpus,
    model: Path,
    smaller: dict[str, Any],
    larger: dict[str, Any],
    part: str,
) -> None:
    def bytes_of(options: dict[str, Any]) -> int:
        named = {"model": str(model)} if "influence" in options else {"influence": "similarity"}
        setup = prepare(SelectConfig.of({"pool": str(corpus.pool), **corpus.options(**named, **options)}))
        _, stages, _ = parts(setup, Models(setup, Silent()))
        return max(sum(one.bytes for one in stage if one.name.startswith(part)) for stage in stages.values())

    assert bytes_of(smaller) < bytes_of(larger)


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(corpus: Corpus, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"--memory 0 starts it all the same") as caught:
        nncift.select(str(corpus.pool), budget=5, output=run, memory="200MB", **corpus.options())
    assert re.search(
        r"about \d+ MB of memory in its stage `\w+`, and 200 MB are allowed by --memory", str(caught.value)
    )
    assert "The largest part is: program, 350 MB. No option alone brings it down to that; this saves" in str(
        caught.value
    )
    assert not run.exists()
    with pytest.raises(ConfigError, match="200 MB are allowed"):
        nncift.label(
            str(corpus.pool), target=str(corpus.target), influence="length", output=tmp_path / "l.npz", memory="200MB"
        )
    assert not list(tmp_path.iterdir())
    assert len(nncift.select(str(corpus.pool), budget=5, output=run, memory="0", **corpus.options()).rows) == 5


def test_what_is_available_is_what_counts_where_nothing_is_said(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nncift.pipeline.room.available", lambda: 1_000_000)
    monkeypatch.setattr("nncift.pipeline.room._held", lambda: 2_000_000)
    with pytest.raises(ConfigError, match="and 3 MB are available"):
        nncift.select(str(corpus.pool), budget=5, output=tmp_path / "run", **corpus.options())


def test_the_mend_is_that_of_the_largest_part(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PROGRAM", "_REPORT", "_ROW", "_CHARACTER", "_CHOOSING", "BLOCK"):
        monkeypatch.setattr(room_of, name, 0)
    setup = prepare(SelectConfig.of({"pool": str(corpus.pool), "memory": "1MB", **corpus.options()}))
    with pytest.raises(
        ConfigError, match=r"The largest part is: kernels, 1 MB. Say --backend tiled, or lower --max-targets."
    ):
        refuse_too_large(setup)
    refuse_too_large(replace(setup, config=replace(setup.config, backend="tiled")))


def test_pages_of_files_are_no_reason_to_refuse(corpus: Corpus) -> None:
    found = told(corpus)
    assert found.bytes - found.needed == sum(part.bytes for part in found.parts if part.returnable) > 0


def test_a_model_that_is_not_here_is_said_to_be_missing(corpus: Corpus) -> None:
    found = told(corpus, influence="delift", model="nobody/no-such-model", labels="3000")
    assert "not on this disk" in found.unknown and "without a language model" in found.text()


def test_the_plan_says_it(corpus: Corpus, tmp_path: Path) -> None:
    made = plan(SelectConfig.of({"pool": str(corpus.pool), **corpus.options()}), Silent())
    assert sum(line.startswith("Memory: about ") for line in made.lines()) == 1
    record = json.loads(json.dumps(made.record()))["memory"]
    assert record["bytes"] == made.memory.bytes == sum(record["parts"].values())
    arguments = ["select", corpus.pool, "--target", corpus.target, "--embedder", corpus.embeddings, "--dry-run"]
    done = run_cli(*arguments, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["memory"]["bytes"] == record["bytes"], done.stderr
    done = run_cli(*arguments, "--memory", "100MB", cwd=tmp_path)
    assert done.returncode == 2 and "--memory 0" in done.stderr
