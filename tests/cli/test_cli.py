"""The program as a user starts it: what it prints where, and one clear sentence for everything that cannot work."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nncift.data.arrays import read_npz
from nncift.version import __version__
from toy_road import Corpus, make_corpus, run_cli, save_model, write_influences, write_rows

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("corpus"), n=40, beta=16)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return lambda *arguments: run_cli(*arguments, cwd=tmp_path, path=[tmp_path])


@pytest.fixture
def similarity(corpus: Corpus) -> list[str]:
    """Arguments of the cheapest whole run."""
    return [str(corpus.pool), "--target", str(corpus.target), "-i", "similarity", "-e", corpus.embeddings]


def test_version(cli: Cli) -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nncift {__version__}\n", "")


def test_help_comes_at_once(cli: Cli) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = cli("--help")
        seconds.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("select", "label", "fidelity", "run", "list", "doctor", "demo"))
    assert min(seconds) < 0.5


@pytest.mark.parametrize("verb", ["select", "label", "fidelity", "export", "run", "list", "doctor", "demo"])
def test_every_verb_has_help(cli: Cli, verb: str) -> None:
    done = cli(verb, "--help")
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 3


def test_without_a_verb_it_shows_help(cli: Cli) -> None:
    done = cli()
    assert "Usage" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_list_names_everything(cli: Cli) -> None:
    done = cli("list")
    assert done.returncode == 0
    for name in ("delift", "similarity", "random", "facility-location", "flcg", "fl1mi", "flvmi", "top-mean", "minilm"):
        assert any(line.split()[:1] == [name] and len(line.split()) > 4 for line in done.stdout.splitlines()), name


def test_doctor(cli: Cli, tmp_path: Path) -> None:
    done = cli("doctor", "--device", "cpu")
    assert done.returncode == 0
    for word in (
        f"nncift {__version__}",
        "packages: torch",
        "extra offline",
        "device: cpu",
        "default embedder",
        "cache: ",
    ):
        assert word in done.stdout
    model = save_model(tmp_path / "model")
    shown = cli("doctor", "--model", model, "--show-prompt", "--dtype", "float32")
    assert shown.returncode == 0
    assert "prefixes are shared" in shown.stdout and "the output head is tiled" in shown.stdout
    assert "⟦l⟧⟦a⟧⟦t⟧⟦e⟧" in shown.stdout


def test_select_from_end_to_end(cli: Cli, similarity: list[str], tmp_path: Path) -> None:
    done = cli("select", *similarity, "-b", "10", "-o", "out")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("10 of 40 rows by facility-location (coverage of the target): ")
    subset = tmp_path / last.split(": ")[-1]
    rows = [json.loads(line) for line in subset.read_text().splitlines()]
    assert len(rows) == 10 and all(row["prompt"].startswith("beta") for row in rows)
    assert (tmp_path / "out" / "done.json").is_file()


def test_without_output_the_folder_is_named_by_pool_and_influence(
    cli: Cli, similarity: list[str], tmp_path: Path
) -> None:
    done = cli("select", *similarity)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("4 of 40 rows")
    assert list((tmp_path / "runs").glob("pool-similarity-*/subset.jsonl"))


def test_json_is_one_object_and_nothing_else(cli: Cli, similarity: list[str], corpus: Corpus) -> None:
    done = cli("select", *similarity, "-b", "10", "-o", "out", "--json")
    found = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and isinstance(found, dict)
    assert (found["rows"], found["of"], found["objective"]) == (10, 40, "facility-location")
    assert Path(found["subset"]).name == "subset.jsonl"
    plan = cli("select", *similarity, "--dry-run", "--json")
    assert json.loads(plan.stdout)["budget"] == 4
    labels = cli("label", *similarity, "--labels", "all", "-o", "l.npz", "--json")
    assert json.loads(labels.stdout) == {"labels": 360, "targets": 9, "pool": 40, "output": "l.npz"}


def test_dry_run_says_the_cost_and_writes_nothing(cli: Cli, similarity: list[str], tmp_path: Path) -> None:
    done = cli("select", *similarity, "--dry-run", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Rows: 40 pool, 9 target; 4 to choose by facility-location.")
    assert "Time: about" in done.stdout.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_dry_run_counts_the_calls_that_the_run_makes(cli: Cli, corpus: Corpus, tmp_path: Path) -> None:
    small = make_corpus(tmp_path / "small", n=12, m=5, beta=4)
    model = save_model(tmp_path / "model")
    options = [
        small.pool,
        "-i",
        "delift",
        "-t",
        small.target,
        "-m",
        model,
        "-e",
        small.embeddings,
        "--labels",
        "24",
        "--dtype",
        "float32",
    ]
    plan = json.loads(cli("select", *options, "-b", "3", "--dry-run", "--json").stdout)
    done = json.loads(cli("select", *options, "-b", "3", "-o", "out", "--json").stdout)
    planned = plan["lm_forwards"] + plan["state_lm_forwards"]
    assert planned == done["costs"]["total"]["lm_forwards"]
    assert plan["exact_lm_forwards"] == done["costs"]["exact"]["lm_forwards"] == 65
    assert plan["labels"] == 24 and plan["seconds"]["label"] >= 0


def test_quiet_prints_the_summary_alone(cli: Cli, similarity: list[str]) -> None:
    done = cli("select", *similarity, "-o", "out", "--quiet")
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("4 of 40 rows")
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())


def test_notes_go_to_standard_error_once(cli: Cli, similarity: list[str], tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "pool.jsonl").write_text("{broken\n" + corpus.pool.read_text())
    done = cli("select", tmp_path / "pool.jsonl", *similarity[1:], "-o", "out", "--json")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert sum("1 of 41 pool rows are left out, most often: broken JSON" in line for line in lines) == 1
    assert len(lines) == len(set(lines)) and all(line.startswith("note: ") for line in lines)
    assert "rejected" in json.loads(done.stdout)["notes"]


def test_label_writes_arrays(cli: Cli, similarity: list[str], tmp_path: Path) -> None:
    done = cli("label", *similarity, "--labels", "all", "-o", "exact.npz")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "360 of 360 influences in exact.npz"
    stored = read_npz(tmp_path / "exact.npz")
    assert set(stored) == {"i", "j", "y", "target_ids", "pool_ids", "meta", "values"}
    assert stored["values"].shape == (9, 40) and stored["values"].dtype == np.float32
    assert len(stored["target_ids"]) == 9 and len(stored["pool_ids"]) == 40
    np.testing.assert_array_equal(stored["values"][stored["i"], stored["j"]], stored["y"])
    assert json.loads(str(stored["meta"]))["influence"] == "similarity"
    some = cli("label", *similarity, "--labels", "10%", "-o", "some.npz")
    assert some.returncode == 0
    stored = read_npz(tmp_path / "some.npz")
    assert set(stored) == {"i", "j", "y", "target_ids", "pool_ids", "meta"} and len(stored["y"]) == 36


def test_a_class_of_the_users_own(cli: Cli, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{write_influences(tmp_path, monkeypatch)}:Planted"
    options = ["-t", corpus.target, "-e", corpus.embeddings, "-i", name, "--option", "gap=2", "--labels", "30%"]
    done = cli("select", corpus.pool, *options)
    assert done.returncode == 0, done.stderr
    assert "held-out labels" in done.stdout or "Nothing can be said about the estimator" in done.stdout
    assert "An exact influence stood behind" in done.stdout
    assert list((tmp_path / "runs").glob("pool-planted_influences.Planted-*/subset.jsonl"))


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, nothing on standard output, and one sentence that holds the words, behind notes and progress."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("nncift: ")] == lines[-1:], done.stderr
    for word in words:
        assert word in lines[-1], lines[-1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """The program's entry point in this process: for tables of errors, where two seconds of imports a row would add up."""
    from nncift.cli import main

    logger = logging.getLogger("nncift")
    before = logger.handlers, logger.propagate
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["nncift", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        return subprocess.CompletedProcess(command, end.value.code, *capsys.readouterr())

    yield call
    logger.handlers, logger.propagate = before


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Files that cannot be used."""
    (tmp_path / "folder").mkdir()
    write_rows(tmp_path / "folder" / "rows.jsonl", [{"text": "a"}])
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "rows.csv").write_text("text\na\n")
    write_rows(tmp_path / "unusable.jsonl", [{"prompt": "a", "completion": ""}] * 3)
    write_rows(tmp_path / "columns.jsonl", [{"front": "a", "back": "b"}])
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "rows.txt").write_text("a\n")
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "not-a-model").mkdir()
    (tmp_path / "half-a-model").mkdir()
    (tmp_path / "half-a-model" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "recipe.yaml").write_text("verb: select\npool: a.jsonl\nbugdet: 3\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    np.save(tmp_path / "short.npy", np.ones((3, 4), dtype=np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["select", "nowhere.jsonl", "-i", "random"], ("there is no pool file nowhere.jsonl",)),
        (["select", "POOL", "-i", "randm"], ("Did you mean 'random'?",)),
        (["select", "POOL", "-m", "not-a-model", "-e", "POOL.npy", "-o", "out"], ("cannot load the language model",)),
        (
            ["select", "POOL", "-m", "nobody/nothing", "-e", "POOL.npy"],
            ("cannot load the language model 'nobody/nothing'",),
        ),
        (["select", "POOL", "-i", "random", "-o", "taken"], ("cannot write the run folder 'taken'",)),
    ],
)
def test_an_error_of_every_kind_in_a_process_of_its_own(
    cli: Cli, place: Path, corpus: Corpus, arguments: list[str], words: tuple[str, ...]
) -> None:
    paths = {"POOL": str(corpus.pool), "POOL.npy": str(corpus.pool.with_suffix(".npy"))}
    refused(cli(*(paths.get(word, word) for word in arguments)), *words)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("folder/row.jsonl", ("there is no pool file", "Did you mean folder/rows.jsonl?")),
        ("table", ("is a folder", "rows.csv")),
        ("unusable.jsonl", ("no usable row", "3 rejected", "empty response")),
        ("columns.jsonl", ("no known row layout", "'front', 'back'", "Rename the columns")),
        ("empty.jsonl", ("is empty",)),
        ("rows.txt", ("suffix '.txt'",)),
        ("short.npy", ("suffix '.npy'",)),
    ],
)
def test_pools_that_cannot_be_used(here: Cli, place: Path, pool: str, words: tuple[str, ...]) -> None:
    refused(here("select", pool, "-i", "random", "-o", "out"), *words)
    refused(here("label", pool, "-i", "random", "-o", "out.npz"), *words)
    assert not (place / "out").exists() and not (place / "out.npz").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-b", "0"], ("--budget '0'", "no row at all")),
        (["-b", "0.1%"], ("no row at all",)),
        (["-b", "41"], ("41 rows", "only 40 rows")),
        (["-b", "101%"], ("only 40 rows",)),
        (["-b", "many"], ("--budget 'many'", "neither a number of rows (175) nor a percentage (5%)")),
        (["-b", "-3"], ("--budget '-3'",)),
        (["-b", "1.5"], ("--budget '1.5'",)),
        (["--format", "alpca"], ("unknown row layout 'alpca'", "Did you mean 'alpaca'?")),
        (["--target-format", "nope"], ("unknown row layout 'nope'",)),
        (["--format", "messages"], ("no usable row", "'messages'")),
        (["-i", "similarty"], ("unknown influence 'similarty'", "Did you mean 'similarity'?")),
        (["-i", "no.such:Thing"], ("cannot import the influence",)),
        (["-i", "json:JSONDecoder"], ("is no influence",)),
        (["--objective", "facility"], ("unknown objective 'facility'", "Did you mean 'facility-location'?")),
        (["-e", "no/such/folder"], ("no/such/folder",)),
        (["-e", "minilmm"], ("minilmm",)),
        (["-e", "missing.npy"], ("missing.npy",)),
        (["-e", "short.npy"], ("short.npy has 3 rows", "40 usable rows")),
        (["--existing", "POOL"], ("--existing is given", "flcg")),
        (["--objective", "flcg"], ("`flcg` needs --existing",)),
        (["--task", "continual"], ("--task continual needs --existing",)),
        (["--task", "chat"], ("--task is 'chat'",)),
        (["--known", "keeep"], ("--known is 'keeep'", "Did you mean 'keep'?")),
        (["--labels", "lots"], ("labels is 'lots'", "Valid forms")),
        (["--labels", "0"], ("at least one pair",)),
        (["--labels", "100000"], ("100000 pairs", "only 360")),
        (["--labels", "200%"], ("no more than 100 %",)),
        (["--option", "gap=1"], ("has no option 'gap'",)),
        (["--option", "gap"], ("not of the form name=value",)),
        (["--eta", "-1"], ("--eta is -1",)),
        (["--nu", "nan"], ("--nu is nan",)),
        (["--seed", "-1"], ("--seed is -1",)),
        (["--max-targets", "0"], ("--max-targets is 0",)),
        (["--max-length", "3"], ("--max-length is 3",)),
        (["--device", "gpu"], ("unknown --device 'gpu'",)),
        (["--device", "cuda"], ("CUDA",)),
        (["--dtype", "int8"], ("unknown --dtype 'int8'",)),
        (["-o", "taken"], ("cannot write the run folder 'taken'",)),
        (["-o", "taken/below"], ("cannot write the run folder",)),
        (["--quantize", "8bit"], ("--quantize is '8bit'",)),
    ],
)
def test_options_that_cannot_work(
    here: Cli, similarity: list[str], place: Path, corpus: Corpus, options: list[str], words: tuple[str, ...]
) -> None:
    options = [str(corpus.existing) if option == "POOL" else option for option in options]
    objective = ["--objective", "facility-location"] if "--existing" in options else []
    refused(here("select", *similarity, "-o", "out", *options, *objective), *words)
    assert not (place / "out" / "done.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ("needs a language model", "--model")),
        (["-m", "./no-model"], ("no model folder at './no-model'",)),
        (["-m", "not-a-model"], ("cannot load the language model 'not-a-model'",)),
        (["-m", "half-a-model"], ("cannot load the language model 'half-a-model'",)),
        (["-m", "missing.gguf"], ("missing.gguf",)),
    ],
)
def test_language_models_that_cannot_be_used(
    here: Cli, place: Path, corpus: Corpus, options: list[str], words: tuple[str, ...]
) -> None:
    common = ["-i", "delift", "-t", corpus.target, "-e", corpus.embeddings, "-o", "out"]
    refused(here("select", corpus.pool, *common, *options), *words)


def test_tasks_that_lack_their_files(here: Cli, corpus: Corpus) -> None:
    alone = ["select", corpus.pool, "-i", "similarity", "-e", corpus.embeddings, "-o", "out"]
    refused(here(*alone, "--task", "task-specific"), "--task task-specific needs --target")
    refused(here(*alone, "--objective", "fl1mi"), "`fl1mi` needs --target")
    refused(here(*alone, "--existing", "nowhere.jsonl"), "there is no existing file nowhere.jsonl")
    refused(here(*alone, "--target", "nowhere.jsonl"), "there is no target file nowhere.jsonl")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("nowhere.yaml", ("no recipe at 'nowhere.yaml'",)),
        ("recipe.yaml", ("unknown option 'bugdet'", "Did you mean 'budget'?")),
        ("list.yaml", ("is not a recipe",)),
        ("broken.yaml", ("is not YAML",)),
        ("folder", ("no recipe at 'folder'",)),
    ],
)
def test_recipes_that_cannot_be_replayed(here: Cli, place: Path, recipe: str, words: tuple[str, ...]) -> None:
    refused(here("run", recipe, "-o", "out"), *words)


def test_label_needs_a_file_name_of_arrays(here: Cli, similarity: list[str], place: Path) -> None:
    refused(here("label", *similarity, "-o", "labels.txt"), "labels.npz")
    refused(here("label", *similarity, "-o", "taken/labels.npz"), "taken")
    refused(here("label", *similarity, "--labels", "nonsense", "-o", "l.npz"), "labels is 'nonsense'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["select"], ("'pool'", "See `nncift select --help`.")),
        (["selekt"], ("Did you mean 'select'?", "See `nncift --help`.")),
        (["select", "a.jsonl", "--bugdet", "3"], ("--bugdet", "Did you mean --budget?")),
        (["select", "a.jsonl", "--seed", "x"], ("'--seed'", "integer")),
    ],
)
def test_words_that_are_no_command(here: Cli, arguments: list[str], words: tuple[str, ...]) -> None:
    refused(here(*arguments), *words)


def test_an_unwritable_folder(here: Cli, similarity: list[str], tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(here("select", *similarity, "-o", "locked/run"), "cannot write the run folder 'locked/run'")


def test_rows_of_a_large_file_stay_there(cli: Cli, tmp_path: Path) -> None:
    rows = [json.dumps({"id": f"r{k:02d}", "text": f"{k} " + "word " * 250_000}) for k in range(29)]
    (tmp_path / "pool.jsonl").write_text("\n".join([*rows, "{broken"]))
    assert (tmp_path / "pool.jsonl").stat().st_size > 32_000_000
    done = cli("select", "pool.jsonl", "-i", "length", "--budget", "5", "-o", "run", "--quiet")
    assert done.returncode == 0, done.stderr
    subset = (tmp_path / "run" / "subset.jsonl").read_text().splitlines()
    assert len(subset) == 5 and set(subset) <= set(rows)
    (rejected,) = (tmp_path / "run" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["line"] == 30
