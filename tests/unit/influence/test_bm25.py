"""BM25 against its formula by hand, in any script, and without the library."""

from __future__ import annotations

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import nncift
import teaching
from nncift.data.rows import Example
from nncift.errors import ConfigError, MissingExtraError
from nncift.influence import bm25
from nncift.influence.base import BlockSession
from nncift.influence.bm25 import Bm25, words
from nncift.registry import load
from teaching import rows
from toy_road import share_of_beta

TARGETS = rows(("Cat cat", "runs"), ("What of", "a zebra?"), ("dog", "dog"))
POOL = rows(
    ("the cat", "sat"), ("the dog", "sat on the cat"), ("a bird", "flew"), ("Dog", "runs"), ("nothing", "shared here")
)


def by_hand(targets: tuple[Example, ...], pool: tuple[Example, ...], *, k1: float, b: float) -> np.ndarray:
    """[m, n] by the formula, word by word."""
    documents = [words(row.text) for row in pool]
    mean = sum(map(len, documents)) / len(documents)
    held = Counter(word for document in documents for word in set(document))
    values = np.zeros((len(targets), len(pool)))
    for i, target in enumerate(targets):
        for j, document in enumerate(documents):
            for word in words(target.text):
                f, n_w = document.count(word), held[word]
                weight = math.log(1 + (len(pool) - n_w + 0.5) / (n_w + 0.5))
                values[i, j] += weight * f / (f + k1 * (1 - b + b * len(document) / mean)) if f else 0.0
    return values


@pytest.fixture
def library() -> None:
    pytest.importorskip("bm25s", reason="bm25s is not installed (extra `baselines`)")


@pytest.mark.usefixtures("library")
def test_a_value_by_hand() -> None:
    """`Cat cat runs` for `Dog runs`: one row of five holds `runs`, once, in two words where the mean is 3.4."""
    lengths = [3, 6, 3, 2, 3]
    assert [len(words(row.text)) for row in POOL] == lengths
    value = math.log(1 + (5 - 1 + 0.5) / (1 + 0.5)) * 1 / (1 + 1.5 * (1 - 0.75 + 0.75 * 2 / 3.4))
    assert teaching.ask(Bm25(), TARGETS, POOL).matrix[0, 3] == pytest.approx(value, rel=1e-6)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.0, 0.5), (2.0, 0.0), (1.2, 1.0)])
def test_equals_the_formula(k1: float, b: float) -> None:
    found = teaching.ask(Bm25(k1=k1, b=b), TARGETS, POOL).matrix
    np.testing.assert_allclose(found, by_hand(TARGETS, POOL, k1=k1, b=b), rtol=1e-6, atol=1e-7)
    assert found[0, 1] > 0 and found[1, 0] == 0 and (found >= 0).all()


@pytest.mark.usefixtures("library")
def test_blocks_and_pairs_agree_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "_ENTRIES", 2 * len(TARGETS))
    answer = teaching.ask(Bm25(), TARGETS, POOL)
    assert isinstance(answer.session, BlockSession)
    assert answer.session.block(slice(0, len(POOL))).T.tobytes() == np.ascontiguousarray(answer.matrix).tobytes()
    assert answer.session.block(slice(1, 3)).tobytes() == np.ascontiguousarray(answer.matrix[:, 1:3].T).tobytes()
    i, j = np.array([2, 0, 2], dtype=np.int32), np.array([3, 3, 0], dtype=np.int32)
    assert teaching.ask(Bm25(), TARGETS, POOL, pairs=(i, j)).y.tolist() == answer.matrix[i, j].tolist()


@pytest.mark.usefixtures("library")
def test_the_order_of_the_pool_changes_no_bit() -> None:
    order = [3, 0, 4, 2, 1]
    plain, moved = (teaching.ask(Bm25(), TARGETS, pool).matrix for pool in (POOL, tuple(POOL[k] for k in order)))
    assert moved.tobytes() == np.ascontiguousarray(plain[:, order]).tobytes()


@pytest.mark.usefixtures("library")
def test_rows_without_words_score_nothing() -> None:
    silent = rows(("?", "!!"), ("...", "-"))
    assert (teaching.ask(Bm25(), TARGETS, silent).matrix == 0).all()
    assert (teaching.ask(Bm25(), silent, POOL).matrix == 0).all()
    assert (teaching.ask(Bm25(), TARGETS, (*POOL, *silent)).matrix[:, 5:] == 0).all()


@pytest.mark.usefixtures("library")
def test_the_targets_topic_is_found_in_a_run(tmp_path: Path) -> None:
    said = {"alpha": ["iron melts", "copper bends", "zinc dulls"], "beta": ["pears ripen", "plums fall", "figs dry"]}
    draw = np.random.default_rng(0)
    mixed = [(topic, said[topic][k % 3]) for topic in said for k in range(15)]
    draw.shuffle(mixed)
    pool = [{"prompt": f"{topic} the {k}", "completion": text} for k, (topic, text) in enumerate(mixed)]
    target = [{"prompt": "what of the", "completion": text} for text in said["beta"]]
    picked = nncift.select(pool, target=target, influence="bm25", budget=14, output=str(tmp_path / "run"))
    assert picked.objective == "round-robin" and share_of_beta([row.text for row in picked.examples]) == 1.0
    assert not (picked.folder / "embeddings").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CAT's 2nd hat_stand", ["the", "cat", "s", "2nd", "hat_stand"]),
        ("Über ÉTÉ e\u0301te\u0301", ["über", "été", "été"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("學習 abc学", ["學", "習", "abc", "学"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("a\x00b \ud800 \u2028", ["a", "b"]),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r'pip install "nncift\[baselines\]"'):
        teaching.ask(load("influence", "bm25")(), TARGETS, POOL)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--option k1 is -0\.1"):
        Bm25(k1=-0.1)
    with pytest.raises(ConfigError, match=r"--option b is 1\.5; it must lie between 0 and 1"):
        Bm25(b=1.5)
