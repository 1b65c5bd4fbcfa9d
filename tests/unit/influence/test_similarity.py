"""Embedding similarity against NumPy, in every measure, tile by tile and pair by pair."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nncift
from nncift.errors import ConfigError
from nncift.influence.base import BlockSession, Context
from nncift.influence.embedding import Embedding
from nncift.influence.similarity import Similarity, mean_square_distance
from teaching import every_pair
from toy_road import make_corpus, share_of_beta

M, N, D = 5, 23, 8
EVERY = [Similarity(), Similarity(measure="dot"), Similarity(measure="rbf"), Similarity(measure="rbf", width=2.0)]


def vectors(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, D)) + 0.5
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def session(teacher: Any, targets: np.ndarray, pool: np.ndarray) -> BlockSession:
    context = Context(
        targets=(), pool=(), asked_targets=np.arange(0), asked_pool=np.arange(0), folder=Path("unused"),
        target_embeddings=targets, pool_embeddings=pool,
    )  # fmt: skip
    return teacher.start(context)


def whole(teacher: Any, targets: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """[m, n]."""
    return session(teacher, targets, pool).block(slice(0, len(pool))).T


def expected(teacher: Similarity, targets: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """The formula of the docstring, entry by entry."""
    a, b = targets.astype(np.float64), pool.astype(np.float64)
    if teacher.measure != "rbf":
        return np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    squares = np.array([[((x - y) ** 2).sum() for y in b] for x in a])
    return np.exp(-squares / (teacher.width * squares.mean()))


@pytest.mark.parametrize("teacher", EVERY, ids=str)
def test_equals_numpy(teacher: Similarity) -> None:
    targets, pool = vectors(M, 0), vectors(N, 1)
    found = whole(teacher, targets, pool)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(teacher, targets, pool), atol=1e-6)


@pytest.mark.parametrize("teacher", [*EVERY, Embedding()], ids=str)
def test_tiles_and_pairs_give_the_values_of_the_whole(teacher: Any) -> None:
    targets, pool = vectors(M, 2), vectors(N, 3)
    at_work = session(teacher, targets, pool)
    full = at_work.block(slice(0, N))
    for step in (1, 4, 10):
        tiles = [at_work.block(slice(start, min(start + step, N))) for start in range(0, N, step)]
        np.testing.assert_allclose(np.concatenate(tiles), full, atol=1e-6)
    i, j = every_pair(M, N)
    some = np.random.default_rng(0).permutation(len(i))[:17]
    for which in (np.arange(len(i)), some, some[:1]):
        done: list[int] = []
        y = at_work.label(i[which], j[which], {}, on_progress=done.append)
        assert y.dtype == np.float32 and sum(done) == len(which)
        np.testing.assert_allclose(y, full[j[which], i[which]], atol=1e-6)


@pytest.mark.parametrize("teacher", EVERY, ids=str)
def test_a_pool_that_is_its_own_target(teacher: Similarity) -> None:
    pool = vectors(N, 4)
    found = whole(teacher, pool, pool)
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-6)
    np.testing.assert_allclose(found, found.T, atol=1e-6)
    assert found.max() <= 1 + 1e-6 and found.min() >= (0 if teacher.measure == "rbf" else -1 - 1e-6)


def test_rbf_orders_the_rows_of_one_target_as_the_cosine_does() -> None:
    targets, pool = vectors(M, 5), vectors(N, 6)
    cosine, rbf = (whole(teacher, targets, pool) for teacher in (EVERY[0], EVERY[3]))
    np.testing.assert_array_equal(np.argsort(cosine, axis=1), np.argsort(rbf, axis=1))


def test_the_bandwidth_in_closed_form() -> None:
    a, b = 3 * vectors(M, 7), vectors(N, 8)
    pairs = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(axis=2)
    assert mean_square_distance(a, b) == pytest.approx(pairs.mean(), rel=1e-6)


def test_rows_that_are_all_the_same_are_equally_similar() -> None:
    same = np.repeat(np.eye(D, dtype=np.float32)[:1], N, axis=0)
    assert (whole(Similarity(measure="rbf"), same[:M], same) == 1.0).all()


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"--option width is {width}; it must be above 0")):
        Similarity(measure="rbf", width=width)


@pytest.mark.parametrize("teacher", [Similarity(), Embedding()], ids=str)
def test_embeddings_are_needed(teacher: Any) -> None:
    empty = np.arange(0)
    with pytest.raises(ConfigError, match=f"`{teacher.traits.name}` needs embeddings"):
        teacher.start(Context(targets=(), pool=(), asked_targets=empty, asked_pool=empty, folder=Path("unused")))


def test_nearest_neighbours_through_a_run(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "data")
    options = corpus.options(influence="embedding", budget=20)
    picked = nncift.select(corpus.pool, output=str(tmp_path / "run"), **options)
    assert picked.objective == "round-robin" and share_of_beta([row.text for row in picked.examples]) > 0.9
    nearest = nncift.select(corpus.pool, output=str(tmp_path / "max"), objective="top-max", **options)
    assert nearest.ids != picked.ids and (np.diff(nearest.gains) <= 0).all()
