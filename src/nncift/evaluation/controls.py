"""What stands beside the subsets: made of the pool alone and of what the selections were allowed to see, never of test rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from nncift.config import SelectConfig
from nncift.data.rows import Example
from nncift.errors import ConfigError
from nncift.evaluation.options import Control, EvaluateConfig
from nncift.evaluation.subjects import Named, Subject, by_id, refuse_doubles, whole_cost
from nncift.pipeline import select
from nncift.progress import Reporter
from nncift.recipe import resolved
from nncift.seeds import generator

log = logging.getLogger(__name__)

Lengths = Callable[[Sequence[Example]], Int[ndarray, " n"]]
"""How many tokens each row is trained on."""


def make_controls(
    config: EvaluateConfig, named: Named, *, folder: Path, lengths: Lengths, reporter: Reporter
) -> list[Subject]:
    """The controls that are asked for, for every size among the subsets.

    Args:
        config: what is asked for.
        named: the subsets, their pool and what they were chosen for.
        folder: of the evaluation; the control `embedding` keeps its run in it.
        lengths: tokens of rows; asked only for `random-tokens`.
        reporter: told of rows that are embedded.

    *Cost*: `embedding` embeds pool and target; the others choose without a model.
    """
    alone = named.sizes[0] if len(named.sizes) == 1 else 0
    makers: dict[Control, Callable[[], Iterator[Subject]]] = {
        "initial": lambda: iter([Subject("initial", "initial", alone, ((),))]),
        "random": lambda: _random(config, named),
        "random-tokens": lambda: _random_tokens(config, named, lengths),
        "full": lambda: iter([Subject("full", "full", alone, (by_id(named.pool),))]),
        "top-mean": lambda: _top_mean(named),
        "embedding": lambda: _embedding(config, named, folder, reporter),
    }
    if {"random", "embedding"} & {*config.beside}:
        _refuse_too_large(named)
    found = [subject for control in config.beside for subject in makers[control]()]
    ours = dict.fromkeys(subject.name for subject in found)
    refuse_doubles([*(subject.name for subject in named.subjects), *ours])
    return found


def _random(config: EvaluateConfig, named: Named) -> Iterator[Subject]:
    rows = named.pool.by_id().examples
    for size in named.sizes:
        order = [generator(config.seed, f"control/random/{size}/{draw}") for draw in range(config.draws)]
        draws = tuple(by_id(rows[k] for k in chance.permutation(len(rows))[:size]) for chance in order)
        yield Subject("random", "random", size, draws)


def _random_tokens(config: EvaluateConfig, named: Named, lengths: Lengths) -> Iterator[Subject]:
    """Random rows until they hold as many tokens as the subset: what it would be to train as long on chance."""
    rows = named.pool.by_id().examples
    tokens = lengths(rows)
    for subject in named.subjects:
        wanted = int(lengths(subject.draws[0]).sum())
        draws = []
        for draw in range(config.draws):
            order = generator(config.seed, f"control/random-tokens/{draw}").permutation(len(rows))
            count = int(np.abs(np.cumsum(tokens[order]) - wanted).argmin()) + 1
            draws.append(by_id(rows[k] for k in order[:count]))
        name = f"random, tokens of {subject.name}"
        yield Subject(name, "random-tokens", subject.size, tuple(draws), matched=subject.name)


def _top_mean(named: Named) -> Iterator[Subject]:
    if not named.runs:
        log.warning("the control top-mean needs the influences of a run folder; it is left out")
    for name, run in named.runs.items():
        if run.objective == "top-mean":
            continue  # it is its own control
        seen = run.influences()
        known = ~np.isnan(seen.values)
        total = np.where(known, seen.values, 0).sum(axis=1, dtype=np.float64)
        mean = np.where(known.any(axis=1), total / np.maximum(1, known.sum(axis=1)), -np.inf)
        best = np.argsort(-mean, kind="stable")[: len(run)]
        rows = by_id(seen.pool[int(j)] for j in best)
        yield Subject(f"{name}, top-mean", "top-mean", len(run), (rows,), whole_cost(run))


def _embedding(config: EvaluateConfig, named: Named, folder: Path, reporter: Reporter) -> Iterator[Subject]:
    options: dict[str, Any] = {
        "influence": "embedding",
        "pool": named.pool.source,
        "format": named.pool.layout,
        "embedder": config.embedder,
        "device": config.device,
        "seed": config.seed,
    }
    if named.target is not None:
        options |= {"target": named.target.source, "target_format": named.target.layout}
    for size in named.sizes:
        chosen = SelectConfig.of({key: value for key, value in options.items() if value is not None} | {"budget": size})
        run = select(replace(resolved(chosen), output=str(folder / "controls" / f"embedding-{size}")), reporter)
        yield Subject("embedding", "embedding", size, (by_id(run.examples),), whole_cost(run))


def _refuse_too_large(named: Named) -> None:
    for subject in named.subjects:
        if subject.size > len(named.pool):
            raise ConfigError(
                f"{subject.name!r} has {subject.size:,} rows, more than the pool's {len(named.pool):,}, so that no random "
                "subset of its size can be drawn. Name the file that it was chosen from with --pool."
            )
