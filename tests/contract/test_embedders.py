"""What holds for every embedder: the registered ones, and a user's own folder."""

from __future__ import annotations

import numpy as np
import pytest

from nncift import registry
from nncift.embed.base import Embedder
from nncift.embed.choose import load_embedder
from nncift.embed.precomputed import Precomputed
from nncift.errors import MissingExtraError
from toy_encoder import make_toy_encoder

TEXTS = [
    "add the two numbers",
    "",
    "name a river in france",
    "write one line on rain",
    "rain",
    "rain " * 300,
    "z\x00\ufffd 漢",
]


@pytest.fixture(
    scope="module", params=["folder", *(pytest.param(n, marks=pytest.mark.real) for n in registry.names("embedder"))]
)
def name(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "folder":
        return str(make_toy_encoder(tmp_path_factory.mktemp("encoder")))
    return request.param


@pytest.fixture(scope="module")
def embedder(name: str) -> Embedder:
    try:
        found = load_embedder(name, device="cpu")
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert not isinstance(found, Precomputed)
    return found


@pytest.fixture(scope="module")
def vectors(embedder: Embedder) -> np.ndarray:
    return embedder.encode(TEXTS)


def test_identity(embedder: Embedder, name: str) -> None:
    assert embedder.name == name
    assert len(embedder.fingerprint) == 64
    again = load_embedder(name, device="cpu")
    assert (again.fingerprint, again.dimension) == (embedder.fingerprint, embedder.dimension)


def test_shape_type_and_length_one(embedder: Embedder, vectors: np.ndarray) -> None:
    assert vectors.shape == (len(TEXTS), embedder.dimension) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)
    assert embedder.encode([]).shape == (0, embedder.dimension)


def test_order_and_company_do_not_matter(embedder: Embedder, vectors: np.ndarray) -> None:
    order = np.random.default_rng(5).permutation(len(TEXTS))
    np.testing.assert_allclose(embedder.encode([TEXTS[k] for k in order]), vectors[order], atol=1e-5)
    for k, text in enumerate(TEXTS):
        np.testing.assert_allclose(embedder.encode([text])[0], vectors[k], atol=1e-5)


def test_equal_texts_get_equal_vectors_and_others_do_not(embedder: Embedder, vectors: np.ndarray) -> None:
    twice = embedder.encode(TEXTS + TEXTS)
    np.testing.assert_array_equal(twice[: len(TEXTS)], twice[len(TEXTS) :])
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[np.triu_indices(len(TEXTS), 1)]
    assert gaps.min() > 1e-3


def test_progress_adds_up(embedder: Embedder) -> None:
    done: list[int] = []
    embedder.encode(TEXTS + TEXTS[:2], on_progress=done.append)
    assert sum(done) == len(TEXTS) + 2 and min(done) > 0


def test_overlong(embedder: Embedder) -> None:
    assert embedder.overlong(TEXTS).tolist() == [len(text) > 1000 for text in TEXTS]
    assert embedder.overlong([]).shape == (0,)
