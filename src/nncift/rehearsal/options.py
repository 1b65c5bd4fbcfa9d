"""Options of `nncift fidelity`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from nncift.config import Feature, Options, SelectConfig, at_least, setting
from nncift.errors import ConfigError
from nncift.estimator.budget import AskedDesign
from nncift.registry import did_you_mean, names

DEFAULT_ESTIMATOR = SelectConfig.estimator
"""What `select` takes."""


@dataclass(frozen=True, kw_only=True)
class FidelityConfig(Options):
    """Options of `nncift fidelity`."""

    matrix: str = setting("Influences of every pair, an .npz as `nncift label --labels all` writes it.")
    pool: str = setting("Candidates: the rows that were labelled, as in `select`.")
    target: str | None = setting(
        "Targets: the rows that were labelled; without them the pool is its own target.", None, short="-t"
    )
    estimator: str = setting("Estimators to judge (see `nncift list`), by comma, or all.", DEFAULT_ESTIMATOR)
    hidden: str | None = setting("Hidden layers of the networks among them: 100, or 1000,500, or none.", None)
    design: str = setting(
        f"How labels lie: {', '.join(get_args(AskedDesign))}, by comma, or all; auto: as `select` would lay them.",
        "auto",
    )
    labels: str = setting(
        "Exact influences that are shown: a number of pairs, 5% of pairs, u=5% per axis, or auto: in rounds, as `select`.",
        "5%",
    )
    repeats: int = setting("Draws of the labels.", 5)
    unseen: str = setting("Share of the candidates that get no label, judged apart as well.", "0%")
    features: Feature = setting(
        "What an estimator reads of a row: its embedding, or the language model's states of it; auto: states with --model.",
        "auto",
    )
    embedder: str | None = setting(
        "Sentence-transformers id or folder, `minilm`, or POOL.npy,TARGET.npy.", None, short="-e"
    )
    model: str | None = setting("Language model whose states are read, as in `select`.", None, short="-m")
    predictions: str | None = setting("Folder for every predicted matrix, to recompute the figures from.", None)
    format: str = setting("Row layout of the pool.", "auto")
    target_format: str = setting("Row layout of the target.", "auto")
    device: str = setting("auto, cpu, cuda, cuda:N or mps.", "auto")
    dtype: str = setting("Number format of the language model: auto, bfloat16, float16 or float32.", "auto")
    quantize: Literal["4bit"] | None = setting("Load the language model in 4 bits through bitsandbytes.", None)
    max_length: int = setting("Longest sequence in tokens.", 2048)
    batch_tokens: int = setting("Tokens per forward of the language model; 0 follows the device.", 0)
    seed: int = setting("Seed; repeat r draws and fits as `select` does with the seed plus r.", 0)
    trust_remote_code: bool = setting("Let a model from the hub run code of its own.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, repeats=1, max_length=16, batch_tokens=0, seed=0)
        if self.features == "states" and self.model is None:
            raise ConfigError(
                "--features states are those of a language model: add --model, or say --features embedding."
            )
        _ = self.estimators, self.designs, self.withheld  # a wrong word is told now

    @property
    def estimators(self) -> tuple[str, ...]:
        """The names behind `--estimator`."""
        return _named(self.estimator, "--estimator", names("estimator"), own=True)

    @property
    def designs(self) -> tuple[str, ...]:
        """The names behind `--design`; none where `select` decides."""
        return () if self.design.strip() == "auto" else _named(self.design, "--design", get_args(AskedDesign))

    @property
    def withheld(self) -> float:
        """The share of the candidates that get no label, from 0 up to, not including, 1."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*", self.unseen, re.ASCII)
        if match is None or float(match[1]) >= 100:
            raise ConfigError(f"--unseen is {self.unseen!r}; it must be a percentage below 100, such as 50%.")
        return float(match[1]) / 100

    @property
    def reads_states(self) -> bool:
        """Whether a language model reads the rows."""
        return self.model is not None and self.features != "embedding"


def _named(text: str, option: str, known: tuple[str, ...], *, own: bool = False) -> tuple[str, ...]:
    """The words of a list, each once; `all` is all that are known, and with `own` a `module:Class` is a word too.

    Raises:
        ConfigError: a word is unknown, or there is none.
    """
    if text.strip() == "all":
        return known
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for word in words:
        if word not in known and not (own and ":" in word):
            raise ConfigError(f"{option} names {word!r}. {did_you_mean(word, (*known, 'all'))}")
    if not words:
        raise ConfigError(f"{option} is empty; say {', '.join(known)} or all.")
    return words
