"""The page as a file: whole, small, honest about what it leaves out, and made after the run without touching it."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.cli import main
from nncift.errors import ConfigError, MissingExtraError, RunError
from nncift.pipeline import reopen
from nncift.progress import Silent
from nncift.report import report_after, write_report
from nncift.report.page import POINTS, ROWS
from toy_road import Corpus, make_corpus, write_influences, write_rows


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the data of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = (dict(attrs).get("id") or "code") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[self.inside] = data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=60, m=7, beta=24)


def drawn(page: Elements) -> set[str]:
    """The names of the pictures of a page."""
    return {str(one["data-chart"]).partition("-")[2] for one in page.all("div") if "data-chart" in one}


def test_a_run_with_labels_has_all_its_pictures(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = f"{write_influences(tmp_path, monkeypatch)}:Planted"
    run = nncift.select(
        corpus.pool, **corpus.options(influence=planted, labels="auto", budget=8, output=str(tmp_path / "run"))
    )
    path = write_report([run])
    assert path == run.folder / "report.html"
    text = path.read_text(encoding="utf-8")
    page = Elements(text)
    assert drawn(page) >= {"map", "gains", "influence", "agreement", "learning", "costs", "lengths"}
    assert set(json.loads(page.scripts["charts"])) == {f"0-{name}" for name in drawn(page)}
    assert "no column" in text and "groups" not in drawn(page)  # and says why
    assert run.fidelity is not None
    assert run.fidelity["sentence"][:40] in text
    assert run.fidelity["pairs"]["exact"] and len(run.fidelity["pairs"]["exact"]) <= 400


def test_held_out_pairs_are_what_the_figures_are_of(corpus: Corpus, tmp_path: Path) -> None:
    run = nncift.select(
        corpus.pool, **corpus.options(influence="similarity", labels="150", budget=8, output=str(tmp_path / "r"))
    )
    assert run.fidelity is not None
    exact, estimated = (np.array(run.fidelity["pairs"][name]) for name in ("exact", "estimated"))
    assert len(exact) == run.fidelity["held_out"]
    whole = next(group for group in run.fidelity["groups"] if group["group"] == "all")
    r2 = 1 - ((exact - estimated) ** 2).sum() / ((exact - exact.mean()) ** 2).sum()
    assert r2 == pytest.approx(whole["measures"]["r2"]["value"], abs=1e-3)


def test_the_page_is_sound_html_and_lets_nothing_else_run(corpus: Corpus, tmp_path: Path) -> None:
    run = nncift.select(corpus.pool, **corpus.options(influence="similarity", budget=8, output=str(tmp_path / "run")))
    page = Elements(write_report([run]).read_text(encoding="utf-8"))
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv")]
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    assert all("src" not in one for one in page.all("script"))
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.found for name in attributes)
    assert not [one for one in page.all("a") if not str(one["href"]).startswith("#")] and not page.all("link")
    assert [level for tag, _ in page.found if (level := re.fullmatch(r"h1", tag))] and page.all("html")[0][
        "lang"
    ] == "en"
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    labelled = [one for one in page.all("div") if "data-chart" in one]
    assert labelled and all(one.get("aria-label") and one.get("role") in ("img", "group") for one in labelled)
    assert len(page.all("caption")) == len(page.all("table"))


def test_several_runs_stand_beside_one_another(corpus: Corpus, tmp_path: Path) -> None:
    runs = [
        nncift.select(corpus.pool, **corpus.options(influence=name, budget=budget, output=str(tmp_path / name)))
        for name, budget in (("similarity", 8), ("length", 11))
    ]
    path = write_report([runs[0], runs[1].folder], tmp_path / "deep" / "both.html")
    page = Elements(path.read_text(encoding="utf-8"))
    assert {str(one["data-chart"])[0] for one in page.all("div") if "data-chart" in one} == {"0", "1"}
    common = len(set(runs[0].ids) & set(runs[1].ids))
    assert f"{common} rows are chosen by all 2 runs" in path.read_text(encoding="utf-8")


def test_a_page_of_100_000_rows_is_small_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    n, m = 100_000, 3
    rng = np.random.default_rng(0)
    wide = "界<&" * 150  # three bytes a letter, and five or six for what must be escaped
    rows = ({"id": f"{k:06d}", "text": f"{k} {wide}", "task": f"t{k % 50}"} for k in range(n))
    pool = tmp_path / "pool.jsonl"
    with pool.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    target = write_rows(tmp_path / "target.jsonl", [{"text": f"target {k}"} for k in range(m)])
    np.save(tmp_path / "pool.npy", rng.normal(size=(n, 4)).astype(np.float32))
    np.save(tmp_path / "target.npy", rng.normal(size=(m, 4)).astype(np.float32))
    run = nncift.select(
        pool, target=target, budget=5000, influence="similarity", output=tmp_path / "run",
        embedder=f"{tmp_path / 'pool.npy'},{tmp_path / 'target.npy'}",
    )  # fmt: skip
    begun = time.perf_counter()
    path = write_report([run])
    took = time.perf_counter() - begun
    text = path.read_text(encoding="utf-8")
    page = Elements(text)
    assert 1_000_000 < path.stat().st_size < 5_000_000
    assert took < 30
    rows_shown = text.count('<td class="text">')
    assert rows_shown == ROWS and "The best 1,900 of 5,000 chosen rows" in text
    shown = [
        int(one.replace(",", ""))
        for one in re.findall(r"([\d,]+) of [\d,]+ (?:rows not chosen|target rows|chosen rows)[,.]", text)
    ]
    assert shown[:3] == [2497, 3, 2500] and sum(shown[:3]) == POINTS
    assert json.loads(page.scripts["charts"])["0-map"]


def test_a_run_that_cannot_be_told_of(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run to report on"):
        write_report([])
    with pytest.raises(ConfigError, match="no recipe"):
        write_report([tmp_path])
    run = nncift.select(corpus.pool, **corpus.options(influence="length", budget=8, output=str(tmp_path / "run")))
    (run.folder / "costs.json").write_text("{")
    with pytest.raises(RunError, match=r"costs\.json is missing or damaged"):
        write_report([run.folder])
    (run.folder / "done.json").unlink()
    with pytest.raises(RunError, match="did not finish"):
        write_report([run.folder])


def test_the_page_is_no_part_of_the_run(corpus: Corpus, tmp_path: Path) -> None:
    options = corpus.options(influence="similarity", budget=8, output=str(tmp_path / "run"))
    run = nncift.select(corpus.pool, **options)
    before = {path.name: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    report_after(run, Silent())
    after = {path.name: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    assert after.pop("report.html") and after == before
    assert reopen(run.folder).ids == run.ids
    (run.folder / "report.html").write_text("of somebody else")
    assert nncift.select(corpus.pool, **options).ids == run.ids


def test_without_the_extra_a_run_ends_well_and_names_the_install(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = nncift.select(corpus.pool, **corpus.options(influence="length", budget=8, output=str(tmp_path / "run")))
    (run.folder / "report.html").write_text("of options that were changed since")
    monkeypatch.setattr("nncift.report.write.find_spec", lambda name: None)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert report_after(run, Silent()) is None
    (told,) = [record.getMessage() for record in caplog.records]
    assert 'pip install "nncift[report]"' in told and not (run.folder / "report.html").exists()
    with pytest.raises(MissingExtraError):
        write_report([run])


def test_a_page_that_fails_leaves_the_run_as_it_is(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = nncift.select(corpus.pool, **corpus.options(influence="length", budget=8, output=str(tmp_path / "run")))
    (run.folder / "costs.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert report_after(run, Silent()) is None
    assert "RunError" in caplog.records[-1].getMessage() and (run.folder / "done.json").is_file()


def test_the_verbs_write_it(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    for name in ("handlers", "propagate"):
        monkeypatch.setattr(logging.getLogger("nncift"), name, getattr(logging.getLogger("nncift"), name))
    folder = str(tmp_path / "run")
    words = [str(corpus.pool), "-t", str(corpus.target), "-e", corpus.embeddings, "-b", "8", "-o", folder]
    for arguments in (["select", *words], ["report", folder, "-o", str(tmp_path / "page.html")]):
        monkeypatch.setattr(sys, "argv", ["nncift", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    told = capsys.readouterr()
    assert "report   " in told.err and told.out.splitlines()[-1].startswith("1 run on a page of 1.")
    assert (tmp_path / "run" / "report.html").is_file() and (tmp_path / "page.html").is_file()
