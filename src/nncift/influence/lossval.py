"""LossVal: how much weight a row keeps when the model and the weights of its training rows are learnt together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from nncift.data.wording import WordingName, choose_wording
from nncift.errors import ConfigError
from nncift.influence.base import Asked, Calls, Context, Direct, Progress, Traits
from nncift.influence.reweighting import Schedule, learn_weights
from nncift.lm.tokens import Query, tokenize_row, untrainable
from nncift.tuning.losses import scored_tokens
from nncift.tuning.warmup import model_key

_VERSION = 1  # of the computation; weights of another version are not read again


@dataclass(frozen=True, slots=True)
class LossVal:
    """Pointwise weight of a row after joint training, mean 1: little for rows that do not fit or lie far from the target.

    Use it to find rows with wrong responses or from another topic, at the price of a few epochs of fine-tuning. With l_j
    the mean negative log-likelihood of row j's response under a model with a low-rank adapter, and T the entropic
    transport cost from the weighted rows to the target, both learn to lower, batch by batch,

        (Σ_j w_j l_j) · T(w)²,   y_j = w_j at the end, higher is better.

    As in the paper or its authors' code: weights start at 1, the loss is a weighted sum (here divided by the rows, which
    Adam does not notice), a cost is half a squared Euclidean distance, the transport part is squared and compares a batch
    with the whole target, Adam trains the model, five epochs (they also try thirty).

    Otherwise than in the paper: the model is a language model with an adapter. Features are the embeddings of the run
    (unit vectors, so that a cost is 1 - cosine) where the paper takes the model's inputs, which text has not as vectors;
    they stand still in training as inputs do. The authors leave weights free, and all fall together; here the weights of
    a batch are a softmax of mean 1, so that only rows against rows count and none turns negative. The transport cost has
    its entropy term but is not debiased (their code subtracts the cost of each side to itself, the paper's formula does
    not). Weights descend the logarithm of the objective by its plain gradient, since Adam, which meets a row's weight once
    an epoch, steps by about its rate whatever the gradient's size. Only rows that are asked about are trained on and
    weighed against each other.

    Args:
        epochs: passes over the rows that are asked about, 1 or more.
        batch: rows of a step, 2 or more; weights are compared within it.
        rank: of the adapter on the attention projections, 1 or more; its scale alpha is twice that.
        learning_rate: Adam's step for the adapter.
        weight_rate: step of the log-weights: a row with twice the batch's mean loss loses this much in an epoch.
        blur: distance below which transport does not tell rows apart (the entropy is its square), above 0.
        wording: `auto` takes the model's chat template where it has one, else prompt and response in plain; `plain`, `chat`.

    *Cost*: `epochs` forwards and backwards for each row that is asked about; the same for one pair as for all.
    *Reference*: Wibiral, Belaid, Rabus, Scherp, LossVal: Efficient Data Valuation for Neural Networks, 2024.
    """

    traits: ClassVar[Traits] = Traits(
        name="lossval",
        pairwise=False,
        objective="top-mean",
        needs_model=True,
        needs_embeddings=True,
        uses_target=True,
        gradients=True,
        seeded=True,
        priced="row",
    )

    epochs: int = 5
    batch: int = 16
    rank: int = 8
    learning_rate: float = 3e-4
    weight_rate: float = 0.1
    blur: float = 0.1
    wording: WordingName = "auto"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("rank", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--option {name} is {getattr(self, name)}; it must be {least} or more.")
        for name in ("learning_rate", "weight_rate", "blur"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--option {name} is {getattr(self, name)}; it must be above 0.")

    def calls(self, asked: Asked) -> Calls:
        """A forward and a backward per row and epoch."""
        return Calls(self.epochs * asked.candidates, self.epochs * asked.candidates)

    def unscorable(self, context: Context) -> list[int]:
        """Rows without a token to learn from."""
        return untrainable(context.lm, choose_wording(context.lm.tokenizer, self.wording), context.pool)

    def start(self, context: Context) -> Direct:
        """Trains on the rows that will be asked about, or goes on where an earlier run stopped."""
        if context.target_embeddings is None or context.pool_embeddings is None:
            raise ConfigError("the influence `lossval` needs embeddings: add `--embedder`.")
        if not len(context.target_embeddings):
            raise ConfigError(
                "the influence `lossval` weighs rows against a target, and there is none: add `--target`."
            )
        wording = choose_wording(context.lm.tokenizer, self.wording)
        lm, rows = context.lm, sorted(context.asked_pool.tolist(), key=lambda row: context.pool[row].id)
        found = {row: tokenize_row(lm.tokenizer, wording, context.pool[row], limit=lm.max_length) for row in rows}
        queries = {row: query for row, query in found.items() if query is not None and scored_tokens(query)}
        weights = dict.fromkeys(rows, -np.inf) | self._weights(context, queries)

        def values(i: ndarray, j: ndarray, on_progress: Progress) -> Float[ndarray, " L"]:
            on_progress(len(j))
            return np.array([weights[int(row)] for row in j], dtype=np.float32)

        cut = {
            context.pool[row].id: "prompt or response cut to the context limit"
            for row in queries
            if queries[row].truncated
        }
        context.ledger.truncated += len(cut)
        return Direct(values, cut)

    def _weights(self, context: Context, queries: dict[int, Query]) -> dict[int, float]:
        if not queries:
            return {}
        assert context.target_embeddings is not None and context.pool_embeddings is not None
        trained, features = list(queries.values()), context.pool_embeddings[list(queries)]
        schedule = Schedule(
            self.epochs, self.batch, self.rank, self.learning_rate, self.weight_rate, self.blur, context.seed
        )
        key = sha256(repr((_VERSION, asdict(schedule), model_key(context.lm))).encode())
        for query in trained:
            key.update(repr((query.ids, query.response)).encode())
        for vectors in (features, context.target_embeddings):
            key.update(repr(vectors.shape).encode() + np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
        context.reporter.begin("weigh", self.epochs * len(trained), "rows")
        weights = learn_weights(
            context.lm,
            trained,
            features,
            context.target_embeddings,
            schedule=schedule,
            folder=context.folder / f"lossval-{key.hexdigest()[:32]}",
            on_progress=context.reporter.advance,
        )
        context.reporter.end(f"weights from {weights.min():.2f} to {weights.max():.2f}")
        return dict(zip(queries, weights.tolist(), strict=True))
