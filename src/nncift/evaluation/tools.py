"""The models of an evaluation, loaded when something is first asked of them: a rerun whose cells are kept loads none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib import import_module

from jaxtyping import Float
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.data.rows import Example
from nncift.embed.base import Embedder
from nncift.embed.cache import embed_cached
from nncift.embed.choose import default_embedder, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.errors import ConfigError, MissingExtraError
from nncift.evaluation.bench import Bench, Measuring
from nncift.evaluation.judge_local import LocalJudge
from nncift.evaluation.judge_server import ServerJudge
from nncift.evaluation.judging import Judge
from nncift.evaluation.options import EvaluateConfig
from nncift.lm.device import place
from nncift.lm.load import load_language_model, model_fingerprint
from nncift.lm.model import LanguageModel
from nncift.progress import Reporter
from nncift.run import RunFolder


class Tools:
    """The models of an evaluation, loaded when something is first asked of them."""

    def __init__(self, config: EvaluateConfig, reporter: Reporter) -> None:
        self.config, self.reporter = config, reporter
        self.placement = place(config.device, config.dtype, batch_tokens=config.batch_tokens)
        self.embeddings = cache_folder() / "embeddings"

    def load(self, name: str, *, quantize: str | None = None) -> LanguageModel:
        """A language model."""
        config = self.config
        self.reporter.begin("load", 0, "")
        lm = load_language_model(
            name,
            self.placement,
            max_length=config.max_length,
            quantize=quantize,
            trust_remote_code=config.trust_remote_code,
        )
        self.reporter.end(f"{name}: {lm.weights / 1e6:,.0f} M weights, {self.placement.device}, {self.placement.dtype}")
        return lm

    @cached_property
    def lm(self) -> LanguageModel:
        """The language model that is taught."""
        return self.load(self.config.model, quantize=self.config.quantize)

    @cached_property
    def embedder(self) -> Embedder:
        """The sentence encoder."""
        name = self.config.embedder or default_embedder(self.placement.device)[0]
        embedder = load_embedder(name, device=self.placement.device)
        if isinstance(embedder, Precomputed):
            raise ConfigError("answers and prompts are embedded too: --embedder must be a model, not files of vectors.")
        return embedder

    def embed(self, texts: Sequence[str]) -> Float[ndarray, "n d"]:
        """Unit vectors of texts, from the cache where they are in it."""
        return embed_cached(self.embedder, texts, folder=self.embeddings).vectors

    def bench(self, folder: RunFolder, test: tuple[Example, ...]) -> Bench:
        """Where cells are measured."""
        config = self.config
        fingerprint = model_fingerprint(config.model) or self.lm.fingerprint
        return Bench(
            folder,
            test,
            Measuring.of(config),
            load=lambda: self.lm,
            lm_key={"model": fingerprint, "dtype": self.placement.dtype, "quantize": config.quantize},
            embed=self.embed,
            embed_key=self.embedder.fingerprint if "icl" in config.routes else "",
            reporter=self.reporter,
        )

    def refuse_judge(self) -> None:
        """Finds out, without loading a model or asking a server, whether there can be a judge.

        Raises:
            MissingExtraError: the package `openai` is not installed.
            ConfigError, ModelError: the judge's address or name is none.
        """
        name = self.config.judge_model
        assert name is not None
        if self.config.judge is None:
            model_fingerprint(name)
            return
        self.judge()
        try:
            import_module("openai")
        except ImportError as error:
            raise MissingExtraError("openai", "judge", "a judge behind a server") from error

    def judge(self) -> Judge:
        """Who grades answers: a server where an address is given, else a local language model."""
        config, name = self.config, self.config.judge_model
        assert name is not None
        if config.judge is None:
            return LocalJudge(self.lm if name == config.model else self.load(name))
        return ServerJudge(
            config.judge,
            name,
            timeout=config.judge_timeout,
            per_minute=config.judge_rate,
            parallel=config.judge_parallel,
        )
