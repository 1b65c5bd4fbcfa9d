"""LESS: whether a training step on a pool row would lower the loss of a target, told from gradients along a warm-up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.wording import Wording, WordingName, choose_wording
from nncift.errors import ConfigError, DataError
from nncift.influence.base import Asked, Calls, Context, Direct, Traits
from nncift.influence.gradient_features import Adapter, Extraction
from nncift.influence.matching import Aggregate, match, refuse_targets
from nncift.lm.tokens import Query, tokenize_row, untrainable
from nncift.seeds import generator
from nncift.tuning.adam import Direction
from nncift.tuning.features import Kept
from nncift.tuning.lora import detach
from nncift.tuning.losses import scored_tokens
from nncift.tuning.warmup import Recipe, train_adapter, training_key

_FEWEST = 32  # warm-up rows, where the pool has them: fewer make Adam's moments noise


@dataclass(frozen=True, slots=True)
class Less:
    """First-order effect of one optimizer step on a row: the cosine of its Adam direction with a target's gradient.

    Use it when the subset will fine-tune the model towards a target. An adapter is trained on a small share of the pool;
    at the end θ_t of each of its epochs, with Adam's direction Γ and a seeded projection P,

        y = Σ_t η_t · cos(P Γ(row; θ_t), P ∇loss(target; θ_t))  in [-1, 1], higher is better,

    where η_t is the epoch's average learning rate, normalised to sum 1, and a loss is the mean over the response's tokens.

    Args:
        share: of the pool that the warm-up trains on, in (0, 1]; at least 32 rows where there are as many.
        epochs: of the warm-up, a checkpoint each.
        rank: of the adapter on the attention projections.
        alpha: its update is scaled by alpha / rank.
        learning_rate: the highest of the warm-up.
        batch: rows a warm-up step.
        r: numbers that a gradient is projected to; inner products are then off by about 1/√r.
        direction: `corrected` is Adam's step; `reference` leaves bias correction out and has ε inside the root, as the
            authors' code does.
        aggregate: `mean_of_cos` is y as above; `cos_of_mean` scales a target's gradients so that the mean of y over a task
            is the cosine with the task's mean gradient (tasks by the column `task`, else all targets are one; the mean is
            over the targets that are asked about).
        store: how features are kept, `float16` or `int8`.
        wording: `plain` trains on prompt, line break, response; `chat` on the model's chat template; `auto` has the choice.

    *Cost*: epochs · share · n forwards and backwards of warm-up, then epochs · (pool rows + targets asked about) of both;
    epochs · rows · r numbers of disk.
    *Reference*: Xia et al., LESS: Selecting Influential Data for Targeted Instruction Tuning, 2024.
    """

    traits: ClassVar[Traits] = Traits(
        name="less", pairwise=True, objective="facility-location", needs_model=True, uses_target=True, gradients=True,
        seeded=True, reads_columns=True, priced="row",
    )  # fmt: skip

    share: float = 0.05
    epochs: int = 4
    rank: int = 16
    alpha: float = 64.0
    learning_rate: float = 1e-4
    batch: int = 16
    r: int = 8192
    direction: Direction = "corrected"
    aggregate: Aggregate = "mean_of_cos"
    store: Kept = "float16"
    wording: WordingName = "auto"

    def calls(self, asked: Asked) -> Calls:
        """One forward and one backward per warm-up row and epoch, and per row asked about and checkpoint."""
        rows = self.epochs * (self._sampled(asked.pool) + asked.candidates + asked.targets)
        return Calls(rows, rows)

    def unscorable(self, context: Context) -> list[int]:
        """Rows without a token to learn from."""
        return untrainable(context.lm, choose_wording(context.lm.tokenizer, self.wording), context.pool)

    def start(self, context: Context) -> Direct:
        """Trains the adapter and takes all gradients, or finds them in the folder."""
        self._check()
        wording = choose_wording(context.lm.tokenizer, self.wording)
        refuse_targets(context, untrainable(context.lm, wording, context.targets))  # before training is paid for
        rows = self._sample(context, wording)
        recipe = Recipe(
            epochs=self.epochs, rank=self.rank, alpha=self.alpha, learning_rate=self.learning_rate, batch=self.batch
        )
        key = training_key(context.lm, rows, recipe, seed=context.seed)
        try:
            context.reporter.begin("warm-up training", recipe.epochs * len(rows), "rows")
            weights, checkpoints = train_adapter(
                context.lm,
                rows,
                recipe,
                seed=context.seed,
                folder=context.folder / f"warm-up-{key}",
                on_progress=context.reporter.advance,
            )
            context.reporter.end(f"{len(checkpoints)} checkpoints of an adapter trained on {len(rows):,} rows")
            detach(context.lm)
            adapter = Adapter(self.rank, self.alpha, self.r, context.seed)
            extraction = Extraction.of(context, adapter, weights, checkpoints, key=key, kept=self.store)
            rates = normalised(checkpoint.learning_rate for checkpoint in checkpoints)
            return match(context, wording, extraction, rates, adam=self.direction, aggregate=self.aggregate)
        finally:
            detach(context.lm)

    def _sampled(self, pool: int) -> int:
        return min(pool, max(_FEWEST, round(self.share * pool)))

    def _sample(self, context: Context, wording: Wording) -> dict[str, Query]:
        """The warm-up rows by id, drawn from the sorted ids; rows with nothing to learn from are passed over."""
        by_id = sorted(context.pool, key=lambda row: row.id)
        wanted = self._sampled(len(by_id))
        found: dict[str, Query] = {}
        for k in generator(context.seed, "less/warm-up").permutation(len(by_id)):
            if len(found) == wanted:
                break
            query = tokenize_row(context.lm.tokenizer, wording, by_id[k], limit=context.lm.max_length)
            if by_id[k].id in found:  # an existing row may bear the id of a pool row
                continue
            if query is not None and scored_tokens(query):
                found[by_id[k].id] = query
        if not found:
            raise DataError("no pool row has a response with a token to train on. Check the pool's columns.")
        return found

    def _check(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"--option share is {self.share}; it must be above 0 and at most 1.")
        for name in ("epochs", "rank", "batch", "r"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--option {name} is {getattr(self, name)}; it must be 1 or more.")
        for name in ("alpha", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"--option {name} is {getattr(self, name)}; it must be above 0.")


def normalised(rates: Iterable[float]) -> Float[ndarray, " t"]:
    """The weights of the checkpoints: average learning rates of their epochs over the sum of all."""
    found = np.array(list(rates), dtype=np.float64)
    return found / found.sum()
