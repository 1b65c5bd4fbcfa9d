"""Nothing that data, a model or a folder from elsewhere says is run, becomes a path, or lets a secret out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

import nncift
from nncift.data.hub import read_hub
from nncift.embed.choose import load_embedder
from nncift.errors import DataError, ModelError
from nncift.experiment.grid import safe_name
from nncift.lm.device import place
from nncift.lm.load import load_language_model, load_tokenizer
from nncift.run import read_records
from toy_encoder import make_toy_encoder
from toy_road import make_corpus, run_cli, save_model, write_influences, write_rows

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


def test_no_file_of_a_run_tells_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the environment, in an option, and in what a teacher says while it works."""
    module = write_influences(tmp_path, monkeypatch)
    source = (tmp_path / f"{module}.py").read_text()
    source += '''

@dataclass(frozen=True, slots=True)
class Keyed(Planted):
    """Asks a service. *Cost*: nothing."""
    api_key: str = ""

    def start(self, context):
        import logging, os
        logging.getLogger("nncift").warning("asked https://anna:%s@host with %s", "geheim-17", os.environ["HF_TOKEN"])
        return Session(self, context)
'''
    (tmp_path / f"{module}.py").write_text(source)
    corpus = make_corpus(tmp_path / "in", n=60, m=7)
    monkeypatch.setenv("HF_TOKEN", "hf_plantedPlantedPlanted")
    monkeypatch.setenv("OPENAI_API_KEY", "service-secret-of-the-user")
    arguments = [
        *("select", corpus.pool, "--target", corpus.target, "--embedder", corpus.embeddings, "--budget", "6"),
        *("--influence", f"{module}:Keyed", "--option", f"api_key={SECRET}", "--labels", "100", "-o", "run"),
    ]
    done = run_cli(*arguments, cwd=tmp_path, path=[tmp_path])
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"recipe.yaml", "report.html", "environment.json", "labels.npz", "stages.json"} <= {
        path.name for path in files
    }
    texts = {path.name: path.read_bytes() for path in files if path.suffix != ".npz"} | {"screen": told.encode()}
    with np.load(tmp_path / "run" / "labels.npz", allow_pickle=False) as arrays:
        texts["labels.npz"] = str(arrays["meta"]).encode()
    for name, body in texts.items():
        for secret in (SECRET, "hf_plantedPlantedPlanted", "service-secret-of-the-user", "geheim-17"):
            assert secret.encode() not in body, f"{secret} stands in {name}"
    again = run_cli("run", tmp_path / "run" / "recipe.yaml", cwd=tmp_path, path=[tmp_path])
    assert again.returncode == 2 and "recipes keep none" in again.stderr
