"""RDS+: rows are alike where a language model's own hidden states are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.data.wording import WordingName, choose_wording
from nncift.errors import DataError
from nncift.influence.base import Asked, Calls, Context, Progress, Traits
from nncift.influence.kept import kept
from nncift.influence.similarity import dot_products
from nncift.lm.hidden import Pooling, pooled_states
from nncift.lm.tokens import tokenize_row

_CHUNK = 128  # pool rows whose features are computed and kept together: what a kill may lose


@dataclass(frozen=True, slots=True)
class Rds:
    """Cosine of two rows' hidden states in a language model, in [-1, 1].

    Use it to choose for a target at one forward per row: the strongest of the cheap methods from large pools. With h_t
    the last hidden state of token t of T, prompt and response together,

        e = Σ_t t / (1 + 2 + ... + T) · h_t          y = cosine of the two rows' e

    so that later tokens, which have seen more, count for more.

    Args:
        pooling: `weighted` is the above, `mean` weighs all tokens alike, `last` takes the last one.
        wording: `auto` words rows in the model's chat format where it has one, else plainly; `plain`, `chat`.

    *Cost*: m + n forwards, one for each row that is asked about; pairs cost nothing. Features of pool rows are kept.
    *Reference*: Ivison et al., Large-Scale Data Selection for Instruction Tuning, 2025, RDS+.
    """

    traits: ClassVar[Traits] = Traits(
        name="rds", pairwise=True, objective="round-robin", needs_model=True, uses_target=True, priced="row"
    )

    pooling: Pooling = "weighted"
    wording: WordingName = "auto"

    def calls(self, asked: Asked) -> Calls:
        """One forward for each row on either side."""
        return Calls(asked.targets + asked.candidates)

    def start(self, context: Context) -> RdsSession:
        """Chooses the wording; nothing is computed yet."""
        return RdsSession(context, self)


class RdsSession:
    """RDS+ at work: computes features of pool rows when they are first asked for, a chunk at a time."""

    def __init__(self, context: Context, influence: Rds) -> None:
        self.context = context
        self.lm = context.lm
        self.pooling: Pooling = influence.pooling
        self.wording = choose_wording(self.lm.tokenizer, influence.wording)
        self.found: dict[int, Float[ndarray, " d"] | None] = {}
        self.cut: dict[str, str] = {}
        announced = sorted((int(j) for j in context.asked_pool), key=lambda j: context.pool[j].id)
        chunks = [announced[start : start + _CHUNK] for start in range(0, len(announced), _CHUNK)]
        self.chunk_of = {j: chunk for chunk in chunks for j in chunk}

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """The features of targets: `features`, float32 [T, d] of length one, beside their positions `targets`.

        Raises:
            DataError: a target's response has no token.
        """
        rows = [self.context.targets[int(i)] for i in targets]
        features, usable, cut = self._features(rows, on_progress)
        for i, row, has_token in zip(targets, rows, usable, strict=True):
            if not has_token and not self.context.is_candidate(int(i)):  # a pool row to be covered just stays uncovered
                raise DataError(f"row {row.id!r}: its response has no token under this tokenizer. Remove the row.")
        self._note(rows, cut)
        return {"targets": targets, "features": features}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Cosines; minus infinity for a pool row whose response has no token."""
        asked, at = np.unique(j, return_inverse=True)
        for row in asked.tolist():
            if row not in self.found:
                self._find(self.chunk_of.get(row, [row]))
        targets = prepared["features"]
        nothing = np.zeros(targets.shape[1], dtype=np.float32)
        features = [self.found[row] for row in asked.tolist()]
        pool = np.array([nothing if vector is None else vector for vector in features])
        values = dot_products(targets, pool, np.searchsorted(prepared["targets"], i), at)
        values[np.array([vector is None for vector in features])[at]] = -np.inf
        on_progress(len(i))
        return values.astype(np.float32)

    def truncated(self) -> dict[str, str]:
        """Rows that lost text so far."""
        return dict(self.cut)

    def _find(self, chunk: Sequence[int]) -> None:
        """Features of some pool rows, from the folder or computed and kept there."""
        rows = [self.context.pool[j] for j in chunk]
        depends = {
            "code": 1,
            "model": self.lm.fingerprint,
            "dtype": self.lm.placement.dtype,
            "quantized": bool(getattr(self.lm.model, "is_quantized", False)),
            "max_length": self.lm.max_length,
            "pooling": self.pooling,
            "wording": self.wording.name,
            "rows": [row.content_key for row in rows],
        }

        def compute() -> dict[str, ndarray]:
            names = ("features", "usable", "cut")
            return dict(zip(names, self._features(rows, lambda count: None), strict=True))

        stored = kept(self.context.folder / "rds", depends, compute)
        for j, vector, usable in zip(chunk, stored["features"], stored["usable"], strict=True):
            self.found[j] = vector if usable else None
        self._note(rows, stored["cut"])

    def _features(
        self, rows: Sequence[Example], on_progress: Progress
    ) -> tuple[Float[ndarray, "R d"], Bool[ndarray, " R"], Bool[ndarray, " R"]]:
        """Features of length one, which rows have any, and which lost text."""
        limit = self.lm.max_length
        queries = [tokenize_row(self.lm.tokenizer, self.wording, row, limit=limit) for row in rows]
        sequences = [(*query.ids, *query.response) for query in queries if query]
        usable = np.array([query is not None for query in queries], dtype=np.bool_)
        states = pooled_states(self.lm, sequences, self.pooling, on_progress=on_progress)
        features = np.zeros((len(rows), states.shape[1]), dtype=np.float32)
        features[usable] = states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-30)
        return features, usable, np.array([query is not None and query.truncated for query in queries], dtype=np.bool_)

    def _note(self, rows: Sequence[Example], cut: Bool[ndarray, " R"]) -> None:
        for row, lost in zip(rows, cut, strict=True):
            if lost and row.id not in self.cut:
                self.context.ledger.truncated += 1
                self.cut[row.id] = "prompt or response cut to the context limit"
