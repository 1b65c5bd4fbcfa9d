"""The rows of a matrix and what an estimator may read of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.data.files import load_pool
from nncift.data.rows import Example, Pool, ids_of
from nncift.data.views import join
from nncift.embed.base import Embedder
from nncift.embed.choose import default_embedder, embed_rows, load_embedder
from nncift.embed.precomputed import Precomputed, Role
from nncift.embed.states import RowStates
from nncift.estimator.features import Features
from nncift.lm.device import Placement, place
from nncift.lm.load import load_language_model
from nncift.pipeline.features import row_features
from nncift.pipeline.states import in_parts, states_of
from nncift.progress import Reporter
from nncift.rehearsal.matrix import Matrix, named_rows
from nncift.rehearsal.options import FidelityConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Side:
    """The rows of one axis of the matrix.

    Attributes:
        role: which of the user's files of vectors is theirs.
        pool: as loaded, in source order.
        rows: those of the matrix, in its order.
    """

    role: Role
    pool: Pool
    rows: Sequence[Example]


def read_sides(config: FidelityConfig, matrix: Matrix) -> tuple[Side | None, Side]:
    """The rows of targets and candidates; of a pointwise influence only those of the candidates.

    Raises:
        DataError: a file cannot be read, or lacks a row of the matrix.
    """
    pool = load_pool(config.pool, layout=config.format, role="pool")
    candidates = Side("pool", pool, named_rows(matrix.pool_ids, pool, "pool"))
    if matrix.pointwise:
        return None, candidates
    if config.target is None:
        return Side("pool", pool, named_rows(matrix.target_ids, pool, "target")), candidates
    target = load_pool(config.target, layout=config.target_format, role="target")
    return Side("target", target, named_rows(matrix.target_ids, target, "target")), candidates


def read_features(
    config: FidelityConfig, sides: tuple[Side | None, Side], reporter: Reporter
) -> tuple[Features | None, Features]:
    """Features of targets and candidates, as a run has them; the models are loaded here.

    *Cost*: one encoder forward for each text, and with states one of the language model, where they are not kept.
    """
    target, pool = sides
    there = [pool] if target is None else [target, pool]
    placement = place(config.device, config.dtype, batch_tokens=config.batch_tokens)
    vectors = _embed(config, there, placement.device, reporter)
    states = _read(config, there, placement, reporter) if config.reads_states else [None] * len(there)
    found = [row_features(side.rows, v, s) for side, v, s in zip(there, vectors, states, strict=True)]
    return (None, found[0]) if target is None else (found[0], found[1])


def _embed(
    config: FidelityConfig, sides: list[Side], device: str, reporter: Reporter
) -> list[Float[ndarray, "rows d"]]:
    name = why = config.embedder
    if name is None:
        name, why = default_embedder(device)
    reporter.begin("load", 0, "")
    embedder = load_embedder(name, device=device)
    reporter.end(str(why))
    reporter.begin("embed", sum(len(_embedded(embedder, side)) for side in sides), "rows")
    found = []
    for side in sides:
        wanted = _embedded(embedder, side)
        vectors = embed_rows(
            embedder, wanted, folder=cache_folder() / "embeddings", role=side.role, on_progress=reporter.advance
        ).vectors
        place_of = {row: k for k, row in enumerate(wanted.ids)}
        found.append(vectors[[place_of[row] for row in ids_of(side.rows)]])
    reporter.end(f"{sum(map(len, found)):,} rows")
    return found


def _embedded(embedder: Embedder | Precomputed, side: Side) -> Pool:
    """What is embedded: files of vectors follow all rows of a source, an encoder need not read rows of no interest."""
    return side.pool if isinstance(embedder, Precomputed) else replace(side.pool, examples=side.rows)


def _read(config: FidelityConfig, sides: list[Side], placement: Placement, reporter: Reporter) -> list[RowStates]:
    assert config.model is not None
    reporter.begin("load", 0, "")
    lm = load_language_model(
        config.model,
        placement,
        max_length=config.max_length,
        quantize=config.quantize,
        trust_remote_code=config.trust_remote_code,
    )
    reporter.end(f"{config.model}: {lm.weights / 1e6:,.0f} M weights, {placement.device}, {placement.dtype}")
    found = states_of(lm, join(*(side.rows for side in sides)), reporter, tell=_warn)
    return in_parts(found, [len(side.rows) for side in sides])


def _warn(kind: str, sentence: str) -> None:
    log.warning("%s", sentence)
