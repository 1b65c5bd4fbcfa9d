"""The models of an evaluation, loaded when something is first asked of them: a rerun whose cells are kept loads none."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.data.rows import Example
from nncift.embed.base import Embedder
from nncift.embed.cache import embed_cached
from nncift.embed.choose import default_embedder, load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.errors import ConfigError, MissingExtraError, RunError
from nncift.evaluation.bench import Bench
from nncift.evaluation.judge_local import GradeQuestion, LocalJudge
from nncift.evaluation.judge_server import ServerJudge, judge_key
from nncift.evaluation.judging import Judge
from nncift.evaluation.options import EvaluateConfig
from nncift.evaluation.showing import Measuring
from nncift.lm.device import place
from nncift.lm.load import (
    context_length,
    load_language_model,
    load_tokenizer,
    model_fingerprint,
    refuse_packed,
)
from nncift.lm.model import LanguageModel
from nncift.progress import Reporter
from nncift.run import RunFolder

_JUDGE_CONTEXT = 4096
"""Tokens that a local judge reads at most: task, rubric and two answers; --max-length is of what is taught."""


class Tools:
    """The models of an evaluation, loaded when something is first asked of them."""

    def __init__(self, config: EvaluateConfig, reporter: Reporter) -> None:
        self.config, self.reporter = config, reporter
        self.placement = place(config.device, config.dtype, batch_tokens=config.batch_tokens)
        self.embeddings = cache_folder() / "embeddings"

    def load(self, name: str, *, max_length: int) -> LanguageModel:
        """A language model."""
        config = self.config
        self.reporter.begin("load", 0, "")
        lm = load_language_model(
            name,
            self.placement,
            max_length=max_length,
            quantize=config.quantize,
            trust_remote_code=config.trust_remote_code,
        )
        self.reporter.end(f"{name}: {lm.weights / 1e6:,.0f} M weights, {self.placement.device}, {self.placement.dtype}")
        return lm

    @cached_property
    def lm(self) -> LanguageModel:
        """The language model that is taught.

        Raises:
            RunError: its files are others than those that the cells are named by.
        """
        lm = self.load(self.config.model, max_length=self.config.max_length)
        if lm.fingerprint != self.__dict__.get("fingerprint", lm.fingerprint):
            raise RunError(f"the files of {self.config.model!r} changed while the evaluation began. Start it again.")
        return lm

    @cached_property
    def fingerprint(self) -> str:
        """Which weights are taught, told without loading them where they are here."""
        return model_fingerprint(self.config.model) or self.lm.fingerprint

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model that is taught."""
        loaded: LanguageModel | None = self.__dict__.get("lm")
        if loaded is not None:
            return loaded.tokenizer
        return load_tokenizer(self.config.model, trust_remote_code=self.config.trust_remote_code)[0]

    def release(self) -> None:
        """Gives the memory of the model that is taught to another one; asked for again, it is loaded again."""
        self.__dict__.pop("lm", None)
        gc.collect()  # hooks hold the model, and the model its hooks
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
        return Bench(
            folder,
            test,
            Measuring.of(config),
            load=lambda: self.lm,
            load_tokenizer=lambda: self.tokenizer,
            lm_key={"model": self.fingerprint, "dtype": self.placement.dtype, "quantize": config.quantize},
            embed=self.embed,
            embed_key=self.embedder.fingerprint if "icl" in config.routes else "",
            reporter=self.reporter,
        )

    def refuse_judge(self) -> None:
        """Finds out, without loading a model or asking a server, whether there can be a judge.

        Raises:
            MissingExtraError: the package `openai` is not installed.
            ConfigError, ModelError: the judge's address, key or name is none; its tokenizer or its context does not serve.
        """
        config, name = self.config, self.config.judge_model
        assert name is not None
        if config.judge is None:
            refuse_packed(name, config.quantize)
            remote = config.trust_remote_code
            GradeQuestion.of(*load_tokenizer(name, max_length=_JUDGE_CONTEXT, trust_remote_code=remote))
            return
        self.judge()
        judge_key(config.judge)
        try:
            import_module("openai")
        except ImportError as error:
            raise MissingExtraError("openai", "judge", "a judge behind a server") from error

    def judge(self) -> Judge:
        """Who grades answers: a server where an address is given, else a local language model; for another one than was
        taught, that one is released."""
        config, name = self.config, self.config.judge_model
        assert name is not None
        if config.judge is None:
            if name == config.model:
                lm = replace(self.lm, max_length=context_length(self.lm.model.config, _JUDGE_CONTEXT))
            else:
                self.release()
                lm = self.load(name, max_length=_JUDGE_CONTEXT)
            return LocalJudge(lm)
        return ServerJudge(
            config.judge,
            name,
            timeout=config.judge_timeout,
            per_minute=config.judge_rate,
            parallel=config.judge_parallel,
            max_tokens=config.judge_tokens,
            temperature=None if config.judge_temperature < 0 else config.judge_temperature,
        )
