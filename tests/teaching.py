"""Asks a teacher in a test: builds its context, counts what it does, and returns its answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from nncift.data.arrays import write_npz
from nncift.data.files import load_pool
from nncift.data.rows import Example
from nncift.influence.base import Asked, Context, Session
from nncift.ledger import Ledger
from nncift.lm.model import LanguageModel


def rows(*pairs: tuple[str, str]) -> tuple[Example, ...]:
    """Prompts and responses as examples, in this order."""
    return load_pool([{"prompt": prompt, "completion": response} for prompt, response in pairs]).examples


def toy_rows(role: str, count: int) -> tuple[Example, ...]:
    """Rows of one role with unlike texts and responses of one to seven words, in the order of their ids."""
    texts = [
        {"id": f"{role}{k:02d}", "prompt": f"{role} {k}?", "completion": "yes " * (1 + k % 7)} for k in range(count)
    ]
    return load_pool(texts).by_id().examples


def every_pair(m: int, n: int) -> tuple[ndarray, ndarray]:
    """All (i, j), candidate by candidate."""
    return np.tile(np.arange(m, dtype=np.int32), n), np.repeat(np.arange(n, dtype=np.int32), m)


def toy_vectors(examples: Sequence[Example]) -> ndarray:
    """A unit vector of seven numbers for each id, whatever stands beside it."""
    found = [np.random.default_rng(int.from_bytes(row.id.encode(), "big")).standard_normal(7) for row in examples]
    return np.array([vector / np.linalg.norm(vector) for vector in found], dtype=np.float32).reshape(-1, 7)


def needed_options(name: str, folder: Path, targets: Sequence[Example], pool: Sequence[Example]) -> dict[str, str]:
    """What an influence cannot do without, made for these rows: the file of `recorded`."""
    if name != "recorded":
        return {}
    ids = {"target_ids": np.array([row.id for row in targets]), "pool_ids": np.array([row.id for row in pool])}
    values = np.random.default_rng(7).standard_normal((len(targets), len(pool))).astype(np.float32)
    write_npz(folder / "recorded.npz", {"values": values, **ids})
    return {"matrix": str(folder / "recorded.npz")}


@dataclass(frozen=True)
class Answer:
    """What a session gave.

    Attributes:
        y: [L] in the order of the pairs.
        prepared: what `prepare` returned.
        session: the session.
        ledger: what it cost.
        shape: (m, n).
    """

    y: ndarray
    prepared: dict[str, ndarray]
    session: Session
    ledger: Ledger
    shape: tuple[int, int]

    @property
    def matrix(self) -> ndarray:
        """[m, n] where all pairs were asked for."""
        m, n = self.shape
        return self.y.reshape(n, m).T


def ask(
    teacher: Any,
    targets: Sequence[Example],
    pool: Sequence[Example],
    *,
    lms: Sequence[LanguageModel] = (),
    pairs: tuple[ndarray, ndarray] | None = None,
    asked: tuple[ndarray, ndarray] | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> Answer:
    """Starts a session and labels the pairs: all, if none are named.

    Args:
        teacher: the influence.
        targets, pool: the rows; a pointwise influence has one row of answers whatever the targets.
        lms: language models.
        pairs: (i, j).
        asked: positions of targets and of pool rows that the context announces; all, if none are named.
        seed: of the run.
        folder: the teacher's workspace; a new one, if none is named.
    """
    traits = teacher.traits
    m, n = len(targets) if traits.pairwise else 1, len(pool)
    i, j = every_pair(m, n) if pairs is None else pairs
    everything = np.arange(len(targets) if traits.uses_target else 0), np.arange(n)
    ledger = Ledger()
    for lm in lms:
        lm.meter.ledger = ledger
    with tempfile.TemporaryDirectory() as own:
        context = Context(
            targets=tuple(targets) if traits.uses_target else (),
            pool=tuple(pool),
            asked_targets=(asked or everything)[0],
            asked_pool=(asked or everything)[1],
            folder=folder or Path(own),
            seed=seed,
            ledger=ledger,
            lms=tuple(lms) if traits.needs_model else (),
            target_embeddings=toy_vectors(targets) if traits.needs_embeddings and traits.uses_target else None,
            pool_embeddings=toy_vectors(pool) if traits.needs_embeddings else None,
        )
        session = teacher.start(context)
        done: list[int] = []
        prepared = session.prepare(np.unique(i), on_progress=done.append)
        before = sum(done)
        y = session.label(i, j, prepared, on_progress=done.append)
        assert sum(done) - before == len(i), "on_progress must be told of every pair"
    return Answer(y, prepared, session, ledger, (m, n))


def size_of(answer: Answer, *, targets: int) -> Asked:
    """What `calls` is asked about a question for all pairs."""
    m, n = answer.shape
    return Asked(targets=targets, candidates=n, pairs=m * n, pool=n)
