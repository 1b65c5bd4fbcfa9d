"""What an estimator reads of the rows of a run: embeddings, and where there is a language model its own view of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from numpy import ndarray

from nncift.data.arrays import read_npz
from nncift.data.rows import Example, keys_of
from nncift.embed.states import RowStates
from nncift.estimator.features import Features
from nncift.pipeline.inputs import Axes
from nncift.pipeline.vectors import Embeddings
from nncift.run import as_left

STATES = ("features/rows.npz", "features/columns.npz")
"""Where a run folder keeps what the language model makes of the rows of both axes."""


@dataclass(frozen=True, slots=True)
class Readable:
    """Features of both axes of a run.

    Attributes:
        rows: of the targets and of pool rows that are covered beside them; None where the influence is pointwise.
        columns: of the pool rows and of the existing rows.
    """

    rows: Features | None
    columns: Features


def row_features(rows: Sequence[Example], vectors: Float[ndarray, "rows d"], states: RowStates | None) -> Features:
    """Features of rows.

    Args:
        rows: in canonical order.
        vectors: their embeddings.
        states: what a language model makes of them, None where none reads them. (Lengths in characters beside embeddings
            alone changed nothing on a real matrix.)
    """
    blocks = {"embedding": vectors}
    if states is not None:
        blocks |= state_blocks(states)
    return Features(blocks, keys_of(rows))


def state_blocks(states: RowStates) -> dict[str, Float[ndarray, "rows d"]]:
    """The blocks of features that a language model's states are."""
    return {name: getattr(states, name) for name in ("mean_state", "last_state", "scalars")}


def readable(axes: Axes, vectors: Embeddings, states: tuple[RowStates, RowStates] | None) -> Readable:
    """Features of both axes, from their embeddings and the states of their rows."""
    of_rows, of_columns = states or (None, None)
    rows = row_features(axes.rows, vectors.rows, of_rows) if axes.rows else None
    return Readable(rows, row_features(axes.columns, vectors.columns, of_columns))


def read_states(folder: Path) -> tuple[RowStates, RowStates]:
    """The states that a run folder keeps."""
    with as_left(folder):
        rows, columns = (RowStates(**read_npz(folder / name)) for name in STATES)
    return rows, columns
