"""Fills a feature store with projected gradients, taken here or by workers: what the gradient teachers share."""

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
from nncift.lm.readers import Alone, Readers
from nncift.lm.tokens import Query, tokenize_row
from nncift.tuning.adam import Direction, adam_direction
from nncift.tuning.checkpoint import Checkpoint, Tensors
from nncift.tuning.features import FeatureStore, Kept
from nncift.tuning.gradients import row_gradients
from nncift.tuning.lora import attach, install
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
class Adapter:
    """Equips a language model with an adapter and a projection; see `attach` and `CountSketch`.

    Attributes:
        rank: of the adapter.
        alpha: its update is scaled by alpha / rank.
        r: numbers that a gradient is projected to.
        seed: of the adapter's first weights and of the projection.
    """

    rank: int
    alpha: float
    r: int
    seed: int

    def __call__(self, lm: LanguageModel) -> Adapted:
        """Attaches it."""
        weights = attach(lm, rank=self.rank, alpha=self.alpha, seed=self.seed)
        sizes = {name: weight.numel() for name, weight in weights.items()}
        return Adapted(lm, weights, CountSketch(sizes, buckets=self.r, seed=self.seed, device=lm.model.device))


class Adapted:
    """A language model with an adapter that goes from checkpoint to checkpoint."""

    def __init__(self, lm: LanguageModel, weights: Mapping[str, torch.nn.Parameter], sketch: CountSketch) -> None:
        self.lm, self.weights, self.sketch = lm, weights, sketch
        self._at: tuple[Checkpoint | None, Direction | None] = (None, None)
        self._turn: Turn = _as_it_is

    def visit(self, checkpoint: Checkpoint | None, adam: Direction | None) -> Turn:
        """Puts the adapter at a checkpoint, unless it is there; what makes of gradients what is projected."""
        if checkpoint is not None and (checkpoint, adam) != self._at:
            tensors = checkpoint.read()
            install(self.weights, tensors.adapter)
            self._turn = _as_it_is if adam is None else adam_turn(tensors, checkpoint.step, adam, self.lm.model.device)
            self._at = checkpoint, adam
        return self._turn


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows whose gradients are taken together.

    Attributes:
        checkpoint: where; None is the fresh adapter.
        adam: the direction that is made of them; None for the gradients as they are.
        queries: the rows.
    """

    checkpoint: Checkpoint | None
    adam: Direction | None
    queries: tuple[Query, ...]


def take_gradients(adapted: Adapted, shard: Shard, on_progress: Progress) -> Float[ndarray, "c r"]:
    """The projected gradients of a shard, as `Readers` do it."""
    turn = adapted.visit(shard.checkpoint, shard.adam)
    found = projected_gradients(adapted.lm, list(adapted.weights), shard.queries, adapted.sketch, turn=turn)
    on_progress(len(shard.queries))
    return found


@dataclass(frozen=True, slots=True)
class Extraction:
    """Takes gradients at checkpoints and projects them.

    Attributes:
        readers: who takes them.
        adapter: what they are taken of.
        checkpoints: where gradients are taken; None is the fresh adapter.
        width: numbers of a projected gradient.
        folder: where stores are kept.
        key: hash of all that the adapter, the checkpoints and the projection depend on.
        kept: how stores keep vectors.
        on_progress: told how many more rows are done at one checkpoint, those of an earlier run included.
    """

    readers: Readers
    adapter: Adapter
    checkpoints: Sequence[Checkpoint | None]
    width: int
    folder: Path
    key: str
    kept: Kept
    on_progress: Progress

    @classmethod
    def of(
        cls,
        context: Context,
        adapter: Adapter,
        weights: Mapping[str, torch.nn.Parameter],
        checkpoints: Sequence[Checkpoint | None],
        *,
        key: str,
        kept: Kept,
    ) -> Extraction:
        """For the one model of a context, from which the adapter was taken off again.

        Args:
            context: of the teacher.
            adapter: what is attached for gradients.
            weights: of the adapter, for their sizes.
            checkpoints: see above.
            key: names all that the adapter and its checkpoints depend on.
            kept: see above.
        """
        width = min(adapter.r, sum(weight.numel() for weight in weights.values()))
        named = f"{key} {adapter.r} {context.seed}"
        readers = context.readers or Alone(context.lm)
        return cls(readers, adapter, checkpoints, width, context.folder, named, kept, context.reporter.advance)

    def features(self, rows: Tokens, *, adam: Direction | None = None) -> FeatureStore:
        """The features of the rows at every checkpoint: of their gradients, or of Adam's directions at its moments."""
        named = sha256(f"features 1 {self.key} {self.kept} {adam} {rows.key}".encode()).hexdigest()[:32]
        shape = (len(self.checkpoints), len(rows), self.width)
        store = FeatureStore(self.folder / f"features-{named}", shape, kept=self.kept)
        missing = list(store.missing())
        self.on_progress(shape[0] * shape[1] - sum(chunk.stop - chunk.start for _, chunk in missing))
        shards = (Shard(self.checkpoints[t], adam, rows.queries[chunk]) for t, chunk in missing)
        found = self.readers.each(self.adapter, take_gradients, shards, on_progress=self.on_progress)
        for (t, chunk), vectors in zip(missing, found, strict=True):
            store.put(t, chunk, vectors)
        return store


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
