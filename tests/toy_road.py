"""What a run needs, made in the test: corpora whose good rows are known, models in folders, influences in modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toys import toy_model, toy_tokenizer

SOURCE = Path(__file__).parents[1] / "src"

INFLUENCES = '''
"""Influences of a test: their values are planted, and every call can be counted and slowed down."""
import os, time
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Literal
import numpy as np
from nncift.influence.base import Traits


def noise(text):
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big") / 2**32


@dataclass(frozen=True, slots=True)
class Planted:
    """Rows of one topic help targets of that topic. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="planted", pairwise=True, objective="facility-location", uses_target=True)
    gap: float = 1.0
    offset: int = 0
    flip: bool = False
    shape: Literal["step", "flat"] = "step"

    def start(self, context):
        return Session(self, context)


@dataclass(frozen=True, slots=True)
class Worth:
    """Rows of the topic beta are worth more. *Cost*: nothing."""
    traits: ClassVar[Traits] = Traits(name="worth", pairwise=False, objective="top-mean")

    def start(self, context):
        return PointSession(context)


class Session:
    def __init__(self, influence, context):
        self.influence, self.context = influence, context

    def prepare(self, targets, *, on_progress):
        on_progress(len(targets))
        return {"targets": targets, "base": np.zeros(len(targets))}

    def label(self, i, j, prepared, *, on_progress):
        self.trace(i, j)
        values = []
        for a, b in zip(i, j):
            target, row = self.context.targets[int(a)], self.context.pool[int(b)]
            same = target.text.split()[0] == row.text.split()[0]
            value = self.influence.gap * same + 0.3 * noise(row.id) + 0.1 * noise(target.id + row.id)
            values.append(0.25 if self.influence.shape == "flat" else value)
        self.context.ledger.lm_forwards += len(i)
        on_progress(len(i))
        return np.array(values, dtype=np.float32) + self.influence.offset

    def trace(self, i, j):
        place = os.environ.get("TRACE")
        if place:
            with open(place, "a") as stream:
                stream.writelines(f"{self.context.targets[int(a)].id} {self.context.pool[int(b)].id}\\n" for a, b in zip(i, j))
            time.sleep(float(os.environ.get("SLOW", "0")))

    def truncated(self):
        return {}


class PointSession:
    def __init__(self, context):
        self.context = context

    def prepare(self, targets, *, on_progress):
        return {}

    def label(self, i, j, prepared, *, on_progress):
        rows = [self.context.pool[int(b)] for b in j]
        self.context.ledger.lm_forwards += len(j)
        on_progress(len(j))
        return np.array([row.text.startswith("beta") + 0.2 * noise(row.id) for row in rows], dtype=np.float32)

    def truncated(self):
        return {}
'''


@dataclass(frozen=True)
class Corpus:
    """Rows of two topics that lie in two corners of the space of embeddings.

    Attributes:
        pool: `pool.jsonl`, topics mixed.
        target: `target.jsonl`, all beta.
        existing: `existing.jsonl`, all beta.
        embeddings: the `.npy` files as `--embedder` takes them.
        n: pool rows.
        m: target rows.
        share: of the pool that is beta.
    """

    pool: Path
    target: Path
    existing: Path
    embeddings: str
    n: int
    m: int
    share: float

    def options(self, **more: Any) -> dict[str, Any]:
        """Keyword arguments of `nncift.select`, but for the pool."""
        return {"target": str(self.target), "embedder": self.embeddings, **more}


def make_corpus(folder: Path, *, n: int = 80, m: int = 9, e: int = 6, beta: int = 32) -> Corpus:
    """Writes rows and vectors."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(11)
    topics = np.array(["beta"] * beta + ["alpha"] * (n - beta))
    draw.shuffle(topics)
    files = {"pool": list(topics), "target": ["beta"] * m, "existing": ["beta"] * e}
    centre = {"alpha": np.eye(8)[0], "beta": np.eye(8)[1]}
    for name, own in files.items():
        rows = [
            {"prompt": f"{topic} question {name} {k}", "completion": f"{topic} answer {name} {k}"}
            for k, topic in enumerate(own)
        ]
        write_rows(folder / f"{name}.jsonl", rows)
        vectors = np.array([centre[topic] for topic in own]) + 0.25 * draw.standard_normal((len(own), 8))
        np.save(folder / f"{name}.npy", vectors.astype(np.float32))
    paths = [folder / f"{name}.jsonl" for name in files]
    vectors = ",".join(str(folder / f"{name}.npy") for name in files)
    return Corpus(*paths, vectors, n, m, beta / n)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def share_of_beta(texts: Sequence[str]) -> float:
    """How much of the chosen rows is of the target's topic."""
    return float(np.mean([text.startswith("beta") for text in texts]))


def save_model(folder: Path, *, uniform: bool = False) -> Path:
    """A toy language model as a user's own would lie in a folder; `uniform` gives every token the same probability."""
    model = toy_model("llama")
    if uniform:
        with torch.no_grad():
            model.get_output_embeddings().weight.zero_()
    model.save_pretrained(folder)
    toy_tokenizer().save_pretrained(folder)
    return folder


def write_influences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts the module of planted influences on the path, and returns its name."""
    name = "planted_influences"
    (folder / f"{name}.py").write_text(INFLUENCES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def run_cli(
    *arguments: object, cwd: Path, path: Sequence[Path] = (), timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """`nncift ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "nncift", *map(str, arguments)]
    environment = cli_environment(*path)
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def cli_environment(*path: Path, **more: str) -> dict[str, str]:
    """The environment of a process that imports this checkout's package, offline."""
    places = os.pathsep.join(map(str, (SOURCE, *path)))
    return os.environ | {"PYTHONPATH": places, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **more}
