"""ROUGE: how many words an answer shares with the reference, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from nncift.errors import MissingExtraError

ROUGE = ("rouge1", "rouge2", "rougeL")

# Thai and Lao, Burmese, Khmer, Japanese and Chinese: no spaces between words
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"


def rouge(predictions: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    """F1 of the words (`rouge1`), the pairs of neighbours (`rouge2`) and the longest common subsequence (`rougeL`).

    Use it to compare free answers with reference answers. It is not stemmed. The library `rouge-score` counts; it would
    read the letters a to z and digits alone, so that equal Chinese or Russian answers get 0. Since ROUGE depends only on
    which words are equal, the words of a pair are handed over as numbers, which every version of the library reads.

    Args:
        predictions: n answers; one without a word gets 0.
        references: n texts they should be like.

    Returns:
        For each of `rouge1`, `rouge2` and `rougeL` n numbers from 0 to 1, in the order given; on ASCII text those of the
        library.

    Raises:
        MissingExtraError: `rouge-score` is not installed.

    *Reference*: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004.
    """
    try:
        scorer = import_module("rouge_score.rouge_scorer").RougeScorer(list(ROUGE))
    except ModuleNotFoundError as error:
        raise MissingExtraError("rouge-score", "evaluate", "the metric `rouge`") from error
    found: dict[str, list[float]] = {name: [] for name in ROUGE}
    for prediction, reference in zip(predictions, references, strict=True):
        numbers: dict[str, int] = {}
        given, wanted = (
            " ".join(str(numbers.setdefault(word, len(numbers))) for word in spoken_words(text))
            for text in (prediction, reference)
        )
        scores = scorer.score(wanted, given)
        for name in ROUGE:
            found[name].append(float(scores[name].fmeasure))
    return found


def spoken_words(text: str) -> list[str]:
    """The words of a text, lower-cased, compatibility forms of characters folded.

    A word is a run of letters and digits with the marks on them (vowel signs, accents); in a script without spaces
    every letter with its marks is one.
    """
    return _words().findall(unicodedata.normalize("NFKC", text).lower())


@cache
def _words() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x300, 0x12000) if unicodedata.category(chr(code))[0] == "M")
    letter = r"(?=[^\W_])"  # `\w` without the underscore, which is no part of a word to the library
    return re.compile(rf"{letter}[{_UNSPACED}][{marks}]*|(?:{letter}[^{_UNSPACED}][{marks}]*)+")
