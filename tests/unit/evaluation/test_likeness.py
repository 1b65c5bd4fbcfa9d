"""Similarity of answers and references in an embedder's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nncift.embed.base import Progress
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import ModelError
from nncift.evaluation.likeness import likeness_name, similarity
from toy_encoder import make_toy_encoder


class Pointing:
    """An embedder that knows the direction of each text it was told, of any length, and remembers what it was asked."""

    name = "pointing"
    fingerprint = "pointing/1"
    dimension = 2

    def __init__(self, **directions: tuple[float, float]) -> None:
        self.directions = directions
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> np.ndarray:
        self.asked += texts
        if on_progress is not None:
            on_progress(len(texts))
        return np.array([self.directions[text] for text in texts], dtype=np.float32).reshape(-1, 2)

    def overlong(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros(len(texts), dtype=np.bool_)


def test_cosines_by_hand(tmp_path: Path) -> None:
    embedder = Pointing(east=(1, 0), north=(0, 1), between=(3, 3), west=(-2, 0), nowhere=(0, 0))
    pairs = [("east", "east"), ("east", "north"), ("between", "north"), ("west", "east"), ("nowhere", "east")]
    found = similarity(embedder, *zip(*pairs, strict=True), folder=tmp_path)
    assert found == pytest.approx([1, 0, np.sqrt(0.5), -1, 0], abs=1e-6)
    assert {type(value) for value in found} == {float} and max(found) <= 1


def test_an_empty_answer_is_worth_nothing_and_costs_nothing(tmp_path: Path) -> None:
    embedder, done = Pointing(east=(1, 0)), []
    answers = ["", "east", " \n"]
    found = similarity(embedder, answers, ["unknown", "east", "other"], folder=tmp_path, on_progress=done.append)
    assert found == pytest.approx([0, 1, 0], abs=1e-6) and found[0] == found[2] == 0
    assert embedder.asked == ["east"] and sum(done) == 6
    assert similarity(embedder, [""], ["unknown"], folder=tmp_path) == [0]
    assert similarity(embedder, [], [], folder=tmp_path) == []
    assert embedder.asked == ["east"]


def test_a_real_encoder_finds_a_text_like_itself(tmp_path: Path) -> None:
    embedder = SentenceEmbedder(str(make_toy_encoder(tmp_path)))
    texts = ["add the two numbers", "what they say", "rain"]
    assert similarity(embedder, texts, texts, folder=tmp_path / "kept") == pytest.approx([1] * 3, abs=1e-6)
    there = similarity(embedder, texts, texts[::-1], folder=tmp_path / "kept")
    back = similarity(embedder, texts[::-1], texts, folder=tmp_path / "kept")
    assert there == pytest.approx(back) and there[0] < 0.999
    vectors = embedder.encode(texts)
    assert there == pytest.approx((vectors * vectors[::-1]).sum(axis=1), abs=1e-6)


def test_the_second_time_nothing_is_encoded(tmp_path: Path) -> None:
    for asked in (["east", "north"], []):
        embedder = Pointing(east=(1, 0), north=(0, 1))
        similarity(embedder, ["east", "north"], ["north", "north"], folder=tmp_path)
        assert embedder.asked == asked


def test_lists_that_do_not_fit_and_an_embedder_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        similarity(Pointing(), [""], [], folder=tmp_path)
    with pytest.raises(ModelError, match="NaN"):
        similarity(Pointing(east=(np.nan, 0)), ["east"], ["east"], folder=tmp_path)


@pytest.mark.parametrize(
    ("embedder", "metric"),
    [
        ("BAAI/bge-large-en-v1.5", "bge"), ("./My-BGE", "bge"), ("minilm", "similarity"), ("", "similarity"),
        ("/data/bge/models/minilm", "similarity"), ("/data/models/BAAI/bge-m3/", "bge"),
    ],
)  # fmt: skip
def test_the_name_of_the_metric(embedder: str, metric: str) -> None:
    assert likeness_name(embedder) == metric
