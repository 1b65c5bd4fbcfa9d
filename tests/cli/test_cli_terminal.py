"""Where the program prints: tables on a terminal, plain lines in a pipe, no colour where none is wanted, words for a shell."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nncift import registry
from nncift.influence.base import Asked
from nncift.influence.less import Less
from toy_road import Corpus, cli_environment, make_corpus, run_cli, write_rows

COLOUR = re.compile(r"\x1b\[[\d;]*(?:3[0-7]|9[0-7])m")
STYLE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")

OWN = '''
from dataclasses import dataclass
from typing import ClassVar
import numpy as np
from nncift.influence.base import Direct, Traits


@dataclass(frozen=True, slots=True)
class Weighted:
    """Longer answers, by a weight. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="weighted", pairwise=False, objective="top-mean")
    weight: float

    def start(self, context):
        def values(i, j, on_progress):
            on_progress(len(j))
            return np.array([self.weight * len(context.pool[k].response) for k in j], dtype=np.float32)
        return Direct(values)
'''


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=40, beta=16)


def on_terminal(arguments: list[str], cwd: Path, **environment: str) -> str:
    """What a terminal of 100 columns receives on standard output."""
    ours, theirs = pty.openpty()
    known = cli_environment(TERM="xterm-256color", COLUMNS="100")
    known = {name: value for name, value in known.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "nncift", *arguments],
        cwd=cwd,
        env=known | environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        received = b""
        while True:
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # Linux says so when the other end is closed
                break
            if not block:
                break
            received += block
    os.close(ours)
    assert process.returncode == 0
    return received.decode()


def select_of(corpus: Corpus) -> list[str]:
    return ["select", str(corpus.pool), "-t", str(corpus.target), "-e", corpus.embeddings, "-b", "8", "-o", "out"]


def test_a_terminal_gets_the_first_picks_and_a_pipe_plain_lines(corpus: Corpus, tmp_path: Path) -> None:
    told = on_terminal(select_of(corpus), tmp_path)
    assert COLOUR.search(told) and "rank" in told and "3 more in out/subset.jsonl" in STYLE.sub("", told)
    piped = run_cli(*select_of(corpus), cwd=tmp_path)
    assert "\x1b" not in piped.stdout + piped.stderr and "rank" not in piped.stdout
    assert STYLE.sub("", told).splitlines()[-1] == piped.stdout.splitlines()[-1]


def test_no_color_is_respected(corpus: Corpus, tmp_path: Path) -> None:
    told = on_terminal(select_of(corpus), tmp_path, NO_COLOR="1")
    assert "rank" in told and not COLOUR.search(told)


@pytest.mark.parametrize("arguments", [["list"], ["list", "influences"]])
def test_lists_are_tables_on_a_terminal(tmp_path: Path, arguments: list[str]) -> None:
    told = STYLE.sub("", on_terminal(arguments, tmp_path))
    assert "──" in told and "delift" in told
    assert "──" not in run_cli("list", cwd=tmp_path).stdout


def test_a_plan_is_a_table_on_a_terminal(corpus: Corpus, tmp_path: Path) -> None:
    told = STYLE.sub("", on_terminal([*select_of(corpus), "--dry-run"], tmp_path))
    assert re.search(r"^rows +40 pool, ", told, re.MULTILINE)


def test_rows_cannot_steer_the_terminal(corpus: Corpus, tmp_path: Path) -> None:
    rows = [{"prompt": f"\x1b[31m\x07{k} \u202eabc\r\n", "completion": "[bold]x[/bold]"} for k in range(12)]
    write_rows(tmp_path / "hostile.jsonl", rows)
    told = on_terminal(["select", "hostile.jsonl", "-i", "length", "-b", "6", "-o", "hostile"], tmp_path, NO_COLOR="1")
    assert "\x1b[31m" not in told and "\x07" not in told and "\u202e" not in told
    assert "[bold]x[/bold]" in told


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("nncift sel", {"select"}),
        ("nncift select --influence ", set(registry.names("influence"))),
        ("nncift select --objective fl", {name for name in registry.names("objective") if name.startswith("fl")}),
        ("nncift select --design s", {"stripes", "spread"}),
        ("nncift evaluate --dr", {"--draws", "--dropout", "--dry-run"}),
    ],
)
def test_a_shell_is_offered_the_words_that_there_are(tmp_path: Path, line: str, offered: set[str]) -> None:
    words = line.split(" ")
    asked = {"_NNCIFT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "nncift"], cwd=tmp_path, env=cli_environment(**asked), capture_output=True, text=True
    )
    assert set(done.stdout.split()) == offered


def test_completion_installs(tmp_path: Path) -> None:
    told = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # it would be that of the test
    done = subprocess.run(
        [sys.executable, "-m", "nncift", "--install-completion", "bash"],
        env=cli_environment(**told),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (script,) = (path for path in tmp_path.rglob("*.sh"))
    assert "_NNCIFT_COMPLETE" in script.read_text() and str(script) in (tmp_path / ".bashrc").read_text()


def test_the_cheapest_way_says_what_better_ones_cost(corpus: Corpus, tmp_path: Path) -> None:
    plain = ["select", str(corpus.pool), "-e", corpus.embeddings.split(",")[0], "-b", "8", "-o", "out"]
    told = run_cli(*plain, cwd=tmp_path).stdout
    passes = Less().calls(Asked(40, 40, 1600, 40)).forwards  # the pool is its own target
    assert passes > 4 * 80 and f"less, {passes} forward and {passes} backward passes" in told
    assert "320 of 1,600 pairs" in told and "With --target FILE" in told
    assert "With a language model" not in run_cli(*plain, "--quiet", cwd=tmp_path).stdout
    assert "With a language model" not in run_cli(*plain, "-i", "length", cwd=tmp_path).stdout
    assert "With --target FILE" not in run_cli(*select_of(corpus), cwd=tmp_path).stdout


def test_an_influence_that_needs_an_option_ends_as_any_other(corpus: Corpus, tmp_path: Path) -> None:
    """What dearer ways cost is said beside the cheapest alone: an influence of one's own may need options to be made."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    arguments = ["-i", "own:Weighted", "--option", "weight=2", "-b", "8", "-o", "out"]
    done = run_cli("select", corpus.pool, *arguments, cwd=tmp_path, path=[tmp_path])
    assert (done.returncode, done.stdout.splitlines()[-1][:12]) == (0, "8 of 40 rows"), done.stderr
