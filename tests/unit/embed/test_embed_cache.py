"""The cache of vectors: a text is encoded once, damage and kills cost work only, and every truncation is reported."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nncift.data.files import load_pool
from nncift.embed import cache
from nncift.embed.base import Progress
from nncift.embed.cache import embed_cached, missing_texts
from nncift.embed.choose import Texts
from nncift.embed.sentence import SentenceEmbedder
from nncift.errors import ModelError


class Counting:
    """An embedder whose vectors are hashes of the texts, and which remembers what it was asked."""

    name = "counting"
    dimension = 5

    def __init__(self, fingerprint: str = "counting/1") -> None:
        self.fingerprint = fingerprint
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str], *, on_progress: Progress | None = None) -> np.ndarray:
        self.asked.extend(texts)
        rows = []
        for text in texts:
            seed = int.from_bytes(
                sha256((self.fingerprint + text).encode("utf-8", "surrogatepass")).digest()[:8], "big"
            )
            rows.append(np.random.default_rng(seed).normal(size=self.dimension))
            if on_progress is not None:
                on_progress(1)
        return (np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def overlong(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([len(text) > 6 for text in texts], dtype=np.bool_)


def shards(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def test_second_call_encodes_only_what_is_new(tmp_path: Path) -> None:
    embedder = Counting()
    first = embed_cached(embedder, ["b", "a", "b"], folder=tmp_path)
    assert (first.computed, first.vectors.shape, first.vectors.dtype) == (2, (3, 5), np.dtype(np.float32))
    assert embedder.asked == ["a", "b"]
    again = Counting()
    second = embed_cached(again, ["c", "b", "a"], folder=tmp_path)
    assert (again.asked, second.computed) == (["c"], 1)
    np.testing.assert_array_equal(second.vectors, Counting().encode(["c", "b", "a"]))
    np.testing.assert_array_equal(first.vectors, Counting().encode(["b", "a", "b"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.text(st.characters(codec=None), max_size=8), max_size=9), min_size=1, max_size=4),
    st.integers(1, 4),
)
def test_any_sequence_of_calls_gives_what_no_cache_gives(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[str]], block: int
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_BLOCK", block)
        embedder, seen = Counting(), set()
        for texts in calls:
            done: list[int] = []
            result = embed_cached(embedder, texts, folder=folder, on_progress=done.append)
            np.testing.assert_array_equal(result.vectors, Counting().encode(texts) if texts else np.empty((0, 5)))
            assert result.truncated == sum(len(text) > 6 for text in texts)
            assert sum(done) == len(texts)
            assert result.computed == len(set(texts) - seen)
            seen |= set(texts)
        assert len(embedder.asked) == len(seen)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_what_is_missing_is_told_in_the_order_in_which_it_is_encoded(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", block)
    texts = ["bb", "a", "ccc", "ab", "a", "", "ba", "c"]
    embed_cached(Counting(), ["ab", "c"], folder=tmp_path)
    missing = missing_texts(Counting(), texts, folder=tmp_path)
    assert missing == [5, 1, 6, 0, 2]  # by length, then by text, the first of equal ones
    embedder = Counting()
    embed_cached(embedder, texts, folder=tmp_path)
    assert embedder.asked == [texts[k] for k in missing] and missing_texts(embedder, texts, folder=tmp_path) == []


def test_texts_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    rows = load_pool([{"text": f"say {k}"} for k in range(7)]).examples
    texts = Texts(rows)
    assert [*texts] == [row.text for row in rows] and texts[2] == "say 2" and [*texts[1:5:2]] == ["say 1", "say 3"]
    np.testing.assert_array_equal(
        embed_cached(Counting(), texts, folder=tmp_path).vectors, Counting().encode([row.text for row in rows])
    )


def test_embedders_share_nothing(tmp_path: Path) -> None:
    embed_cached(Counting("x"), ["a"], folder=tmp_path)
    other = embed_cached(Counting("y/../z"), ["a"], folder=tmp_path)
    assert other.computed == 1
    np.testing.assert_array_equal(other.vectors, Counting("y/../z").encode(["a"]))
    assert all(path.is_relative_to(tmp_path) and path.parent.parent == tmp_path for path in shards(tmp_path))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_shard_is_dropped_and_computed_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    embed_cached(Counting(), ["a"], folder=tmp_path)
    embed_cached(Counting(), ["b"], folder=tmp_path)
    bad = shards(tmp_path)[0]
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 4
    bad.write_bytes({"flip": bytes(data), "cut": data[:70], "empty": b"", "other": b"not an archive"}[damage])
    with caplog.at_level(logging.WARNING, logger="nncift"):
        result = embed_cached(Counting(), ["a", "b"], folder=tmp_path)
    assert result.computed == 1 and "damaged" in caplog.text
    np.testing.assert_array_equal(result.vectors, Counting().encode(["a", "b"]))
    assert embed_cached(Counting(), ["a", "b"], folder=tmp_path).computed == 0


@pytest.mark.parametrize("killed_after", [1, 4, 5, 6])
def test_a_kill_loses_one_block_and_no_bit(
    tmp_path: Path, killed_after: int, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 4)  # blocks of two batches
    texts = [" ".join(["rain", "river", "the", "say"][: 1 + k % 4] * (1 + k // 4)) for k in range(11)]
    embedder = SentenceEmbedder(str(toy_folder), batch_size=2)
    whole = embed_cached(embedder, texts, folder=tmp_path / "whole")
    calls = 0

    def kill(count: int) -> None:
        nonlocal calls
        calls += 1
        if calls == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_cached(embedder, texts, folder=tmp_path / "killed", on_progress=kill)
    resumed = embed_cached(embedder, texts[::-1], folder=tmp_path / "killed")
    assert resumed.computed == 11 - 4 * ((killed_after - 1) // 2)
    np.testing.assert_array_equal(resumed.vectors[::-1], whole.vectors)


def test_blocks_do_not_change_the_batches(tmp_path: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 4)
    embedder = SentenceEmbedder(str(toy_folder), batch_size=2)
    texts = ["rain " * (1 + k) for k in range(9)]
    np.testing.assert_array_equal(embed_cached(embedder, texts, folder=tmp_path).vectors, embedder.encode(texts))


def test_truncated_texts_are_reported_from_the_cache_too(tmp_path: Path) -> None:
    for _ in range(2):
        result = embed_cached(Counting(), ["short", "much too long", "much too long"], folder=tmp_path)
        assert result.truncated == 2


def test_an_unwritable_folder_costs_a_warning_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING, logger="nncift"):
        result = embed_cached(Counting(), ["a", "b"], folder=blocked)
    assert result.computed == 2 and caplog.text.count("not kept") == 1


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    assert embed_cached(Counting(), ["a"], folder=tmp_path).computed == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wrong", [np.zeros((1, 5)), np.zeros((2, 4)), np.full((2, 5), np.nan)])
def test_a_users_embedder_is_checked(tmp_path: Path, wrong: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Counting()
    monkeypatch.setattr(embedder, "encode", lambda texts, on_progress=None: wrong)
    with pytest.raises(ModelError, match=r"shape|NaN"):
        embed_cached(embedder, ["a", "b"], folder=tmp_path)
    assert shards(tmp_path) == []


def _work(folder: Path, offset: int) -> None:
    for start in range(12):
        embed_cached(Counting(), [str(k) for k in range(start + offset, start + offset + 5)], folder=folder)


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(tmp_path, offset)) for offset in (0, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    texts = [str(k) for k in range(19)]
    result = embed_cached(Counting(), texts, folder=tmp_path)
    assert result.computed == 0
    np.testing.assert_array_equal(result.vectors, Counting().encode(texts))
    assert list(tmp_path.rglob("*.part")) == []
