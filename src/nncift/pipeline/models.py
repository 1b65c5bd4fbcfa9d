"""The models of a run, loaded when something is first asked of them: a run whose stages are done loads none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.config import LabelConfig, SelectConfig
from nncift.data.rows import Example, Pool, ids_of, numbers_of
from nncift.data.views import join
from nncift.data.wording import choose_wording
from nncift.embed.base import Embedder
from nncift.embed.choose import default_embedder, embed_rows, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.embed.sentence import SentenceEmbedder
from nncift.embed.states import RowStates
from nncift.errors import RunError
from nncift.influence.base import Context, Traits
from nncift.ledger import Ledger
from nncift.lm.device import Placement, devices, place
from nncift.lm.load import load_language_model, load_tokenizer, model_fingerprint
from nncift.lm.model import LanguageModel
from nncift.lm.readers import Readers
from nncift.lm.server import connect
from nncift.lm.tokens import tokenize_lesson
from nncift.pipeline.encoding import spread_encoder
from nncift.pipeline.setup import Setup
from nncift.pipeline.states import in_parts, states_of
from nncift.pipeline.vectors import Axis, Embeddings, Laid, Take
from nncift.progress import Reporter
from nncift.registry import is_served
from nncift.run import Work, lists_key
from nncift.scale.executor import Executor, in_other_processes, open_executor
from nncift.scale.sending import Sender


class Models:
    """The language model and the embedder of one run."""

    def __init__(self, setup: Setup, reporter: Reporter) -> None:
        self.setup = setup
        self.reporter = reporter
        self._executor: Executor | None = None
        far = in_other_processes(setup.config.executor)
        self.sender = Sender(lambda: self.executor) if far else None  # here compiled code runs on every core already

    @property
    def executor(self) -> Executor:
        """Who does what falls into shards; a cluster is started or joined when it is first asked for."""
        if self._executor is None:
            config, device = self.config, self.placement.device
            self._executor = open_executor(
                config.executor, workers=config.workers, devices=devices(config.device, device)
            )
        return self._executor

    def close(self) -> None:
        """Lets the workers go."""
        if self.sender is not None:
            self.sender.close()
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    @property
    def config(self) -> LabelConfig | SelectConfig:
        """The options."""
        return self.setup.config

    @cached_property
    def placement(self) -> Placement:
        """Device and number format."""
        return place(self.config.device, self.config.dtype, batch_tokens=self.config.batch_tokens)

    @cached_property
    def lms(self) -> tuple[LanguageModel, ...]:
        """The language models, all in memory at once."""
        return tuple(self._load(name) for name in self.config.model)

    def _load(self, name: str) -> LanguageModel:
        self.reporter.begin("load", 0, "")
        if is_served(name):
            return self._connect(name)
        lm = load_language_model(
            name,
            self.placement,
            max_length=self.config.max_length,
            quantize=self.config.quantize,
            trust_remote_code=self.config.trust_remote_code,
        )
        known = self.__dict__.get("lm_key")
        if known and lm.fingerprint not in known["models"]:
            raise RunError(f"the files of {name!r} changed while the run began. Start it again.")
        self.reporter.end(f"{name}: {lm.weights / 1e6:,.0f} M weights, {self.placement.device}, {self.placement.dtype}")
        return lm

    def _connect(self, name: str) -> LanguageModel:
        config = self.config
        lm = connect(name, self.placement, max_length=config.max_length, trust_remote_code=config.trust_remote_code)
        self.reporter.end(f"{name}: answers")
        return lm

    @cached_property
    def lengths(self) -> Int[ndarray, " n"]:
        """Tokens of every pool row, sorted by id, as the first language model would be trained on it; its weights are not
        loaded for that. At least 1."""
        name, most = self.config.model[0], self.config.max_length
        tokenizer, limit = load_tokenizer(name, max_length=most, trust_remote_code=self.config.trust_remote_code)
        wording = choose_wording(tokenizer)
        rows = self.setup.axes.columns[: self.setup.axes.n]
        lessons = (tokenize_lesson(tokenizer, wording, row, limit=limit) for row in rows)
        return np.array([1 if lesson is None else max(1, len(lesson.ids) + len(lesson.response)) for lesson in lessons])

    @cached_property
    def lm_key(self) -> dict[str, Any]:
        """What labels depend on of the language model, told without loading it where its files are here."""
        remote, served = self.config.trust_remote_code, all(map(is_served, self.config.model))
        known = [model_fingerprint(name, trust_remote_code=remote) for name in self.config.model]
        if None in known:
            known = [lm.fingerprint for lm in self.lms]
        dtype = "served" if served else self.placement.dtype  # a server's own is not told
        return {"models": known, "dtype": dtype, "quantize": self.config.quantize}

    @cached_property
    def embedder_key(self) -> dict[str, Any]:
        """What vectors depend on beside the texts; files of vectors follow the order of the rows in their own file."""
        if not isinstance(self.embedder, Precomputed):
            return {"embedder": self.embedder.fingerprint}
        order = {role: _order(pool) for role, pool in self.setup.pools()}
        return {"embedder": self.embedder.fingerprint, "order": lists_key(order)}

    @cached_property
    def embedder(self) -> Embedder | Precomputed:
        """The embedder, by the device where the user named none."""
        name = why = self.config.embedder
        if name is None:
            name, why = default_embedder(self.placement.device)
        self.reporter.begin("load", 0, "")
        embedder = load_embedder(name, device=self.placement.device)
        self.reporter.end(str(why))
        return embedder

    def embed(self, done: Work) -> Laid:
        """Embeds every row once, in source order, and lays the vectors out by axis; those of files are read by that."""
        vectors: dict[str, Take] = {}
        pools = self.setup.pools()
        self.reporter.begin("embed", sum(len(pool) for _, pool in pools), "rows")
        truncated = 0
        counts = isinstance(self.embedder, SentenceEmbedder)
        if isinstance(self.embedder, SentenceEmbedder):
            self.embedder.ledger = done.ledger
        width = self.embedder.dimension if isinstance(self.embedder, Precomputed) else 0
        encoder = spread_encoder(self.executor, self.embedder, self.placement.device, done.ledger)
        for role, pool in pools:
            if isinstance(self.embedder, Precomputed):
                vectors[role] = self.embedder.vectors(pool, role=role).take
                continue
            embedded = embed_rows(
                self.embedder,
                pool,
                folder=cache_folder() / "embeddings",
                role=role,
                on_progress=self.reporter.advance,
                encode=encoder,
            )
            if not counts:  # an encoder of the user's own has no hook
                done.ledger.encoder_forwards += embedded.computed
            truncated += embedded.truncated
            vectors[role], width = embedded.vectors.__getitem__, embedded.vectors.shape[1]
        if truncated:
            done.note("embedding", f"the embedder read only the beginning of {truncated} rows that are too long for it")
        if encoder is not None:
            encoder.tell(done)
        rows = sum(len(pool) for _, pool in pools)
        self.reporter.end(f"{rows:,} rows, {done.ledger.encoder_forwards:,} newly encoded")
        return self._by_axis(vectors, width)

    @property
    def states_key(self) -> dict[str, Any]:
        """What the language model's states of rows depend on beside the rows."""
        return {"first": self.lm_key | {"models": self.lm_key["models"][:1]}, "max_length": self.config.max_length}

    @property
    def features_key(self) -> dict[str, Any]:
        """What features depend on beside the rows."""
        return self.embedder_key | (self.states_key if self.setup.reads_states else {})

    def states(self, done: Work, readers: Readers | None) -> tuple[RowStates, RowStates]:
        """What the first language model makes of the rows of both axes, read by workers or here."""
        axes, lm = self.setup.axes, self.lms[0]
        lm.meter.ledger = done.ledger
        found = states_of(lm, join(axes.rows, axes.columns), self.reporter, tell=done.note, readers=readers)
        of_rows, of_columns = in_parts(found, (len(axes.rows), len(axes.columns)))
        return of_rows, of_columns

    def context(self, embeddings: Embeddings | None, ledger: Ledger, readers: Readers | None = None) -> Context:
        """What the teacher may use; loads the language model where the teacher needs it."""
        setup, axes, traits = self.setup, self.setup.axes, self.setup.influence.traits
        seen = embeddings if traits.needs_embeddings else None
        lms = self.lms if traits.needs_model else ()
        for lm in lms:
            lm.meter.ledger = ledger
        return Context(
            targets=axes.helped,
            pool=axes.columns,
            asked_targets=asked_rows(setup),
            asked_pool=asked_columns(setup),
            folder=cache_folder() / "influence",
            seed=self.config.seed,
            ledger=ledger,
            lms=lms,
            own_targets=axes.own,
            target_embeddings=seen.rows if seen else None,
            pool_embeddings=seen.columns if seen else None,
            reporter=self.reporter,
            readers=readers,
        )

    def rows_context(self, traits: Traits, rows: Sequence[Example], ledger: Ledger) -> Context:
        """What an influence may use that scores some rows by themselves."""
        lms = self.lms if traits.needs_model else ()
        for lm in lms:
            lm.meter.ledger = ledger
        return Context(
            targets=(),
            pool=tuple(sorted(rows, key=lambda row: row.id)),
            asked_targets=np.arange(0),
            asked_pool=np.arange(len(rows)),
            folder=cache_folder() / "influence",
            seed=self.config.seed,
            ledger=ledger,
            lms=lms if traits.several_models else lms[:1],
            reporter=self.reporter,
        )

    def _by_axis(self, vectors: dict[str, Take], width: int) -> Laid:
        """By the order of the ids, which is that of the axes."""
        axes, order = self.setup.axes, {role: pool.order for role, pool in self.setup.pools()}
        helped = "pool" if axes.own_target else "target"
        rows = []
        if axes.helped:
            rows = [(vectors[helped], order[helped] if axes.sample is None else order[helped][axes.sample])]
        columns = [(vectors["pool"], order["pool"])]
        if len(axes.rows) > axes.m:
            rows += columns
        if len(axes.columns) > axes.n:
            columns = [*columns, (vectors["existing"], order["existing"])]
        return Laid(Axis(tuple(rows), width), Axis(tuple(columns), width))


def _order(pool: Pool) -> Iterator[tuple[str, int]]:
    """Ids and numbers of rows, as they lie in their source."""
    return zip(ids_of(pool.examples), numbers_of(pool.examples).tolist(), strict=True)


def asked_rows(setup: Setup) -> ndarray:
    """Positions of the rows that the influence is asked about as targets."""
    if setup.pairs is None or setup.rounds is not None or not setup.influence.traits.pairwise:
        return np.arange(len(setup.axes.helped))
    return np.unique(setup.pairs[0])


def asked_columns(setup: Setup) -> ndarray:
    """Positions of the rows that the influence is asked about as candidates; in rounds any may be."""
    if setup.pairs is None or setup.rounds is not None:
        return np.arange(len(setup.axes.columns))
    return np.unique(setup.pairs[1])
