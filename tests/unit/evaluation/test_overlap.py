"""ROUGE by hand, by brute force, and beside the library's own reading of ASCII."""

from __future__ import annotations

import sys
from itertools import combinations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from nncift.errors import MissingExtraError
from nncift.evaluation.overlap import rouge, spoken_words

KEYS = ["rouge1", "rouge2", "rougeL"]


def test_by_hand() -> None:
    assert rouge(["the cat sat", "a b c d", ""], ["the cat", "a x c d", "the cat"]) == {
        "rouge1": pytest.approx([0.8, 0.75, 0]),
        "rouge2": pytest.approx([2 / 3, 1 / 3, 0]),
        "rougeL": pytest.approx([0.8, 0.75, 0]),
    }
    assert rouge([], []) == {key: [] for key in KEYS}
    assert rouge(["cat the"], ["the cat"])["rougeL"] == [0.5]


def f1(common: int, predicted: int, wanted: int) -> float:
    return 2 * common / (predicted + wanted) if common else 0.0


def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[k : k + n]) for k in range(len(words) - n + 1)]


def shared(a: list[tuple[str, ...]], b: list[tuple[str, ...]]) -> int:
    left = list(b)
    return sum(1 for gram in a if gram in left and not left.remove(gram))


def longest(a: list[str], b: list[str]) -> int:
    """The longest common subsequence, by trying them all."""
    theirs = {some for k in range(len(b) + 1) for some in combinations(b, k)}
    return max(k for k in range(len(a) + 1) for some in combinations(a, k) if some in theirs)


letters = st.lists(st.sampled_from(["ja", "нет", "水", "να", "हिन्दी"]), max_size=6)


@settings(deadline=None)
@given(letters, letters)
def test_every_figure_against_brute_force(predicted: list[str], wanted: list[str]) -> None:
    found = rouge([" ".join(predicted)], [" ".join(wanted)])
    for n in (1, 2):
        a, b = grams(predicted, n), grams(wanted, n)
        assert found[f"rouge{n}"] == pytest.approx([f1(shared(a, b), len(a), len(b))])
    assert found["rougeL"] == pytest.approx([f1(longest(predicted, wanted), len(predicted), len(wanted))])


ascii_text = st.lists(st.sampled_from(["The", "cat", "3.5", "do_it", "it's", "\x00", "x\ty", "A-1", "\n", "?"])).map(
    " ".join
)


@settings(deadline=None)
@given(ascii_text | st.text(st.characters(codec="ascii")), ascii_text | st.text(st.characters(codec="ascii")))
@example("a_b", "a b")
def test_ascii_reads_as_the_library_reads_it(prediction: str, reference: str) -> None:
    library = RougeScorer(KEYS).score(reference, prediction)
    assert rouge([prediction], [reference]) == {key: [library[key].fmeasure] for key in KEYS}


@pytest.mark.parametrize(
    "text", ["天安门广场", "Привет, мир", "हिन्दी में", "ภาษาไทย", "한국어 문장", "東京へ行く", "مرحبا بك"]
)
def test_equal_answers_of_any_script_are_equal(text: str) -> None:
    assert RougeScorer(["rouge1"]).score(text, text)["rouge1"].fmeasure == 0, "the reason for words of our own"
    assert {tuple(found) for found in rouge([text], [text]).values()} == {(1.0,)}


def test_words() -> None:
    assert spoken_words("Die STRASSE, naïve cafe\u0301s: 3.5 don't_go") == [
        *("die", "strasse", "naïve", "cafés", "3", "5", "don", "t", "go")
    ]
    assert spoken_words("東京タワー、A級") == [*"東京タワー", "a", "級"]
    assert spoken_words("की का") == ["की", "का"]  # the vowel sign tells them apart, and is no letter to `\\w`
    assert spoken_words("ខ្មែរ") == ["ខ្", "មែ", "រ"]
    assert spoken_words("ＡＢ ﬁne") == ["ab", "fine"]
    assert spoken_words("?! … 🎉 \ud800 \x00") == []


def test_a_part_of_an_answer_without_spaces_counts_by_its_part() -> None:
    assert rouge(["天安门"], ["天安门广场"])["rouge1"] == pytest.approx([2 * 3 / 8])
    assert rouge(["का"], ["की"])["rouge1"] == [0]


@settings(deadline=None)
@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_text_is_scored_and_sides_count_alike(a: str, b: str) -> None:
    one, other = rouge([a], [b]), rouge([b], [a])
    for key in KEYS:
        assert 0 <= one[key][0] <= 1 and type(one[key][0]) is float
        assert one[key] == pytest.approx(other[key])


def test_the_lists_must_be_as_long() -> None:
    with pytest.raises(ValueError, match="zip"):
        rouge(["a"], ["a", "b"])


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    monkeypatch.delitem(sys.modules, "rouge_score.rouge_scorer", raising=False)
    with pytest.raises(MissingExtraError, match=r"nncift\[evaluate\]"):
        rouge(["a"], ["a"])
