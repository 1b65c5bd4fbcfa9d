"""Phases of rising difficulty: the chosen rows told apart by how hard they are, for training in several rounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift import registry
from nncift.config import LabelConfig, SelectConfig
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.influence.base import Context, Influence
from nncift.pipeline.served import check_served


def choose_difficulty(config: LabelConfig | SelectConfig, budget: int) -> Influence | None:
    """The score that phases are told by, None where none are wanted.

    Raises:
        ConfigError: it does not measure difficulty, needs a model that is not there, or there are more phases than rows.
    """
    if not isinstance(config, SelectConfig) or not config.phases:
        return None
    name = config.difficulty
    if name == "auto":
        name = "perplexity" if config.model else "length"
    difficulty: Influence = registry.load("influence", name)()
    traits = difficulty.traits
    if not traits.harder or traits.pairwise or traits.uses_target or traits.needs_embeddings:
        raise ConfigError(f"--difficulty {name} does not say how hard a row is. Use perplexity or length.")
    if traits.needs_model and not config.model:
        raise ConfigError(f"--difficulty {name} needs a language model: add --model, or use --difficulty length.")
    check_served(config, difficulty)
    if config.phases > budget:
        raise ConfigError(f"--phases {config.phases} is more than the {budget} rows to choose.")
    return difficulty


def phases_of(difficulty: Influence, context: Context, rows: Sequence[Example], count: int) -> Int[ndarray, " k"]:
    """The phase of each chosen row, 1 the easiest: equal parts of the rows in the order of their score.

    Args:
        difficulty: scores a row by itself; higher is harder.
        context: its pool holds the chosen rows, sorted by id.
        rows: the chosen rows in rank order.
        count: of phases.

    *Reference*: Pang et al., Phased Instruction Fine-Tuning for Large Language Models, 2024; the score takes the place of a
    judge's.
    """
    session = difficulty.start(context)
    every = np.arange(len(context.pool), dtype=np.int32)
    zeros = np.zeros_like(every)
    prepared = session.prepare(zeros[:1], on_progress=lambda done: None)
    score = session.label(zeros, every, prepared, on_progress=lambda done: None)
    score = np.where(np.isneginf(score), np.inf, score)  # what cannot be scored comes last
    phase = dict(zip((row.id for row in context.pool), in_phases(score, count), strict=True))
    return np.array([phase[row.id] for row in rows], dtype=np.int64)


def in_phases(score: Float[ndarray, " k"], count: int) -> Int[ndarray, " k"]:
    """1 to `count` for rows in equal parts of rising score, the earlier parts larger by one where it does not come out
    even; ties by position."""
    phase = np.empty(len(score), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.argsort(score, kind="stable"), count), start=1):
        phase[part] = number
    return phase
