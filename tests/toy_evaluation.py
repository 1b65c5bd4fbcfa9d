"""What an evaluation needs, made in the test: a pool, chosen rows, test rows, a language model and a sentence encoder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nncift.data.files import load_pool
from nncift.data.rows import Pool
from nncift.evaluation.evaluate import Evaluation, evaluate
from nncift.evaluation.options import EvaluateConfig
from nncift.evaluation.subjects import Named, Subject
from nncift.selection import Influences
from toy_encoder import WORDS, make_toy_encoder
from toy_road import save_model, write_rows

POOL, SUBSET, TARGET, TEST = 31, 8, 5, 7


@dataclass(frozen=True)
class Toy:
    """Files of an evaluation.

    Attributes:
        folder: of all of them.
        pool, subset, target, test: `.jsonl`; the subset is of the pool, test and target rows are not.
        model, encoder: folders.
    """

    folder: Path
    pool: Path
    subset: Path
    target: Path
    test: Path
    model: Path
    encoder: Path

    def config(self, output: str | Path, *subsets: str | Path, **more: Any) -> EvaluateConfig:
        """A quick evaluation of the chosen rows, or of others, by `lora` on the CPU."""
        quick = {
            "pool": str(self.pool), "test": str(self.test), "model": str(self.model), "embedder": str(self.encoder),
            "controls": "initial,random", "seeds": 1, "draws": 2, "epochs": 1, "rank": 2, "learning_rate": 1e-2,
            "shots": 2, "max_new_tokens": 4, "device": "cpu", "dtype": "float32",
        }  # fmt: skip
        named = tuple(map(str, subsets)) or (str(self.subset),)
        return EvaluateConfig.of(quick | {"subset": named, "output": str(self.folder / output)} | more)

    def evaluate(self, output: str | Path, *subsets: str | Path, **more: Any) -> Evaluation:
        """The same, done."""
        return evaluate(self.config(output, *subsets, **more))

    def write(self, name: str, rows: Sequence[dict[str, Any]]) -> Path:
        """A further file beside these."""
        return write_rows(self.folder / name, rows)


def make_toy(folder: Path) -> Toy:
    """Writes everything."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(3)
    pool = toy_rows("pool", POOL)
    chosen = [pool[k] for k in sorted(draw.permutation(POOL)[:SUBSET])]
    files = {"pool": pool, "subset": chosen, "target": toy_rows("target", TARGET), "test": toy_rows("test", TEST)}
    paths = {name: write_rows(folder / f"{name}.jsonl", rows) for name, rows in files.items()}
    return Toy(folder, **paths, model=save_model(folder / "model"), encoder=make_toy_encoder(folder / "encoder"))


def toy_rows(part: str, count: int) -> list[dict[str, str]]:
    """Rows of words that the encoder knows, all unlike."""
    draw = np.random.default_rng(sum(map(ord, part)))
    drawn = [[WORDS[k] for k in draw.integers(len(WORDS), size=5)] for _ in range(count)]
    return [
        {"id": f"{part}-{k:02d}", "prompt": f"{' '.join(words[:4])} {part} {k}?", "completion": f"{words[4]} {k}"}
        for k, words in enumerate(drawn)
    ]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """JSONL."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def named(pool: Pool, *subjects: Subject, target: Pool | None = None, **runs: Any) -> Named:
    """What the user named, put together by hand."""
    seen = frozenset(row.content_key for row in target or ())
    return Named(subjects, runs, pool, target, seen, (), {})


@dataclass(frozen=True)
class ToyRun:
    """As much of a selection as a control looks at."""

    values: np.ndarray
    targets: Pool
    pool: Pool
    size: int
    objective: str = "facility-location"

    def __len__(self) -> int:
        return self.size

    def influences(self) -> Influences:
        """The planted ones."""
        targets = () if self.values.shape[1] == 1 else self.targets.by_id().examples
        return Influences(self.values, targets, self.pool.by_id().examples)

    @property
    def costs(self) -> dict[str, Any]:
        """Some."""
        return {"exact": None, "total": {"flops": 6.0e9, "seconds": 2.0, "cpu_seconds": 1.0}}


def pool_of(rows: Sequence[dict[str, Any]]) -> Pool:
    """Rows in memory."""
    return load_pool(list(rows))
