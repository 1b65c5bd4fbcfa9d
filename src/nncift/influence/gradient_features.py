"""Fills a feature store with projected gradients: what the gradient teachers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from nncift.data.rows import Example
from nncift.data.wording import Wording
from nncift.influence.base import Context, Progress
from nncift.lm.model import LanguageModel
from nncift.lm.packing import by_length
from nncift.lm.tokens import Query, tokenize_row
from nncift.tuning.adam import Direction, adam_direction
from nncift.tuning.checkpoint import Checkpoint, Tensors
from nncift.tuning.features import FeatureStore, Kept
from nncift.tuning.gradients import row_gradients
from nncift.tuning.lora import install
from nncift.tuning.losses import scored_tokens
from nncift.tuning.projection import CountSketch

Turn = Callable[[str, Tensor], Tensor]
"""Makes of the gradients [B, p_l] of a named weight what is projected; it may overwrite them."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Rows that have something to learn from, in the order in which features are computed and kept: by length, then id.

    Attributes:
        positions: of the rows where they came from.
        ids: of the rows.
        queries: their tokens.
    """

    positions: Int[ndarray, " k"]
    ids: tuple[str, ...]
    queries: tuple[Query, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> str:
        """Hash of ids and tokens."""
        digest = sha256()
        for row, query in zip(self.ids, self.queries, strict=True):
            digest.update(f"{len(row)} {row} {query.ids} {query.response}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def tokenize_rows(
    context: Context, wording: Wording, rows: Sequence[Example], positions: Int[ndarray, " k"], cut: dict[str, str]
) -> Tokens:
    """The rows at some positions as a model is trained on them; rows without a scored token are left out, and those that
    lost text to the context limit are noted in `cut`."""
    lm = context.lm
    found: list[tuple[int, str, int, Query]] = []
    for position in positions:
        row = rows[position]
        query = tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length)
        if query is None or not scored_tokens(query):
            continue
        if query.truncated and row.id not in cut:
            context.ledger.truncated += 1
            cut[row.id] = "prompt or response cut to the context limit"
        found.append((len(query), row.id, int(position), query))
    found.sort(key=lambda one: one[:2])
    return Tokens(
        np.array([position for _, _, position, _ in found], dtype=np.int64),
        tuple(row for _, row, _, _ in found),
        tuple(query for _, _, _, query in found),
    )


@dataclass(frozen=True, slots=True)
class Extraction:
    """Takes gradients at checkpoints and projects them.

    Attributes:
        lm: a language model with the adapter on it.
        weights: the adapter, as `attach` gave it.
        checkpoints: where gradients are taken; None is the adapter as it is.
        sketch: the projection.
        folder: where stores are kept.
        key: hash of all that the adapter, the checkpoints and the projection depend on.
        kept: how stores keep vectors.
        on_progress: told how many more rows are done at one checkpoint, those of an earlier run included.
    """

    lm: LanguageModel
    weights: Mapping[str, torch.nn.Parameter]
    checkpoints: Sequence[Checkpoint | None]
    sketch: CountSketch
    folder: Path
    key: str
    kept: Kept
    on_progress: Progress

    @classmethod
    def of(
        cls,
        context: Context,
        weights: Mapping[str, torch.nn.Parameter],
        checkpoints: Sequence[Checkpoint | None],
        *,
        key: str,
        r: int,
        kept: Kept,
    ) -> Extraction:
        """For the one model of a context: `key` names all that the adapter and its checkpoints depend on."""
        sizes = {name: weight.numel() for name, weight in weights.items()}
        sketch = CountSketch(sizes, buckets=r, seed=context.seed, device=context.lm.model.device)
        named = f"{key} {r} {context.seed}"
        return cls(context.lm, weights, checkpoints, sketch, context.folder, named, kept, context.reporter.advance)

    def features(self, rows: Tokens, *, adam: Direction | None = None) -> FeatureStore:
        """The features of the rows at every checkpoint: of their gradients, or of Adam's directions at its moments."""
        named = sha256(f"features 1 {self.key} {self.kept} {adam} {rows.key}".encode()).hexdigest()[:32]
        shape = (len(self.checkpoints), len(rows), self.sketch.width)
        store = FeatureStore(self.folder / f"features-{named}", shape, kept=self.kept)
        missing = list(store.missing())
        self.on_progress(shape[0] * shape[1] - sum(chunk.stop - chunk.start for _, chunk in missing))
        for t, checkpoint in enumerate(self.checkpoints):
            chunks = [chunk for at, chunk in missing if at == t]
            turn = self._visit(checkpoint, adam) if chunks else _as_it_is
            for chunk in chunks:
                queries = rows.queries[chunk]
                found = projected_gradients(self.lm, list(self.weights), queries, self.sketch, turn=turn)
                store.put(t, chunk, found)
                self.on_progress(len(queries))
        return store

    def _visit(self, checkpoint: Checkpoint | None, adam: Direction | None) -> Turn:
        """Puts the adapter at a checkpoint."""
        if checkpoint is None:
            return _as_it_is
        tensors = checkpoint.read()
        install(self.weights, tensors.adapter)
        if adam is None:
            return _as_it_is
        return adam_turn(tensors, checkpoint.step, adam, self.lm.model.device)


def projected_gradients(
    lm: LanguageModel, names: Sequence[str], queries: Sequence[Query], sketch: CountSketch, *, turn: Turn
) -> Float[ndarray, "c r"]:
    """Projections of the rows' gradients after `turn`; zero for a row whose gradient is zero, and not finite where it is not.

    *Cost*: one forward and one backward a row.
    """
    result = sketch.zeros(len(queries))
    for batch in by_length([len(query) for query in queries], lm.placement.batch_tokens):
        vectors = sketch.zeros(len(batch))
        length = torch.zeros(len(batch), device=vectors.device)

        def sink(name: str, gradients: Tensor, vectors: Tensor = vectors, length: Tensor = length) -> None:
            length.add_(torch.linalg.vector_norm(gradients, dim=1))
            sketch.add(vectors, name, turn(name, gradients))

        row_gradients(lm, names, [queries[k] for k in batch], sink=sink)
        # Adam's moments would give even a row without a gradient a direction
        result[batch] = torch.where(length[:, None] == 0, 0.0, vectors) + 0 * length[:, None]
    return result.cpu().numpy()


def _as_it_is(name: str, gradients: Tensor) -> Tensor:
    return gradients


def adam_turn(tensors: Tensors, step: int, direction: Direction, device: torch.device) -> Turn:
    """Adam's direction at the moments of a checkpoint."""
    moments = {
        name: (exp_avg.view(-1).to(device), tensors.exp_avg_sq[name].view(-1).to(device))
        for name, exp_avg in tensors.exp_avg.items()
    }

    def turn(name: str, gradients: Tensor) -> Tensor:
        return adam_direction(gradients, *moments[name], step=step, direction=direction)

    return turn
