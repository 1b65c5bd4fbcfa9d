"""The map: rows of pool, target and subset in two dimensions, so that one sees what was chosen from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from nncift.data.rows import Example
from nncift.pipeline.vectors import FILES
from nncift.report.reading import Missing, Run
from nncift.report.shown import bytes_of, fitting, plain
from nncift.seeds import generator

_FITTED = 1000  # points that the axes are fitted to: a wide singular value decomposition of more takes seconds
_AT_ONCE = 64  # vectors
_TEXT, _ID = 200, 80  # characters
_BYTES = 1_200_000  # of all texts


@dataclass(frozen=True, slots=True)
class Kind:
    """The points of one kind.

    Attributes:
        name: `pool`, `target` or `chosen`.
        points: float64 [p, 2].
        ids, texts: [p], fit for a page.
        of: how many rows of this kind there are.
    """

    name: str
    points: Float64[ndarray, "p 2"]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    of: int


@dataclass(frozen=True, slots=True)
class Landscape:
    """Points of the three kinds.

    Attributes:
        kinds: rows that were not chosen, target rows, chosen rows, as far as there are any.
        explained: share of the variance of the vectors that the two axes tell.
    """

    kinds: tuple[Kind, ...]
    explained: float


def landscape(run: Run, most: int) -> Landscape | Missing:
    """A map of at most so many points: the best of the chosen rows, and draws of the target's and of the others.

    *Cost*: a singular value decomposition of 1,000 vectors.
    """
    paths = [run.folder / name for name in FILES]
    if not all(path.is_file() for path in paths):
        return Missing(
            f"The influence `{run.config.influence}` reads no embeddings here, so there is nothing to lay out as a map."
        )
    rows, columns = paths
    targets: Sequence[Example] = run.picked.inside.targets if run.picked else ()
    draw = generator(run.config.seed, "report/map")
    others = np.flatnonzero(~run.is_chosen)
    chosen, helped, left = _shares(len(run), len(targets), len(others), most)
    at_target = np.sort(draw.permutation(len(targets))[:helped])
    at_other = np.sort(others[draw.permutation(len(others))[:left]])
    at_chosen = run.order[:chosen]
    points, explained = flat(
        np.concatenate([_vectors(columns, at_other), _vectors(rows, at_target), _vectors(columns, at_chosen)]),
        generator(run.config.seed, "report/axes"),
    )
    parts = np.split(points, np.cumsum([len(at_other), len(at_target)]))
    examples = (_of_pool(run, at_other), [targets[int(k)] for k in at_target], [run.chosen[k] for k in range(chosen)])
    totals = (len(others), len(targets), len(run))
    kinds = fitting(
        lambda share: tuple(
            Kind(name, part, *_words(own, share), total)
            for name, part, own, total in zip(("pool", "target", "chosen"), parts, examples, totals, strict=True)
            if len(part)
        ),
        lambda kinds: sum(bytes_of([*kind.ids, *kind.texts]) for kind in kinds),
        _BYTES,
    )
    return Landscape(kinds, explained)


def flat(vectors: Float[ndarray, "p d"], draw: np.random.Generator) -> tuple[Float64[ndarray, "p 2"], float]:
    """The two principal axes of vectors, and the share of their variance that these tell.

    The sign of an axis is free; its largest weight is taken to be positive.
    """
    vectors = vectors.astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    some = draw.permutation(len(centred))[:_FITTED]
    _, scale, axes = np.linalg.svd(centred[some], full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, None]
    points = np.zeros((len(vectors), 2))
    points[:, : len(axes)] = centred @ axes.T
    whole = float((scale**2).sum())
    return points, float((scale[:2] ** 2).sum()) / whole if whole else 1.0


def _vectors(path: Path, at: Int[ndarray, " p"]) -> Float[ndarray, "p d"]:
    """Some vectors of a file. It is opened anew for a few at a time: the system maps its pages in large pieces, and with some
    thousand vectors from all over it the whole file, which would count as memory of this process."""
    groups = np.array_split(at, max(1, len(at) // _AT_ONCE))
    return np.concatenate([np.load(path, mmap_mode="r", allow_pickle=False)[some] for some in groups])


def _shares(chosen: int, targets: int, others: int, most: int) -> tuple[int, int, int]:
    """How many points of each kind: half for the chosen, a fifth for the target, what is left for the others, and back."""
    helped = min(targets, most // 5)
    left = min(others, most - min(chosen, most // 2) - helped)
    return min(chosen, most - helped - left), helped, left


def _of_pool(run: Run, at: Int[ndarray, " p"]) -> Sequence[Example | None]:
    """Rows of the pool; None for each where the pool cannot be had."""
    pool = run.pool
    return [None] * len(at) if pool is None else [pool.examples[int(k)] for k in at]


def _words(rows: Sequence[Example | None], share: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    ids = tuple(plain(row.id, max(8, int(_ID * share))) if row else "" for row in rows)
    return ids, tuple(plain(row.text, int(_TEXT * share)) if row else "(the pool is not there)" for row in rows)
