"""BM25: word overlap as search engines weigh it, without any model."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from nncift.errors import ConfigError, MissingExtraError
from nncift.influence.base import Context, Progress, Traits

_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"  # Thai, Lao, Japanese, Chinese: no spaces between words
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_ENTRIES = 1 << 22  # of the dense part that is alive at once


@dataclass(frozen=True, slots=True)
class Bm25:
    """Okapi BM25 score of a pool row for a target row as the query, 0 or more.

    Use it as the model-free baseline of retrieval: it finds rows that share rare words with a target. Query and document
    are prompt and response; words are lower-cased runs of letters, digits and underscores of any script (single
    characters where a script does not part words), without stop words. With f the count of word w in a row of l words,
    n_w the pool rows that hold it and l' the mean length,

        y = Σ_w ln(1 + (n - n_w + 0.5) / (n_w + 0.5)) · f / (f + k1 · (1 - b + b · l / l'))

    over the words of the query, repeated ones repeatedly.

    Args:
        k1: at least 0, how much a repeated word adds; at 0 a word counts once.
        b: 0 to 1, how much long rows are held back.

    *Cost*: no language-model call; a pass over the words that pool and target share.
    *Reference*: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009; Lucene's form of it.
    """

    traits: ClassVar[Traits] = Traits(
        name="bm25", pairwise=True, objective="round-robin", uses_target=True, free=True, priced="row"
    )

    k1: float = 1.5
    b: float = 0.75

    def __post_init__(self) -> None:
        if self.k1 < 0:
            raise ConfigError(f"--option k1 is {self.k1}; it must be 0 or more.")
        if not 0 <= self.b <= 1:
            raise ConfigError(f"--option b is {self.b}; it must lie between 0 and 1.")

    def start(self, context: Context) -> Bm25Session:
        """Indexes the pool.

        Raises:
            MissingExtraError: the library is not installed.
        """
        try:
            library, sparse = import_module("bm25s"), import_module("scipy.sparse")
        except ImportError as error:
            raise MissingExtraError("bm25s", "baselines", "the influence `bm25`") from error
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
        documents = [words(row.text) for row in context.pool]
        known = {word: k for k, word in enumerate(sorted({word for document in documents for word in document}))}
        shape = (len(documents), len(known))
        index = library.BM25(k1=self.k1, b=self.b, method="lucene", dtype="float64")
        ids = [[known[word] for word in document] for document in documents]
        if known:
            index.index((ids, known), create_empty_token=False, show_progress=False)
            found = index.scores["data"], index.scores["indices"], index.scores["indptr"]
            weights = sparse.csc_matrix(found, shape=shape).tocsr()
        else:
            weights = sparse.csr_matrix(shape)
        return Bm25Session(weights, _counts([words(row.text) for row in context.targets], known, sparse))


@dataclass(frozen=True, slots=True)
class Bm25Session:
    """The indexed pool.

    Attributes:
        weights: sparse float64 [n, words], what a word of the query adds to a row's score.
        queries: sparse float64 [words, m], how often each query holds it.
    """

    weights: Any
    queries: Any

    def prepare(self, targets: Int[ndarray, " T"], *, on_progress: Progress) -> dict[str, ndarray]:
        """Nothing."""
        return {}

    def label(
        self, i: Int[ndarray, " L"], j: Int[ndarray, " L"], prepared: dict[str, ndarray], *, on_progress: Progress
    ) -> Float[ndarray, " L"]:
        """Scores of pairs, through the block of their pool rows."""
        rows, at = np.unique(j, return_inverse=True)
        step = max(1, _ENTRIES // self.queries.shape[1])
        values = np.empty(len(i), dtype=np.float32)
        for start in range(0, len(rows), step):
            inside = (at >= start) & (at < start + step)
            values[inside] = self._dense(rows[start : start + step])[at[inside] - start, i[inside]]
        on_progress(len(i))
        return values

    def block(self, columns: slice) -> Float[ndarray, "n m"]:
        """Scores of some pool rows for every target."""
        return self._dense(columns)

    def truncated(self) -> dict[str, str]:
        """Nothing: all words count."""
        return {}

    def _dense(self, rows: Any) -> Float[ndarray, "n m"]:
        return np.ascontiguousarray((self.weights[rows] @ self.queries).toarray(), dtype=np.float32)


def words(text: str) -> list[str]:
    """The words of a text, lower-cased, compatibility forms of characters folded."""
    return _WORDS.findall(unicodedata.normalize("NFKC", text).lower())


def _counts(queries: Sequence[Sequence[str]], known: dict[str, int], sparse: Any) -> Any:
    """How often each query holds each word of the pool: sparse [words, m]."""
    counted = [Counter(known[word] for word in query if word in known) for query in queries]
    rows = [word for count in counted for word in count]
    columns = np.repeat(np.arange(len(queries)), [len(count) for count in counted])
    values = np.array([times for count in counted for times in count.values()], dtype=np.float64)
    return sparse.csr_matrix((values, (rows, columns)), shape=(len(known), len(queries)))
