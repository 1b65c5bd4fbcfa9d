"""What a figure shows, apart from how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Attributes:
        name: in the legend.
        points: x, mean, standard error (None where one repeat tells none).
        baseline: whether it is a guess that reads no text.
    """

    name: str
    points: tuple[tuple[float, float, float | None], ...]
    baseline: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: the figure that is shown.
        x: what the horizontal axis is.
        ticks: places on it and their words.
        scaled: whether places are numbers, spread over powers of ten, and not steps.
        curves: what is drawn.
    """

    title: str
    x: str
    ticks: tuple[tuple[float, str], ...]
    scaled: bool
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A value over two axes.

    Attributes:
        title: the value.
        x, y: the axes.
        columns, rows: their values.
        values: NaN where there is none.
        texts: what stands in each field.
    """

    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: Float[ndarray, "r c"]
    texts: list[list[str]]
