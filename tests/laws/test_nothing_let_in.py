"""Nothing that data, a model or a folder from elsewhere says is run, becomes a path, or lets a secret out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import nncift
from nncift.config import flag
from nncift.data.hub import read_hub
from nncift.embed.choose import load_embedder
from nncift.errors import DataError, ModelError
from nncift.experiment.grid import safe_name
from nncift.lm.device import place
from nncift.lm.load import load_language_model, load_tokenizer
from nncift.redact import STRUCK
from nncift.run import read_records
from toy_encoder import make_toy_encoder
from toy_evaluation import make_toy
from toy_experiment import QUICK, make_experiment
from toy_road import make_corpus, run_cli, save_model, write_influences, write_rows
from toy_server import Reply, toy_server

OUTSIDE = Path(tempfile.gettempdir()) / "escaped"
NAMES = ("../../escaped", str(OUTSIDE), "a/b\\c", "nul\0escaped", "x" * 300, "..", "C:\\escaped", "$(touch escaped)")

SECRET = "sk-planted-0123456789abcdef"


@pytest.mark.parametrize("trigger", ["model", "tokenizer"])
def test_code_in_a_model_folder_is_run_on_the_users_word_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trigger: str
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = save_model(tmp_path / "model")
    flag = tmp_path / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(flag)!r}).touch()\n")
    for file, key in (("config.json", "AutoModelForCausalLM"), ("tokenizer_config.json", "AutoTokenizer")):
        body = json.loads((folder / file).read_text())
        body["auto_map"] = {
            key: ["evil.Evil", None] if key == "AutoTokenizer" else "evil.Evil",
            "AutoConfig": "evil.Evil",
        }
        if file == "config.json":
            body["model_type"] = "evil"
        (folder / file).write_text(json.dumps(body))

    def load(*, trusted: bool) -> None:
        with pytest.raises(ModelError):
            if trigger == "model":
                load_language_model(str(folder), place("cpu"), trust_remote_code=trusted)
            else:
                load_tokenizer(str(folder), trust_remote_code=trusted)

    load(trusted=False)
    assert not flag.exists()
    load(trusted=True)
    assert flag.exists()  # the trap is a real one


@pytest.mark.parametrize("kind", ["evil.Evil", "os.path.join"])
def test_code_in_an_embedder_folder_is_not_run(tmp_path: Path, kind: str) -> None:
    folder = make_toy_encoder(tmp_path)
    flag = tmp_path / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(flag)!r}).touch()\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="never run"):
        load_embedder(str(folder), device="cpu")
    assert not flag.exists()


@pytest.mark.parametrize(
    "source", ["hub:..", "hub:../rows", "hub:./x", "hub:owner/..", "hub:/etc/passwd", "hub:a/b/c/d"]
)
def test_a_hub_name_is_no_path(source: str) -> None:
    with pytest.raises(DataError, match="does not name"):
        next(read_hub(source))


def test_a_folder_is_not_read_in_place_of_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    write_rows(tmp_path / "x.jsonl", [{"text": "planted"}])
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="in its place"):
        next(read_hub("hub:owner/name"))


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_name_stays_in_its_folder(name: str) -> None:
    safe = safe_name([name, name])
    assert "/" not in safe and "\\" not in safe and "\0" not in safe and ".." not in safe.split(".")
    assert 0 < len(safe.encode()) <= 160 and Path(safe).name == safe


def test_ids_and_columns_never_become_paths(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "in", n=40, m=5)
    rows = [json.loads(line) for line in corpus.pool.read_text().splitlines()]
    for row, name in zip(rows, (*NAMES, *NAMES), strict=False):
        row["task"] = name
    for row, name in zip(rows, NAMES, strict=False):
        row["id"] = name
    write_rows(corpus.pool, rows)
    before = {path for path in tmp_path.rglob("*")} | {Path("escaped"), OUTSIDE}
    run = tmp_path / "out" / "run"
    picked = nncift.select(str(corpus.pool), budget=20, influence="similarity", output=run, **corpus.options())
    picked.export(str(tmp_path / "out" / "handed"), trainer="trl")
    made = {path for path in tmp_path.rglob("*")} - before
    assert made and all(path.is_relative_to(tmp_path / "out") for path in made)
    assert not any("escaped" in path.name or "xxx" in path.name for path in made)
    assert not OUTSIDE.exists() and not Path("escaped").exists()


@pytest.mark.parametrize("file", ["../victim", "/victim", "a/../../victim"])
def test_a_run_folder_from_elsewhere_has_nothing_outside_deleted(tmp_path: Path, file: str) -> None:
    corpus = make_corpus(tmp_path / "in", n=40, m=5)
    run, victim = tmp_path / "run", tmp_path / "victim"
    options = {"budget": 5, "influence": "similarity", "output": run}
    nncift.select(str(corpus.pool), **options, **corpus.options())
    victim.write_text("precious")
    named = str(victim) if file.startswith("/") else file
    records = json.loads((run / "stages.json").read_text())
    records["select"] |= {"key": "old", "files": {named: "0" * 64}}
    records["gone"] = records["select"]
    (run / "stages.json").write_text(json.dumps(records))
    assert read_records(run) == {}
    nncift.select(str(corpus.pool), **options, **corpus.options())
    assert victim.read_text() == "precious"


KEYED = '''

@dataclass(frozen=True, slots=True)
class Keyed(Planted):
    """Asks a service. *Cost*: nothing."""
    api_key: str = ""
    how: Literal["works", "dies", "refused"] = "works"

    def start(self, context):
        import logging, os
        from nncift.errors import RunError
        known = f"{os.environ['HF_TOKEN']}, {os.environ['OPENAI_API_KEY']}"
        said = f"asked https://anna:geheim-17@host with {known} and api_key={self.api_key}"
        logging.getLogger("nncift").warning("%s", said)
        context.reporter.begin("ask", 0, "")
        context.reporter.end(said)
        if self.how == "dies":
            raise ValueError(said, {"key": self.api_key})
        if self.how == "refused":
            raise RunError(said)
        return Session(self, context)
'''

PLANTED = {
    "HF_TOKEN": "hf_plantedPlantedPlanted",
    "OPENAI_API_KEY": "service-secret-of-the-user",
    "NNCIFT_JUDGE_KEY": "grader/secret.of+the-user",
}
SECRETS = (SECRET, "geheim-17", *PLANTED.values())


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Secrets in the environment, and a module of influences one of which tells them while it works."""
    module = write_influences(folder, monkeypatch)
    with (folder / f"{module}.py").open("a") as file:
        file.write(KEYED)
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return module


def tells_none(told: str, *folders: Path) -> list[Path]:
    """The files of some folders, none of whose names, bytes and unpacked arrays has a secret, nor what was printed."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    texts = {"screen": told.encode()}
    for path in files:
        texts[str(path)] = str(path).encode() + path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                texts[f"{path} unpacked"] = repr([arrays[name].tolist() for name in arrays.files]).encode()
    escaped = [json.dumps(secret)[1:-1].replace("/", "\\/") for secret in SECRETS]
    found = [
        (secret, name) for name, body in texts.items() for secret in (*SECRETS, *escaped) if secret.encode() in body
    ]
    assert found == []
    return files


def test_no_file_of_a_run_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the environment, in an option, and in what a teacher says while it works."""
    module = plant(tmp_path, monkeypatch)
    corpus = make_corpus(tmp_path / "in", n=60, m=7)
    arguments = [
        *("select", corpus.pool, "--target", corpus.target, "--embedder", corpus.embeddings, "--budget", "6"),
        *("--influence", f"{module}:Keyed", "--option", f"api_key={SECRET}", "--labels", "100"),
    ]
    done = run_cli(*arguments, "-o", "run", cwd=tmp_path, path=[tmp_path])
    assert done.returncode == 0, done.stderr
    files = tells_none(done.stdout + done.stderr, tmp_path / "run")
    assert {"recipe.yaml", "report.html", "environment.json", "labels.npz", "stages.json"} <= {
        path.name for path in files
    }
    again = run_cli("run", tmp_path / "run" / "recipe.yaml", cwd=tmp_path, path=[tmp_path])
    assert again.returncode == 2 and "recipes keep none" in again.stderr
    refused = run_cli(*arguments, "--option", "how=refused", "-o", "refused", cwd=tmp_path, path=[tmp_path])
    assert refused.returncode == 2 and f"asked https://{STRUCK}@host" in refused.stderr.splitlines()[-1]
    tells_none(refused.stdout + refused.stderr, tmp_path / "refused")


def test_no_file_of_an_evaluation_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its run folder's teacher says them, its judge repeats them, and a login stands in its address."""
    pytest.importorskip("openai", reason="openai is not installed (extra `judge`)")
    module = plant(tmp_path, monkeypatch)
    toy = make_toy(tmp_path / "in")
    done = run_cli(
        *("select", toy.pool, "--target", toy.target, "--embedder", toy.encoder, "--budget", "6", "--labels", "all"),
        *("--influence", f"{module}:Keyed", "--option", f"api_key={SECRET}", "-o", "run", "--device", "cpu"),
        cwd=tmp_path,
        path=[tmp_path],
    )
    assert done.returncode == 0, done.stderr
    quick = [word for name, value in QUICK.items() for word in (flag(name), str(value)) if name != "metrics"]
    arguments = ["evaluate", "run", toy.subset, "--pool", toy.pool, "--test", toy.test, "--model", toy.model, *quick]
    said = json.dumps({"error": {"message": f"no such key: {' '.join(SECRETS)}"}}).encode()
    answers = [
        [Reply(status=400, body=said)],
        [Reply(status=401, body=said)],
        [Reply(f"{' '.join(SECRETS)} [RESULT] 3")],
    ]
    with toy_server(lambda item: answers[len(item) % 3]) as server:
        judged = ["--metrics", "loss,judge", "--judge", server.url, "--judge-model", "m", "--device", "cpu"]
        done = run_cli(*arguments, *judged, "-o", "out", cwd=tmp_path, path=[tmp_path])
        assert done.returncode == 0, done.stderr
        assert any(PLANTED["NNCIFT_JUDGE_KEY"] in asked.headers["authorization"] for asked in server.asked)
    files = tells_none(done.stdout + done.stderr, tmp_path / "out")
    assert {"evaluation.yaml", "environment.json", "cells.json"} <= {path.name for path in files}
    address = [
        "--metrics",
        "judge",
        "--judge",
        f"http://anna:geheim-17@127.0.0.1:9/v1?key={SECRET}",
        "--judge-model",
        "m",
    ]
    refused = run_cli(*arguments, *address, "-o", "refused", cwd=tmp_path, path=[tmp_path])
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    tells_none(refused.stdout + refused.stderr, tmp_path / "refused")


def test_no_file_of_an_experiment_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its cells work, are refused and die, in its recipe's own words, and where it is reported and gone on with."""
    module = plant(tmp_path, monkeypatch)
    toy = make_experiment(tmp_path / "in")
    keyed = {
        how: {"influence": f"{module}:Keyed", "option": [f"api_key={SECRET}", f"how={how}"]}
        for how in ("works", "dies", "refused")
    }
    over = ["data", "model", "influence", "how", "v"]
    changes = {
        "claim": f"Posted to https://anna:geheim-17@host with api_key={SECRET}, not {PLANTED['HF_TOKEN']}.",
        "axes": toy.axes(influence=keyed, how={"exact": {"labels": "all"}}, v={"8": {"budget": 8}}),
        "steps": [
            {"verb": "select", "over": over},
            {"verb": "evaluate", "over": over, "subsets": "select", "options": QUICK},
            {"verb": "label", "over": ["data", "model", "influence"], "options": {"labels": "all"}},
        ],
        "without": [],
    }
    del changes["axes"]["u"]
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(yaml.safe_dump(toy.body | changes, sort_keys=False))
    for words in (["--dry-run"], ["--dry-run", "--json"], [], ["--tables"]):
        done = run_cli(
            "experiment", recipe, "--data", toy.toy.folder, "-o", "out", *words, cwd=tmp_path, path=[tmp_path]
        )
        assert done.returncode == (1 if not words else 0), done.stderr
        files = tells_none(done.stdout + done.stderr, tmp_path / "out")
    names = {path.name for path in files}
    assert {"experiment.yaml", "environment.json", "recipe.yaml", "labels.npz"} <= names
    failures = [path.read_text() for path in files if "Traceback" in path.read_text(errors="replace")]
    assert failures and all(STRUCK in text and "ValueError" in text for text in failures)
    again = run_cli("experiment", "out", "--data", toy.toy.folder, cwd=tmp_path, path=[tmp_path])
    tells_none(again.stdout + again.stderr, tmp_path / "out")
