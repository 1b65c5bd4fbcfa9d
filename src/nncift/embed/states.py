"""Features of single rows from the language model that teaches: one forward a row, kept between runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from nncift.data.rows import Example, keys_of
from nncift.data.wording import Wording, WordingName, choose_wording
from nncift.embed.base import Progress
from nncift.embed.shelf import Shelf
from nncift.lm.model import LanguageModel
from nncift.lm.readers import Alone, Readers
from nncift.lm.reading import read_rows, state_width
from nncift.lm.tokens import Query, tokenize_prompt, tokenize_row

_CHUNK = 128  # rows that are read and kept together: what a kill may lose


@dataclass(frozen=True, slots=True)
class RowStates:
    """What a language model makes of some rows.

    Attributes:
        mean_state: float32 [rows, d], the mean over all tokens of the last hidden states behind the final norm; of the
            prompt's tokens where the response has none, zeros where neither has one.
        last_state: float32 [rows, d], that of the last response token; zeros where the row is not usable.
        scalars: float32 [rows, 4]: mean negative log-likelihood of the response tokens in nats; root mean square over them
            of 1 - p; log(1 + tokens in front of the response, the beginning-of-sequence token among them); log(1 + response
            tokens). Tokens that are counted are those left by the context limit. Where the row is not usable all but the
            third are 0.
        usable: whether a token of the response is predicted: it has one, and where nothing stands in front of it two.
        cut: whether the context limit took tokens of the row.
    """

    mean_state: Float[ndarray, "rows d"]
    last_state: Float[ndarray, "rows d"]
    scalars: Float[ndarray, "rows 4"]
    usable: Bool[ndarray, "rows"]
    cut: Bool[ndarray, "rows"]


def row_states(
    lm: LanguageModel,
    rows: Sequence[Example],
    *,
    wording: WordingName = "auto",
    folder: Path,
    on_progress: Progress = lambda count: None,
    readers: Readers | None = None,
) -> RowStates:
    """Hidden states, loss and lengths of rows by themselves, reading only those that `folder` does not hold.

    Use it for an estimator that predicts what a language model says of pairs of rows. Rows of equal text are read once,
    whatever their ids. What is missing is read in an order that the texts alone give, and kept in chunks.

    Args:
        lm: the language model; what it does is counted in the ledger of its meter, but for rows that are cut.
        rows: any rows, of a pool, a target or both.
        wording: `auto` words rows in the model's chat format where it has one, else plainly; `plain`, `chat`.
        folder: the cache, usually `cache_folder() / "states"`; created if need be. Where it cannot be written, one warning
            says so and nothing is kept.
        on_progress: told how many more rows are done, kept ones first; the numbers add up to the number of rows.
        readers: read in chunks; None for `lm` alone.

    Returns:
        In the order given. Whatever stands beside a row, its numbers agree within float noise.

    Raises:
        ConfigError: the chat template is missing or does not take a row.
        ModelError: the model returned NaN or infinity, or ran out of memory.

    *Cost*: one forward for each text that is not kept; logits where a response token is predicted.
    """
    worded = choose_wording(lm.tokenizer, wording)
    shelf = Shelf(folder / _name(lm, worded), "row states")
    keys = [key.tobytes() for key in keys_of(rows).packed]
    place = {key: k for k, key in enumerate(keys)}
    times = Counter(keys)
    found = shelf.find(place.keys())
    on_progress(sum(times[key] for key in found))
    # alike in length: on Alpaca 7 % fewer tokens with padding, and half the batches, of chunks by id
    missing = sorted(place.keys() - found.keys(), key=lambda key: (-len(rows[place[key]].text), key))
    chunks = [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]
    texts = ([rows[place[key]] for key in chunk] for chunk in chunks)
    writable = True
    read = (readers or Alone(lm)).each(Worded(wording), _read, texts, on_progress=on_progress)
    for chunk, arrays in zip(chunks, read, strict=True):
        writable = writable and shelf.put(chunk, arrays)
        found |= {key: {name: array[k] for name, array in arrays.items()} for k, key in enumerate(chunk)}
        on_progress(sum(times[key] for key in chunk) - len(chunk))
    width = state_width(lm)

    def column(name: str, dtype: type[np.generic], *shape: int) -> ndarray:
        return np.array([found[key][name] for key in keys], dtype=dtype).reshape(len(keys), *shape)

    return RowStates(
        column("mean_state", np.float32, width),
        column("last_state", np.float32, width),
        column("scalars", np.float32, 4),
        column("usable", np.bool_),
        column("cut", np.bool_),
    )


def _name(lm: LanguageModel, wording: Wording) -> str:
    """Of the shelf: a hash of all that the numbers depend on beside the row."""
    depends = {
        "code": 1,
        "model": lm.fingerprint,
        "dtype": lm.placement.dtype,
        "quantized": bool(getattr(lm.model, "is_quantized", False)),
        "max_length": lm.max_length,
        "wording": wording.name,
    }
    return sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Worded:
    """Equips a language model with the wording of a name."""

    name: WordingName

    def __call__(self, lm: LanguageModel) -> tuple[LanguageModel, Wording]:
        """Both."""
        return lm, choose_wording(lm.tokenizer, self.name)


def _read(state: tuple[LanguageModel, Wording], rows: Sequence[Example], on_progress: Progress) -> dict[str, ndarray]:
    """The fields of `RowStates`, computed."""
    lm, wording = state
    queries = [_tokens(lm, wording, row) for row in rows]
    some = np.array([len(query) > 0 for query in queries], dtype=np.bool_)
    read = read_rows(lm, [query for query in queries if len(query)], on_progress=on_progress)
    on_progress(len(rows) - int(some.sum()))
    mean, last = (np.zeros((len(rows), state_width(lm)), dtype=np.float32) for _ in range(2))
    usable = np.zeros(len(rows), dtype=np.bool_)
    usable[some] = read.scored > 0
    mean[some] = read.mean_state
    last[usable] = read.last_state[read.scored > 0]
    scalars = np.zeros((len(rows), 4), dtype=np.float32)
    scalars[some, 0] = read.loss
    scalars[some, 1] = read.doubt
    scalars[:, 2] = np.log1p([len(query.ids) for query in queries])
    scalars[usable, 3] = np.log1p([len(query.response) for query in queries])[usable]
    cut = np.array([query.truncated for query in queries], dtype=np.bool_)
    return {"mean_state": mean, "last_state": last, "scalars": scalars, "usable": usable, "cut": cut}


def _tokens(lm: LanguageModel, wording: Wording, row: Example) -> Query:
    """The row's tokens; those of its prompt alone where the response has none."""
    query = tokenize_row(lm.tokenizer, wording, row, limit=lm.max_length)
    if query is not None:
        return query
    prompt, cut = tokenize_prompt(lm.tokenizer, wording, row, limit=lm.max_length, new_tokens=0)
    return Query(prompt, (), cut)
