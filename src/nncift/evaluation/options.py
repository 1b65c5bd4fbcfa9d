"""Options of `nncift evaluate`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from nncift.config import Options, at_least, flag, setting
from nncift.errors import ConfigError
from nncift.recipe import full_model, full_path
from nncift.registry import did_you_mean, is_served

By = Literal["icl", "lora"]
Metric = Literal["loss", "rouge", "bge", "judge"]
Control = Literal["initial", "random", "random-tokens", "full", "top-mean", "embedding"]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Options):
    """Options of `nncift evaluate`."""

    subset: tuple[str, ...] = setting("Run folders, or files of chosen rows; several are compared.")
    test: str | None = setting("Rows to measure on; those that are in the pool are left out.", None)
    pool: str | None = setting("What the subsets were chosen from; a run folder knows it.", None)
    target: str | None = setting("What the `embedding` control selects for; a run folder knows it.", None, short="-t")
    model: str = setting(
        "Language model: hub id, folder, .gguf file, or gemma-3-270m; NAME#layers=6 keeps its first layers.", short="-m"
    )
    embedder: str | None = setting("Sentence-transformers id or folder, or `minilm`.", None, short="-e")
    by: str = setting("How a subset is put to the test: lora (fine-tuning), icl (demonstrations), or both.", "lora")
    metrics: str = setting("loss, rouge, bge (similarity of embeddings), judge; separated by commas.", "loss")
    controls: str = setting(
        "What stands beside: initial, random, random-tokens, full, top-mean, embedding; or none.",
        "initial,random,random-tokens,full,top-mean,embedding",
    )
    seeds: int = setting("Trainings of every other subset, each with a seed of its own.", 3)
    draws: int = setting("Random subsets, each trained once, with the seeds in turn.", 15)
    rank: int = setting("Rank of the adapters, which sit on all linear layers.", 8)
    alpha: float = setting("An adapter's update is scaled by alpha / rank.", 16.0)
    dropout: float = setting("Share of an adapter's inputs dropped in training.", 0.05)
    learning_rate: float = setting("The highest; it falls linearly to zero.", 2e-4)
    epochs: int = setting("Passes over a subset.", 3)
    batch: int = setting("Rows a training step.", 4)
    shots: int = setting("Demonstrations in front of a test row.", 5)
    nearest: Literal["first", "last"] = setting("Where the nearest demonstration stands.", "first")
    decoding: Literal["greedy", "paper"] = setting("greedy, or paper: temperature 0.2, min-p 0.1.", "greedy")
    max_new_tokens: int = setting("Longest answer in tokens.", 150)
    max_length: int = setting("Longest row or prompt in tokens.", 1024)
    wording: Literal["auto", "plain", "chat"] = setting("auto: the model's chat template where it has one.", "auto")
    judge: str | None = setting("Address of an OpenAI-compatible server; the key comes from NNCIFT_JUDGE_KEY.", None)
    judge_model: str | None = setting("The judge: a name on that server, or without one a local language model.", None)
    judge_rate: int = setting("Requests a minute at most; 0: no limit.", 0)
    judge_parallel: int = setting("Requests at a time.", 4)
    judge_timeout: float = setting("Seconds to wait for a grade.", 60.0)
    judge_tokens: int = setting("Longest answer of the judge in tokens; one that reasons first needs more.", 1024)
    judge_temperature: float = setting("Temperature of the judge; below 0 none is sent, and it takes its own.", 0.0)
    lds: bool = setting("Linear datamodeling score of the runs' influences, from many random half-subsets.", False)
    half_subsets: int = setting("Half-subsets of the linear datamodeling score.", 40)
    format: str = setting("Row layout of the pool and of files of chosen rows.", "auto")
    test_format: str = setting("Row layout of the test rows.", "auto")
    target_format: str = setting("Row layout of the target.", "auto")
    device: str = setting("auto, cpu, cuda or mps.", "auto")
    dtype: str = setting("Number format of the language model: auto, bfloat16, float16 or float32.", "auto")
    quantize: Literal["4bit"] | None = setting("Load the language model in 4 bits through bitsandbytes (QLoRA).", None)
    batch_tokens: int = setting("Tokens per forward where nothing is trained; 0 follows the device.", 0)
    seed: int = setting("Seed of everything that is drawn.", 0)
    trust_remote_code: bool = setting("Let a model from the hub run code of its own.", False)
    output: str | None = setting("Folder of the cells and results; a rerun fills what is missing.", None, short="-o")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(
            self, seeds=1, draws=1, rank=1, epochs=1, batch=1, shots=1, max_new_tokens=1, max_length=16,
            judge_rate=0, judge_parallel=1, judge_tokens=1, half_subsets=10, batch_tokens=0, seed=0,
        )  # fmt: skip
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"--dropout is {self.dropout}; it must be from 0 up to, not including, 1.")
        for name in ("alpha", "learning_rate", "judge_timeout"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{flag(name)} is {getattr(self, name)}; it must be a finite number above 0.")
        if not abs(self.judge_temperature) < float("inf"):
            raise ConfigError(f"--judge-temperature is {self.judge_temperature}; it must be a finite number.")
        if is_served(self.model):
            raise ConfigError(
                "--model of an evaluation is taught or shown rows on this machine, and a server's cannot be. Name a hub id, a "
                "folder or a .gguf file; --judge takes a server."
            )
        if not self.subset:
            raise ConfigError("no run folder or file of chosen rows is named.")
        if not self.routes:
            raise ConfigError("--by is empty; say lora, icl, or both.")
        if not self.measures:
            raise ConfigError("--metrics is empty; say loss, rouge, bge, judge, or several.")
        _ = self.beside  # a wrong word is told now
        if "judge" in self.measures and self.judge_model is None:
            raise ConfigError(
                "the metric `judge` needs --judge-model: with --judge URL a name on that server, without it a local model."
            )

    @property
    def routes(self) -> tuple[By, ...]:
        """The parts of `--by`."""
        return _words(self.by, "by", get_args(By))

    @property
    def measures(self) -> tuple[Metric, ...]:
        """The parts of `--metrics`."""
        return _words(self.metrics, "metrics", get_args(Metric))

    @property
    def beside(self) -> tuple[Control, ...]:
        """The parts of `--controls`."""
        return () if self.controls == "none" else _words(self.controls, "controls", get_args(Control))

    @property
    def wants_answers(self) -> bool:
        """Whether the model has to write answers: for every metric but the loss."""
        return any(metric != "loss" for metric in self.measures)


def resolved_evaluation(config: EvaluateConfig) -> EvaluateConfig:
    """The options with local files and folders by their full path, so that a recipe works from any folder."""
    changed = {name: full_path(value) for name in ("pool", "target", "test") if (value := getattr(config, name))}
    model = full_model(config.model)
    return replace(config, subset=tuple(map(full_path, config.subset)), model=model, **changed)


def evaluation_name(config: EvaluateConfig) -> str:
    """A folder name for an evaluation that was given none: the same for the same subsets, test rows and model, so that
    further metrics and controls find the cells that are there."""
    full = resolved_evaluation(config)
    digest = sha256(repr((full.subset, full.pool, full.test, full.model)).encode())
    stem = re.sub(r"[^\w.-]+", "-", Path(config.subset[0]).stem)
    return f"{stem}-evaluation-{digest.hexdigest()[:6]}"


def _words(text: str, name: str, known: tuple[str, ...]) -> tuple:
    """The different words of a list, in the order in which they are known.

    Raises:
        ConfigError: a word is unknown.
    """
    given = [word.strip() for word in text.split(",") if word.strip()]
    for word in given:
        if word not in known:
            raise ConfigError(f"{flag(name)} names {word!r}. {did_you_mean(word, known)}")
    return tuple(word for word in known if word in given)
