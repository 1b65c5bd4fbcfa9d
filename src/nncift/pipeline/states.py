"""What a language model makes of rows, read with progress and with a word on rows that it does not see whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import accumulate

from numpy import ndarray

from nncift.cachedir import cache_folder
from nncift.data.rows import Example
from nncift.embed.states import RowStates, row_states
from nncift.lm.model import LanguageModel
from nncift.lm.readers import Readers
from nncift.progress import Reporter


def states_of(
    lm: LanguageModel,
    rows: Sequence[Example],
    reporter: Reporter,
    *,
    tell: Callable[[str, str], None],
    readers: Readers | None = None,
) -> RowStates:
    """The states of rows, from the cache or read now.

    Args:
        lm: the language model; its meter's ledger counts what it does.
        rows: any rows.
        reporter: listens.
        tell: is told the kind and the sentence of whatever a row loses.
        readers: who reads; None for `lm` alone.

    *Cost*: one forward for each text that is not kept.
    """
    before = lm.meter.ledger.lm_forwards
    reporter.begin("states", len(rows), "rows")
    folder = cache_folder() / "states"
    found = row_states(lm, rows, folder=folder, on_progress=reporter.advance, readers=readers)
    reporter.end(f"{len(rows):,} rows, {lm.meter.ledger.lm_forwards - before:,} newly read by the language model")
    cut, silent = int(found.cut.sum()), int((~found.usable).sum())
    if cut:
        tell("states_cut", f"the estimator reads only a part of {cut:,} rows that are too long (--max-length)")
    if silent:
        tell("states_silent", f"{silent:,} rows have no response token, and the estimator reads their prompts alone")
    return found


def arrays(states: RowStates) -> dict[str, ndarray]:
    """The fields of states, by name, not copied."""
    return {item.name: getattr(states, item.name) for item in fields(states)}


def in_parts(states: RowStates, sizes: Sequence[int]) -> list[RowStates]:
    """The states of consecutive runs of rows, of the given lengths."""
    spans = [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)]
    return [RowStates(**{name: array[span] for name, array in arrays(states).items()}) for span in spans]
